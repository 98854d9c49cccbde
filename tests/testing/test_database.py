"""The tables of a session of tests."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import psycopg

from owsuper.testing import database
from tests.client.conftest import Rows, eventually
from tests.fixtures.postgres import connect

WAITS = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass"


def test_rows_are_deleted_beside_a_worker_that_locks_tables_one_by_one(
    database_url: str, schema: str, conn: psycopg.Connection
) -> None:
    Rows(conn, schema).add("order")
    query = "SELECT tablename FROM pg_tables WHERE schemaname = $1"
    tables = [f"{schema}.{name}" for (name,) in conn.execute(query, [schema])]
    with connect(database_url) as worker, ThreadPoolExecutor() as pool:
        with worker.transaction():
            worker.execute(f"SELECT FROM {schema}.workflow_runs".encode())
            cleared = pool.submit(database.clear, database_url, schema)
            eventually(lambda: conn.execute(WAITS, [f"{schema}.workflow_runs"]).fetchone() == (1,))
            for table in tables:
                worker.execute(f"SELECT FROM {table}".encode())
        cleared.result()
    left = conn.execute(f"SELECT count(*) FROM {schema}.workflow_runs".encode())
    assert left.fetchone() == (0,)
