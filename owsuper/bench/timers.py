"""Timers: how late a run wakes from ``step.sleep``.

From the moment that is recorded for the end of the sleep, on the server's clock, to the first
line of the next step. With the usual poll interval, and with one so long that polling finds
nothing.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from owsuper.bench.app import Dozing
from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure, latencies
from owsuper.bench.server import Server
from owsuper.bench.stage import PATIENCE, Stage, staged

POLL = {"default": "2s", "hour": "1h"}
SLEEP = (0.3, 1.3)  # seconds
WARM_UP = 5
PAUSE = 0.02  # between starts, so that runs seldom meet


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    for name, interval in POLL.items():
        with staged(server) as stage, stage.worker(2, 1, poll_interval=interval):
            lateness(stage, [Dozing(0.01)] * WARM_UP)
            late = [
                lateness(stage, [Dozing(random.uniform(*SLEEP)) for _ in range(effort.samples)])
                for _ in range(effort.repetitions)
            ]
        yield from latencies(
            f"timers.{name}", f"timers: lateness after sleep, poll interval {interval}", late
        )


def lateness(stage: Stage, runs: Sequence[Dozing]) -> list[float]:
    """Seconds by which each of these woke late from each of its sleeps."""
    handles = []
    for run in runs:
        handles.append(stage.ow.run_workflow("doze", asdict(run)))
        time.sleep(PAUSE)
    woke: dict[str, list[float]] = {
        handle.id: handle.result(timeout=PATIENCE) for handle in handles
    }
    ahead = stage.clock_offset()
    due = stage.execute(
        "SELECT workflow_run_id,"
        " extract(epoch FROM (context ->> 'resumeAt')::timestamptz)::double precision"
        " FROM {schema}.step_attempts"
        " WHERE namespace_id = 'default' AND kind = 'sleep' AND workflow_run_id = ANY($1)"
        " ORDER BY 2",
        list(woke),
    )
    return [woke[run_id].pop(0) - (at - ahead) for run_id, at in due]
