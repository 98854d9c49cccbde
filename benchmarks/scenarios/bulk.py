"""``run_many()``: runs a second in one transaction, and when the first of its runs starts.

The rate is measured without a worker. Then, beside an idle worker, the time from the return of
``run_many()`` to the first line of user code in any of the runs. This time may be negative: the
worker can be faster than the return.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from benchmarks.environment import environment
from benchmarks.figures import Figure
from benchmarks.server import Server
from benchmarks.sizes import Sizes


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    rates = tuple(_rate(server, sizes.bulk) for _ in range(sizes.repetitions))
    yield Figure("bulk.rate", f"run_many() of {sizes.bulk:,}", "runs/s", rates, clients=1)
    firsts = tuple(_first_ms(server, sizes.bulk) for _ in range(sizes.repetitions))
    name = f"run_many() of {sizes.bulk:,}: its return to first line of user code"
    yield Figure("bulk.first", name, "ms", firsts, clients=1)


def _rate(server: Server, count: int) -> float:
    with environment(server) as env:
        env.client.run_workflow("no-op", 1)
        began = time.perf_counter()
        env.client.run_many("no-op", [1] * count)
        return count / (time.perf_counter() - began)


def _first_ms(server: Server, count: int) -> float:
    with environment(server) as env:
        with env.worker(2, 1):
            env.client.run_workflow("no-op", 1)
            env.client.run_many("report-time", [None] * count)
            returned = time.time()
            env.wait_for("a run was completed", lambda: env.completed() > 100, pause=0.1)
        first = env.value(
            "SELECT min((output #>> '{{}}')::double precision) FROM {schema}.workflow_runs"
            " WHERE workflow_name = 'report-time' AND status = 'completed'"
        )
    return (float(first) - returned) * 1e3
