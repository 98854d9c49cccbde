"""Pickup: from the start of a run to the first line of user code in its step.

Runs are started by ``run()``, and by the INSERT that OpenWorkflow for TypeScript sends. Both
ends read this machine's clock. Workers are idle: the next run is started after the last one has
finished and an irregular pause. The result, which holds the time of the first line, is read then,
so that nothing waits for it meanwhile.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable
from typing import LiteralString

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, latencies
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import WAIT_SECONDS

WARM_UP = 20
PAUSE = (0.020, 0.050)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    with environment(server) as env, env.worker(processes=2, concurrency=1):
        ways = {"run": by_run, "insert": _by_insert}
        taken: dict[str, list[list[float]]] = {way: [] for way in ways}
        for way in ways.values():
            samples(env, way, WARM_UP)
        for _ in range(sizes.repetitions):
            for name, way in ways.items():
                taken[name].append(samples(env, way, sizes.samples))
    yield from latencies("pickup.run", "pickup: run() to first line of user code", taken["run"])
    name = "pickup: plain INSERT, as from TypeScript, to first line"
    yield from latencies("pickup.insert", name, taken["insert"])


def samples(env: Environment, start: Callable[[Environment], str], count: int) -> list[float]:
    """The seconds of each pickup. ``start`` starts a run of ``report-time`` and returns its id."""
    return [_sample(env, start) for _ in range(count)]


def _sample(env: Environment, start: Callable[[Environment], str]) -> float:
    called = time.time()
    run_id = start(env)
    time.sleep(random.uniform(*PAUSE))
    began: float = env.client.get_run(run_id).result(timeout=WAIT_SECONDS)
    return began - called


def by_run(env: Environment) -> str:
    """Start a run as a program in Python does."""
    return env.client.run_workflow("report-time").id


def _by_insert(env: Environment) -> str:
    # psycopg prepares it after some calls, as that client's driver does at once.
    return str(env.value(insert_of("report-time")))


def insert_of(workflow: LiteralString) -> LiteralString:
    """The INSERT of OpenWorkflow's TypeScript client, for a run without input."""
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
