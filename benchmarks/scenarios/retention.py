"""The size of tables and indexes while runs come, end and are deleted.

A simulated hour of churn, in cycles: runs are stored, claimed, completed and deleted, so that as
many are left after each cycle as after the first one. Sizes are those after the first third, when
space is used again, and at the end.

The hour takes minutes, so autovacuum looks at the tables every 5 seconds instead of every minute.

Then the throughput of a worker, in turn without and with ``--retain``, which deletes meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import LiteralString

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, paired_ratio, ratio
from benchmarks.fill import fill
from benchmarks.scenarios.churn import HOUR, WARM_UP, churn, completed_per_second
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

CYCLES = 30
SHARE = 4  # the hour has so many times as many runs as this scenario
MEBIBYTE = 1024 * 1024

OLD: LiteralString = (
    "'backlog', 'completed', '{{}}', to_jsonb(n), 1, 'host:1:bench:' || n, NULL,"
    " now() - interval '2 days', now() - interval '1 day', now() - interval '2 days', now()"
)
"""Runs of ``backlog`` that ended a day ago."""
_COUNT_OLD: LiteralString = (
    "SELECT count(*) FROM {schema}.workflow_runs"
    " WHERE namespace_id = 'default' AND workflow_name = 'backlog'"
)


def measure(server: Server, sizes: Sizes) -> Iterable[Figure]:
    count = max(CYCLES * 10, sizes.churn_rate * HOUR // SHARE)
    each = count // CYCLES
    took = 0.0
    with environment(server) as env, _hurried_autovacuum(env):
        for cycle in range(CYCLES):
            churn(env, each, after=cycle * each)
            seconds, deleted = _delete(env)
            if deleted != each:
                raise BenchmarkError(f"{deleted} of {each} runs were deleted")
            took += seconds
            if cycle == CYCLES // 3:
                before = _size(env)
        after = _size(env)
    name = f"size of tables and indexes, {count:,} runs that come and are deleted"
    yield Figure("retention.before", f"{name}: after a third", "MB", (before,))
    yield Figure("retention.after", f"{name}: at the end", "MB", (after,))
    yield ratio("retention.ratio", f"{name}: end / third", (after,), (before,))
    yield Figure("retention.rate", "owsuper prune, with its pauses", "runs/s", (count / took,))
    yield from _beside(server, sizes)


def _beside(server: Server, sizes: Sizes) -> Iterable[Figure]:
    """Throughput beside deletion, of a table that has more old runs than are deleted meanwhile."""
    without: list[float] = []
    beside: list[float] = []
    deleted: list[float] = []
    with environment(server) as env:
        fill(env, OLD, sizes.population)
        left = sizes.population
        for turn in range(2 * sizes.pairs):
            retain = "1h" if turn % 4 in (1, 2) else None  # in the order ABBA
            seconds = WARM_UP + sizes.seconds
            rates = beside if retain else without
            rates.append(completed_per_second(env, sizes.seconds, retain=retain))
            now_left = env.value(_COUNT_OLD)
            if retain:
                deleted.append((left - now_left) / seconds)
            left = now_left
        if not left:
            raise BenchmarkError("all old runs were deleted before the end of what was measured")
    name = "throughput beside --retain"
    yield Figure("retention.without", f"{name}: without it", "runs/s", tuple(without))
    yield Figure("retention.beside", f"{name}: with it", "runs/s", tuple(beside))
    yield paired_ratio("retention.beside.ratio", f"{name}: with / without", beside, without)
    yield Figure(
        "retention.beside.deleted", f"{name}: runs that it deletes", "runs/s", tuple(deleted)
    )


@contextmanager
def _hurried_autovacuum(env: Environment) -> Iterator[None]:
    env.execute("ALTER SYSTEM SET autovacuum_naptime = '5s'")
    env.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        env.execute("ALTER SYSTEM RESET autovacuum_naptime")
        env.execute("SELECT pg_reload_conf()")


def _delete(env: Environment) -> tuple[float, int]:
    begins = env.value("SELECT clock_timestamp()")
    deleted = env.client.prune_runs("1m")
    ends = env.value("SELECT clock_timestamp()")
    return (ends - begins).total_seconds(), deleted


def _size(env: Environment) -> float:
    size: int = env.value(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
        " WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
        env.schema,
    )
    return size / MEBIBYTE
