"""What a claim of runs with limits reads of large tables, whatever the planner knows about them.

Its statements are inside a function, so the server's counters tell, not EXPLAIN. They are planned
while the tables are empty, and the plans are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
import pytest

from owsuper.core.limits import Rate
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.db.turns import Steps

KEYS = 2_000
WAITING = 20_000
FOREIGN = 20_000  # of workflows that nobody here serves
TABLES = ("workflow_runs", "owsuper_waiting", "owsuper_lanes", "owsuper_holds", "owsuper_freed")
STEP_TABLES = (
    "workflow_runs", "owsuper_turns", "owsuper_gates", "owsuper_limits", "owsuper_limit_steps",
)  # fmt: skip
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


def counters(
    conn: psycopg.Connection, schema: str, tables: Sequence[str] = TABLES
) -> dict[str, tuple[int, int]]:
    """Rows read by scans and by indexes in this transaction, by table."""
    rows = conn.execute(READ, [schema, list(tables)]).fetchall()
    return {str(name): (int(str(by_scan)), int(str(by_index))) for name, by_scan, by_index in rows}


@pytest.fixture
def reads(conn: psycopg.Connection, limits: Limits, schema: str) -> Reads:
    """Rows read by a claim, by table; none may be read by a scan of a table."""

    def reads(room: int, expected: int) -> dict[str, int]:
        with conn.transaction():
            before = counters(conn, schema)  # those of transactions before may be in them
            assert len(limits.claim(room)) == expected
            after = counters(conn, schema)
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


GROWN = """
INSERT INTO {schema}.owsuper_limits (namespace_id, name, kind, amount, period)
SELECT 'default', 'l' || n, 'rate', 1, 3600 FROM generate_series(1, 3000) AS n;
INSERT INTO {schema}.owsuper_limit_steps (namespace_id, limit_name, workflow_name)
SELECT 'default', 'r', 'w' || n FROM generate_series(1, 3000) AS n;
INSERT INTO {schema}.owsuper_gates (namespace_id, limit_name, key, tat)
SELECT 'default', 'r', n, now() + interval '1 hour' FROM generate_series(1, 5000) AS n;
INSERT INTO {schema}.owsuper_turns (
    namespace_id, workflow_run_id, step_name, limit_name, key, at, since
)
SELECT 'default', 'run ' || n % 5000, n, 'r', n % 50, now() + interval '1 hour', now()
FROM generate_series(1, 10000) AS n
"""


@pytest.mark.slow
@pytest.mark.parametrize("analyzed", [False, True])
def test_what_a_step_reads_for_its_turn_does_not_grow_with_what_waits(
    tables: Tables, conn: psycopg.Connection, schema: str, analyzed: bool
) -> None:
    steps, rate = Steps(tables), Rate(1, per="1h", name="r", key="key")
    for _ in range(7):
        steps.take(tables.run(), rate)  # planned while the tables are empty
    conn.execute(GROWN.format(schema=f'"{schema}"').encode())
    insert(conn, schema, "foreign", FOREIGN, KEYS)
    if analyzed:
        conn.execute("ANALYZE")
    waits = tables.run()
    with conn.transaction():
        before = counters(conn, schema, STEP_TABLES)
        for key in ("1", "new"):
            turns = [steps.take(waits, rate, f"{key}{n}", key=key, others=True) for n in range(3)]
        after = counters(conn, schema, STEP_TABLES)
    assert [turn.verdict for turn in turns] == ["begin", "wait", "wait"]
    for table, (by_scan, by_index) in after.items():
        scanned, fetched = before.get(table, (0, 0))
        assert by_scan == scanned, table
        assert by_index - fetched <= 100, table
