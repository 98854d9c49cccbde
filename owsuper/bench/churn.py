"""Throughput before and after an hour of churn, which is simulated.

Each run of the hour is stored, claimed, given a finished step and completed, as workers do it,
but by statements for a thousand runs each, so that an hour takes minutes. Autovacuum does
meanwhile what it does. What an hour leaves behind is what counts here: dead rows and index
entries, pages half empty, statistics that are out of date.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import LiteralString

from owsuper.bench.effort import Effort
from owsuper.bench.figures import BenchmarkError, Figure, ratio
from owsuper.bench.fill import IDS, insert
from owsuper.bench.server import Server
from owsuper.bench.stage import Stage, staged

PROCESSES, SLOTS = 2, 16
HOUR = 3600  # seconds
CHUNK = 1000  # runs to a statement
WARM_UP = 1.0  # seconds of a worker's life that do not count
MOST = 15_000  # runs a second that a worker may complete

_FRESH: LiteralString = (
    "'churned', 'pending', '{{}}', NULL, 0, NULL, now(), NULL, NULL,"
    " date_trunc('milliseconds', now()), now()"
)
_OF_CHUNK: LiteralString = " WHERE namespace_id = 'default' AND id = ANY (ARRAY(" + IDS + "))"
_CLAIM: LiteralString = (
    "UPDATE {schema}.workflow_runs SET status = 'running', attempts = 1,"
    " worker_id = 'host:1:bench:' || id, available_at = now() + interval '30 s',"
    " started_at = now(), updated_at = now()" + _OF_CHUNK
)
_STEP: LiteralString = (
    "INSERT INTO {schema}.step_attempts (namespace_id, id, workflow_run_id, step_name, kind,"
    " status, config, output, started_at, finished_at, created_at, updated_at)"
    " SELECT 'default', overlay(id placing '4001' from 15), id, 'step', 'function', 'completed',"
    " '{{}}', '1', now(), now(), now(), now() FROM (" + IDS + ") AS runs (id)"
)
_COMPLETE: LiteralString = (
    "UPDATE {schema}.workflow_runs SET status = 'completed', output = '1', available_at = NULL,"
    " finished_at = now(), updated_at = now()" + _OF_CHUNK
)


def measure(server: Server, effort: Effort) -> Iterable[Figure]:
    count = effort.churn * HOUR
    with staged(server) as stage:
        before = _rates(stage, effort)
        _churn(stage, count)
        after = _rates(stage, effort)
    name = f"throughput after {count:,} runs of churn"
    yield Figure("churn.before", f"{name}: before them", "runs/s", before)
    yield Figure("churn.after", f"{name}: after them", "runs/s", after)
    yield ratio("churn.ratio", f"{name}: after / before", after, before)


def _churn(stage: Stage, count: int) -> None:
    # Nothing is lost with these rows; and nobody waits for the ends of so few at once.
    settings = {"synchronous_commit": "off", "owsuper.few_results": "on"}
    for name, value in settings.items():
        stage.execute("SELECT set_config($1, $2, false)", name, value)
    for first in range(1, count + 1, CHUNK):
        last = min(first + CHUNK - 1, count)
        for statement in (insert(_FRESH), _CLAIM, _STEP, _COMPLETE):
            stage.execute(statement, first, last)


def _rates(stage: Stage, effort: Effort) -> tuple[float, ...]:
    return tuple(_rate(stage, effort.seconds) for _ in range(effort.repetitions))


def _rate(stage: Stage, seconds: float) -> float:
    """Completed runs a second of a worker that has more to do than it can."""
    stage.ow.run_many("stamp", [None] * round(MOST * (WARM_UP + seconds)))
    with stage.worker(PROCESSES, SLOTS):
        time.sleep(WARM_UP)
        begins = stage.value("SELECT clock_timestamp()")
        time.sleep(seconds)
        ends = stage.value("SELECT clock_timestamp()")
    if not stage.value("SELECT count(*) FROM {schema}.workflow_runs WHERE status = 'pending'"):
        raise BenchmarkError("all runs were completed before the end of what was to be measured")
    return stage.rate(begins, ends)
