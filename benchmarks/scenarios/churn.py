"""Throughput before and after a simulated hour of churn.

Each run of the hour is stored, claimed, given a finished step and completed, as workers do it,
but by statements for a thousand runs each, so that an hour takes minutes. Its times are those of a
run that ended a minute ago, which is old enough to be deleted. Autovacuum runs meanwhile. The hour
leaves dead rows and index entries, half-empty pages and stale statistics.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import LiteralString

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.fill import IDS, insert
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

PROCESSES, SLOTS = 2, 16
HOUR = 3600  # seconds
CHUNK = 1000  # runs to a statement
WARM_UP = 1.0  # seconds of a worker's life that do not count
MOST = 15_000  # runs a second that a worker may complete

_FRESH: LiteralString = (
    "'churned', 'pending', '{{}}', NULL, 0, NULL, now(), NULL, NULL,"
    " date_trunc('milliseconds', now()) - interval '2 minutes', now()"
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
    " finished_at = now() - interval '1 minute', updated_at = now()" + _OF_CHUNK
)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    count = sizes.churn_rate * HOUR
    with environment(server) as env:
        before = _rates(env, sizes)
        churn(env, count)
        after = _rates(env, sizes)
    name = f"throughput after {count:,} runs of churn"
    yield Figure("churn.before", f"{name}: before them", "runs/s", before)
    yield Figure("churn.after", f"{name}: after them", "runs/s", after)
    yield ratio("churn.ratio", f"{name}: after / before", after, before)


def churn(env: Environment, count: int, *, after: int = 0) -> None:
    """Store, claim and complete ``count`` runs, whose numbers begin after ``after``."""
    # These rows may be lost, and nothing waits for their results.
    settings = {"synchronous_commit": "off", "owsuper.few_results": "on"}
    for name, value in settings.items():
        env.execute("SELECT set_config($1, $2, false)", name, value)
    for first in range(after + 1, after + count + 1, CHUNK):
        last = min(first + CHUNK - 1, after + count)
        for statement in (insert(_FRESH), _CLAIM, _STEP, _COMPLETE):
            env.execute(statement, first, last)


def _rates(env: Environment, sizes: Sizes) -> tuple[float, ...]:
    return tuple(completed_per_second(env, sizes.seconds) for _ in range(sizes.repetitions))


def completed_per_second(env: Environment, seconds: float, *, retain: str | None = None) -> float:
    """Runs completed a second by a worker that always has more to do."""
    env.client.run_many("report-time", [None] * round(MOST * (WARM_UP + seconds)))
    with env.worker(PROCESSES, SLOTS, retain=retain):
        time.sleep(WARM_UP)
        begins = env.value("SELECT clock_timestamp()")
        time.sleep(seconds)
        ends = env.value("SELECT clock_timestamp()")
    if not env.value("SELECT count(*) FROM {schema}.workflow_runs WHERE status = 'pending'"):
        raise BenchmarkError("all runs were completed before the end of what was to be measured")
    return env.rate(begins, ends)
