"""What a claim of runs with limits reads of large tables, whatever the planner knows about them.

Its statements are inside a function, so the server's counters tell, not EXPLAIN. They are planned
while the tables are empty, and the plans are kept.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from tests.db.limits import Limits
from tests.db.rows import Tables

KEYS = 2_000
WAITING = 20_000
FOREIGN = 20_000  # of workflows that nobody here serves
TABLES = ("workflow_runs", "owsuper_waiting", "owsuper_lanes", "owsuper_holds", "owsuper_freed")
INSERT = """
INSERT INTO {schema}.workflow_runs (
    namespace_id, id, workflow_name, status, config, attempts, available_at, created_at, updated_at,
    input
)
SELECT
    'default', gen_random_uuid(), {name}, 'pending', '{{}}', 0, now() - interval '1 hour', now(),
    now(), jsonb_build_object('tenant', n % {keys})
FROM generate_series(1, {count}) AS n
"""
READ = """
SELECT relname, coalesce(seq_tup_read, 0), coalesce(idx_tup_fetch, 0)
FROM pg_stat_xact_user_tables
WHERE schemaname = $1 AND relname = ANY ($2)
"""

Reads = Callable[..., dict[str, int]]


@pytest.fixture
def limits(tables: Tables) -> Limits:
    limits = Limits(tables)
    limits.declare(amount=2, path=["tenant"])
    for _ in range(7):
        limits.look()  # planned while the tables are empty
    return limits


@pytest.fixture
def reads(conn: psycopg.Connection, limits: Limits, schema: str) -> Reads:
    """Rows read by a claim, by table; none may be read by a scan of a table."""

    def counters() -> dict[str, tuple[int, int]]:
        rows = conn.execute(READ, [schema, list(TABLES)]).fetchall()
        return {
            str(name): (int(str(by_scan)), int(str(by_index))) for name, by_scan, by_index in rows
        }

    def reads(room: int, expected: int) -> dict[str, int]:
        with conn.transaction():
            before = counters()  # those of transactions before may be in them
            assert len(limits.claim(room)) == expected
            after = counters()
        read = {}
        for table, (by_scan, by_index) in after.items():
            scanned, fetched = before.get(table, (0, 0))
            assert by_scan == scanned, table
            read[table] = by_index - fetched
        return read

    return reads


def insert(conn: psycopg.Connection, schema: str, name: str, count: int, keys: int) -> None:
    text = INSERT.format(schema=f'"{schema}"', name=f"'{name}'", count=count, keys=keys)
    conn.execute(text.encode())


@pytest.mark.slow
@pytest.mark.parametrize("analyzed", [False, True])
def test_what_a_claim_reads_does_not_grow_with_what_waits(
    conn: psycopg.Connection, schema: str, limits: Limits, reads: Reads, analyzed: bool
) -> None:
    insert(conn, schema, "foreign", FOREIGN, KEYS)
    insert(conn, schema, "w", WAITING, KEYS)
    while limits.tables.rows("workflow_runs", "workflow_name = 'w' AND available_at < now()"):
        limits.look(1)
    if analyzed:
        conn.execute("ANALYZE")
    [ended] = limits.claim(1)
    limits.end(ended)
    few, many = reads(1, 1), reads(50, 50)
    for table in TABLES:
        assert few.get(table, 0) <= 40, few
        assert many.get(table, 0) <= 40 * 50, many


@pytest.mark.slow
def test_keys_whose_rate_lets_none_begin_yet_are_not_read(
    conn: psycopg.Connection, schema: str, limits: Limits, reads: Reads
) -> None:
    limits.rate(path=["tenant"])
    insert(conn, schema, "w", 2 * KEYS, KEYS)
    while limits.look(200).next_due == 0:
        pass
    assert limits.tables.count("owsuper_lanes") >= KEYS
    assert reads(50, 0).get("owsuper_lanes", 0) <= 200


@pytest.mark.slow
def test_what_a_claim_sorts_is_bounded(
    conn: psycopg.Connection, schema: str, limits: Limits, reads: Reads
) -> None:
    insert(conn, schema, "foreign", FOREIGN, KEYS)
    insert(conn, schema, "w", WAITING, KEYS)
    assert reads(1, 1)["workflow_runs"] <= 4_000
    assert limits.tables.count("owsuper_waiting") == 999
