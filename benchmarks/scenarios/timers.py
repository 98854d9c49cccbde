"""Timers: how late a run wakes from ``step.sleep``.

The delay is from the recorded end of the sleep, on the server's clock, to the first line of the
next step. It is measured with the default poll interval, and with one so long that polling finds
nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from benchmarks.app import SleepPlan
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, latencies
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS

POLL = {"default": "2s", "hour": "1h"}
SLEEP = (0.3, 1.3)  # seconds
WARM_UP = 5
PAUSE = 0.02  # between starts, so that runs seldom meet


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    for name, interval in POLL.items():
        with environment(server) as env, env.worker(2, 1, poll_interval=interval):
            wake_delays(env, [SleepPlan(0.01)] * WARM_UP)
            late = [
                wake_delays(env, [SleepPlan(random.uniform(*SLEEP)) for _ in range(sizes.samples)])
                for _ in range(sizes.repetitions)
            ]
        yield from latencies(
            f"timers.{name}", f"timers: lateness after sleep, poll interval {interval}", late
        )


def wake_delays(env: Environment, runs: Sequence[SleepPlan]) -> list[float]:
    """The seconds by which each of these runs woke late from each of its sleeps."""
    handles = []
    for run in runs:
        handles.append(env.client.run_workflow("sleep", asdict(run)))
        time.sleep(PAUSE)
    woke: dict[str, list[float]] = {
        handle.id: handle.result(timeout=WAIT_SECONDS) for handle in handles
    }
    ahead = env.clock_offset()
    due = env.execute(
        "SELECT workflow_run_id,"
        " extract(epoch FROM (context ->> 'resumeAt')::timestamptz)::double precision"
        " FROM {schema}.step_attempts"
        " WHERE namespace_id = 'default' AND kind = 'sleep' AND workflow_run_id = ANY($1)"
        " ORDER BY 2",
        list(woke),
    )
    return [woke[run_id].pop(0) - (at - ahead) for run_id, at in due]
