"""Round trip: from the call of ``run()`` to the return of ``result()``, of a run of one step.

As for pick-up, workers are idle and pauses irregular.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure, latencies
from owsuper.bench.server import Server
from owsuper.bench.stage import PATIENCE, Stage, staged

WARM_UP = 20
PAUSE = (0.005, 0.020)


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    with staged(server) as stage, stage.worker(processes=2, concurrency=1):
        _samples(stage, WARM_UP)
        repetitions = [_samples(stage, effort.samples) for _ in range(effort.repetitions)]
    return latencies("roundtrip", "round trip: run() to result(), 1 step", repetitions)


def _samples(stage: Stage, count: int) -> list[float]:
    return [_sample(stage) for _ in range(count)]


def _sample(stage: Stage) -> float:
    time.sleep(random.uniform(*PAUSE))
    called = time.perf_counter()
    stage.ow.run_workflow("no-op", 1).result(timeout=PATIENCE)
    return time.perf_counter() - called
