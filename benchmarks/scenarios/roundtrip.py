"""Round trip: from the call of ``run()`` to the return of ``result()``, of a run of one step.

Workers are idle, and the pauses between samples are irregular.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.environment import environment
from benchmarks.figures import Figure, latencies
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import roundtrip_seconds

WARM_UP = 20


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    with environment(server) as env, env.worker(processes=2, concurrency=1):
        for _ in range(WARM_UP):
            roundtrip_seconds(env.client)
        repetitions = [
            [roundtrip_seconds(env.client) for _ in range(sizes.samples)]
            for _ in range(sizes.repetitions)
        ]
    return latencies("roundtrip", "round trip: run() to result(), 1 step", repetitions)
