"""What it costs to delete runs, in a session that made its plans while the tables were empty."""

from __future__ import annotations

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.pruning import Doomed, PruneQueries, parse_deleted

RUNS, DELETED, ROWS = 4000, 20, 3

_OF_RUNS = {
    "step_attempts": "(namespace_id, id, workflow_run_id, step_name, kind, status, config,"
    " created_at, updated_at) SELECT 'default', n || '/' || m, 'old ' || n, 's', 'signal-wait',"
    " 'completed', '{}', now(), now()",
    "workflow_signals": "(namespace_id, id, signal, workflow_run_id, step_attempt_id)"
    " SELECT 'default', n || '/' || m, 'go', 'old ' || n, n || '/' || m",
    "owsuper_retried_attempts": "(namespace_id, workflow_run_id, id, step_name, kind, created_at,"
    " child_workflow_run_id) SELECT 'default', 'old ' || n, m, 's', 'workflow', now(), n::text",
    "owsuper_log_lines": "(namespace_id, workflow_run_id, logged_at, level, logger, message, host,"
    " pid) SELECT 'default', 'old ' || n, now(), 20, 'l', 'm', 'h', 1",
    "owsuper_post_mortems": "(namespace_id, workflow_run_id, crash_id, run_created_at, counted,"
    " evidence) SELECT 'default', 'old ' || n, m, now(), true, '{}'",
    "owsuper_run_attributes": "(namespace_id, workflow_run_id, name, value, run_created_at)"
    " SELECT 'default', 'old ' || n, 'name ' || m, 'x', now()",
}


def fill(conn: psycopg.Connection, first: int, last: int) -> None:
    conn.execute(
        "INSERT INTO workflow_runs (namespace_id, id, workflow_name, status, config, attempts,"
        " created_at, finished_at, updated_at) SELECT 'default', 'old ' || n, 'w', 'completed',"
        " '{}', 1, now() - interval '50 d', now() - interval '40 d', now()"
        f" FROM generate_series({first}, {last}) AS n".encode()
    )
    for table, rest in _OF_RUNS.items():
        series = f"generate_series({first}, {last}) AS n, generate_series(1, {ROWS}) AS m"
        conn.execute(f"INSERT INTO {table} {rest} FROM {series}".encode())
    conn.execute(
        "INSERT INTO owsuper_progress (namespace_id, workflow_run_id, done) SELECT 'default',"
        f" 'old ' || n, 1 FROM generate_series({first}, {last}) AS n".encode()
    )


@pytest.mark.parametrize("analyzed", [False, True])
def test_deleting_a_run_reads_what_belongs_to_it(
    analyzed: bool, schema: str, database_url: str
) -> None:
    queries = PruneQueries(schema, "default")

    def delete(conn: psycopg.Connection, first: int, last: int) -> None:
        ids = [f"old {number}" for number in range(first, last + 1)]
        statement, params = queries.delete([Doomed(each, each, 0) for each in ids])
        [(text,)] = conn.execute(statement.query, params).fetchall()
        assert parse_deleted([text]) == set(ids)

    with connect.connect(database_url, application_name="owsuper test") as conn:
        conn.execute(f'SET search_path = "{schema}"'.encode())
        for number in range(1, 8):  # until the plans are kept
            fill(conn, number, number)
            delete(conn, number, number)
        fill(conn, 1, RUNS)
        if analyzed:
            conn.execute(f"ANALYZE workflow_runs, owsuper_progress, {', '.join(_OF_RUNS)}".encode())
        with conn.transaction():
            delete(conn, 1, DELETED)
            read = dict(
                conn.execute(
                    b"SELECT relname, coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0)"
                    b" FROM pg_stat_xact_user_tables WHERE schemaname = $1",
                    [schema],
                ).fetchall()
            )
    for table in ("owsuper_progress", *_OF_RUNS):
        assert read[table] <= 6 * ROWS * DELETED, table
