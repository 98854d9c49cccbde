"""Long histories: a run with many finished steps wakes once more.

The wake-up delay is that of ``timers``. It includes loading the history and replaying the steps.
The run wakes several times, and each time adds two steps. For comparison: a tenth of the history,
and none. Round trips are those between worker and database from a moment in the sleep until the
run is completed, counted in a separate run. Some are the supervisor's own claims and sweeps.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict

from benchmarks.app import SleepPlan
from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.round_trips import CountingProxy, RoundTripsUnavailable, counting_proxy
from benchmarks.scenarios.timers import wake_delays
from benchmarks.server import Server
from benchmarks.sizes import Sizes

SHORT_SLEEP = 0.15  # seconds
SLEEP = 0.5
SETTLE = 0.2  # seconds; parking notifies, and the supervisor then claims a few times
PARTS = {"long": 1.0, "tenth": 0.1, "none": 0.0}


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    steps_of = {part: round(sizes.steps * share) for part, share in PARTS.items()}
    with environment(server) as env:
        with env.worker(processes=2, concurrency=1):
            delays = {part: _delays(env, steps, sizes) for part, steps in steps_of.items()}
        trips: dict[str, tuple[float, ...]] = {}
        with (
            suppress(RoundTripsUnavailable),
            counting_proxy(server.url) as proxy,
            env.worker(1, 1, url=proxy.url, poll_interval="1h"),
        ):
            for part, steps in steps_of.items():
                trips[part] = tuple(_trips(env, proxy, steps) for _ in range(sizes.repetitions))
    for part, steps in steps_of.items():
        name = f"history: waking a run with {steps} finished steps"
        yield Figure(f"history.late.{part}", f"{name}, lateness", "ms", delays[part])
        if part in trips:
            yield Figure(f"history.trips.{part}", name, "round trips", trips[part])


def _delays(env: Environment, steps: int, sizes: Sizes) -> tuple[float, ...]:
    """For each repetition, the median of its wake-ups."""
    plan = SleepPlan(SHORT_SLEEP, sizes.wake_ups, steps)
    return tuple(
        statistics.median(wake_delays(env, [plan])) * 1e3 for _ in range(sizes.repetitions)
    )


def _trips(env: Environment, proxy: CountingProxy, steps: int) -> float:
    run_id = env.client.run_workflow("sleep", asdict(SleepPlan(SLEEP, 1, steps))).id

    def parked() -> bool:
        query = (
            "SELECT status = 'running' AND worker_id IS NULL FROM {schema}.workflow_runs"
            " WHERE namespace_id = 'default' AND id = $1"
        )
        return bool(env.value(query, run_id))

    env.wait_for("the run slept", parked, pause=0.005)
    time.sleep(SETTLE)
    before = proxy.trips
    goal = env.completed() + 1
    env.wait_for("the run woke", lambda: env.completed() >= goal, pause=0.005)
    return proxy.trips - before
