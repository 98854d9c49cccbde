"""The size of tables and indexes while runs come, end and are deleted.

A simulated hour of churn, in cycles: runs are stored, claimed, completed and deleted, so that as
many are left after each cycle as after the first one. Sizes are those after the first third, when
space is used again, and at the end.

The hour takes minutes, so autovacuum looks at the tables every 5 seconds instead of every minute.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from benchmarks.environment import Environment, environment
from benchmarks.figures import Figure, ratio
from benchmarks.scenarios.churn import HOUR, churn
from benchmarks.server import Server
from benchmarks.sizes import Sizes
from owsuper.bench.samples import BenchmarkError

CYCLES = 30
SHARE = 4  # the hour has so many times as many runs as this scenario
MEBIBYTE = 1024 * 1024


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
    deleted = env.client.prune_runs(0)
    ends = env.value("SELECT clock_timestamp()")
    return (ends - begins).total_seconds(), deleted


def _size(env: Environment) -> float:
    size: int = env.value(
        "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class"
        " WHERE relnamespace = $1::regnamespace AND relkind = 'r'",
        env.schema,
    )
    return size / MEBIBYTE
