"""What a claim costs while a transaction keeps vacuum from removing what was claimed before."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.claims import (
    CLAIM_SCAN_ALL,
    SCAN_ALL,
    Call,
    ClaimQueries,
    ScanRange,
    parse_claim,
)
from owsuper.db.sweeps import SweepQueries, parse_swept
from tests.db.rows import Tables, perform

GONE = 5_000
W = [("w", None)]


@pytest.fixture
def held(database_url: str, schema: str, conn: psycopg.Connection) -> Iterator[Tables]:
    """Runs that were executed and have ended, to the last index entry of which they remain."""
    tables = Tables(conn, schema)
    runs = f'"{schema}".workflow_runs'
    with connect.connect(database_url, application_name="owsuper test") as reader:
        conn.execute(f"ALTER TABLE {runs} SET (autovacuum_enabled = off)".encode())
        tables.pending(id="0")
        conn.execute(
            f"INSERT INTO {runs} SELECT (jsonb_populate_record(r, jsonb_build_object("
            f" 'id', n::text))).* FROM {runs} AS r, generate_series(1, {GONE}) AS n".encode()
        )
        conn.execute(
            f"UPDATE {runs} SET deadline_at = now() - interval '5 s',"
            f" available_at = now() - n * interval '1 ms' - interval '10 s'"
            f" FROM generate_series(0, {GONE}) AS n WHERE id = n::text".encode()
        )
        reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.execute(f"SELECT count(*) FROM {runs}".encode())
        for change in (
            "status = 'running', worker_id = 'x'",
            "status = 'completed', available_at = NULL",
        ):
            conn.execute(f"UPDATE {runs} SET {change}".encode())
        yield tables


def pages(conn: psycopg.Connection, call: Call) -> int:
    """How many pages a statement touches; without effect."""
    statement, params = call
    literals = ", ".join(f"'{param}'" for param in params)
    conn.execute(f"PREPARE it AS {statement.text}".encode())
    conn.execute("BEGIN")
    row = conn.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE it({literals})".encode())
    [[[explained]]] = row.fetchall()
    conn.execute("ROLLBACK")
    conn.execute("DEALLOCATE it")
    plan: Any = explained["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def test_a_claim_steps_over_none_of_them_where_the_last_one_has_looked(
    held: Tables, schema: str, conn: psycopg.Connection
) -> None:
    def claim(look: ScanRange) -> Call:
        return queries.claim(5, W, worker_prefix="h:", lease_seconds=30, scan_range=look)

    queries = ClaimQueries(schema, "default")
    seen = parse_claim(perform(conn, claim(CLAIM_SCAN_ALL))).scan
    assert pages(conn, claim(CLAIM_SCAN_ALL)) > 80
    assert pages(conn, claim(ScanRange(seen.since, 0.25))) < 30
    for _ in range(10):
        held.pending()
    assert pages(conn, claim(ScanRange(seen.since, 60))) > 80
    claimed = parse_claim(perform(conn, claim(ScanRange(seen.since, 1.5))))
    assert len(claimed.runs) == 5


def test_nor_does_a_sweep(held: Tables, schema: str, conn: psycopg.Connection) -> None:
    queries = SweepQueries(schema, "default")
    for sweep in (lambda look: queries.release_lapsed(W, look), queries.expire_deadlines):
        seen = parse_swept(perform(conn, sweep(SCAN_ALL))).scan
        assert pages(conn, sweep(SCAN_ALL)) > 80
        assert pages(conn, sweep(ScanRange(seen.since, 0))) < 30
