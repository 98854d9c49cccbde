"""Pick-up latency: from the start of a run to the first line of user code in its step.

Runs are started by ``run()``, and by the INSERT that OpenWorkflow for TypeScript sends. Both
ends read this machine's clock. Workers are idle: the next run is started only when the last
one has long finished, after a pause of irregular length, so as not to keep in step with
anything. Its result, which says when it began, is read then, so nobody waits for it meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import LiteralString

from owsuper.bench.effort import Effort
from owsuper.bench.figures import Figure, latencies
from owsuper.bench.server import Server
from owsuper.bench.stage import PATIENCE, Stage, staged

WARM_UP = 20
PAUSE = (0.020, 0.050)


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    with staged(server) as stage, stage.worker(processes=2, concurrency=1):
        ways = {"run": by_run, "insert": _by_insert}
        taken: dict[str, list[list[float]]] = {way: [] for way in ways}
        for way in ways.values():
            samples(stage, way, WARM_UP)
        for _ in range(effort.repetitions):
            for name, way in ways.items():
                taken[name].append(samples(stage, way, effort.samples))
    yield from latencies("pickup.run", "pickup: run() to first line of user code", taken["run"])
    name = "pickup: plain INSERT, as from TypeScript, to first line"
    yield from latencies("pickup.insert", name, taken["insert"])


def samples(stage: Stage, start: Callable[[Stage], str], count: int) -> list[float]:
    """Seconds that each pick-up took; ``start`` starts a run of ``stamp`` and gives its id."""
    return [_sample(stage, start) for _ in range(count)]


def _sample(stage: Stage, start: Callable[[Stage], str]) -> float:
    called = time.time()
    run_id = start(stage)
    time.sleep(random.uniform(*PAUSE))
    began: float = stage.ow.get_run(run_id).result(timeout=PATIENCE)
    return began - called


def by_run(stage: Stage) -> str:
    """As a program in Python does it."""
    return stage.ow.run_workflow("stamp").id


def _by_insert(stage: Stage) -> str:
    # psycopg prepares it after some calls, as that client's driver does at once.
    return str(stage.value(insert_of("stamp")))


def insert_of(workflow: LiteralString) -> LiteralString:
    """The INSERT of OpenWorkflow's client, which knows nothing of us, for a run without input."""
    return (
        "INSERT INTO {schema}.workflow_runs ("
        "namespace_id, id, workflow_name, version, status, idempotency_key, config, context,"
        " input, attempts, parent_step_attempt_namespace_id, parent_step_attempt_id,"
        " available_at, deadline_at, created_at, updated_at"
        ") VALUES ("
        "'default', gen_random_uuid(), '" + workflow + "', NULL, 'pending', NULL, '{{}}', NULL,"
        " NULL, 0, NULL, NULL,"
        " now(), NULL, date_trunc('milliseconds', now()), now()"
        ") RETURNING id"
    )
