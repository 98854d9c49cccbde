"""Asynchronous work: many runs at once, each of which awaits a second.

Two processes have a slot for each run, so ideally all are done after that second. The time counts
from the call of ``run_many()`` to the moment when all runs are completed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes

PROCESSES = 2
SECONDS = 1.0


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    count = sizes.concurrent_runs
    with environment(server) as env, env.worker(PROCESSES, count // PROCESSES):
        over = tuple(_seconds_over(env, count) for _ in range(sizes.repetitions))
    name = f"async I/O: {count:,} runs that each await {SECONDS:g} s, beyond that second"
    yield Figure("io.over", name, "s", over)


def _seconds_over(env: Environment, count: int) -> float:
    """Seconds beyond the ideal."""
    goal = env.completed() + count
    began = time.perf_counter()
    env.client.run_many("await", [SECONDS] * count)
    env.wait_for("all runs were completed", lambda: env.completed() >= goal)
    return time.perf_counter() - began - SECONDS
