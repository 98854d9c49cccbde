"""Asynchronous work: many runs at once, each of which waits a second for something else.

Two processes have a slot for each, so ideally all are done after that second. The time counts
from the call of ``run_many()`` to the moment when all runs are completed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

PROCESSES = 2
SECONDS = 1.0


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    count = effort.waiting
    with staged(server) as stage, stage.worker(PROCESSES, count // PROCESSES):
        over = tuple(_over(stage, count) for _ in range(effort.repetitions))
    name = f"async I/O: {count:,} runs that each await {SECONDS:g} s, beyond that second"
    yield Figure("io.over", name, "s", over)


def _over(stage: Stage, count: int) -> float:
    """Seconds beyond the ideal."""
    goal = stage.finished() + count
    began = time.perf_counter()
    stage.ow.run_many("wait", [SECONDS] * count)
    stage.wait_for("all runs were completed", lambda: stage.finished() >= goal)
    return time.perf_counter() - began - SECONDS
