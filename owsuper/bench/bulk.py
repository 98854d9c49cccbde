"""``run_many()``: runs a second in one transaction, and when the first of them runs.

For the rate there is no worker: nobody sees anything of the transaction before it ends. Then,
beside an idle worker, the time from the return of ``run_many()`` to the first line of user
code in any of the runs, which may be negative: the worker can be faster than the return.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure
from owsuper.bench.server import Server
from owsuper.bench.stage import staged


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    rates = tuple(_rate(server, effort.bulk) for _ in range(effort.repetitions))
    yield Figure("bulk.rate", f"run_many() of {effort.bulk:,}", "runs/s", rates, clients=1)
    firsts = tuple(_first_ms(server, effort.bulk) for _ in range(effort.repetitions))
    name = f"run_many() of {effort.bulk:,}: its return to first line of user code"
    yield Figure("bulk.first", name, "ms", firsts, clients=1)


def _rate(server: Server, count: int) -> float:
    with staged(server) as stage:
        stage.ow.run_workflow("no-op", 1)
        began = time.perf_counter()
        stage.ow.run_many("no-op", [1] * count)
        return count / (time.perf_counter() - began)


def _first_ms(server: Server, count: int) -> float:
    with staged(server) as stage:
        with stage.worker(2, 1):
            stage.ow.run_workflow("no-op", 1)
            stage.ow.run_many("stamp", [None] * count)
            returned = time.time()
            stage.wait_for("a run was completed", lambda: stage.finished() > 100, pause=0.1)
        first = stage.value(
            "SELECT min((output #>> '{{}}')::double precision) FROM {schema}.workflow_runs"
            " WHERE workflow_name = 'stamp' AND status = 'completed'"
        )
    return (float(first) - returned) * 1e3
