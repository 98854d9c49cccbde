"""The storage parameters that a migration sets, unless somebody has other wishes."""

from __future__ import annotations

import psycopg
import pytest

from owsuper.db.statement import in_schema, read_sql

TABLES = {"workflow_runs", "step_attempts", "workflow_signals", "owsuper_log_lines"}


def options(conn: psycopg.Connection, schema: str) -> dict[str, list[str]]:
    query = (
        b"SELECT relname, reloptions FROM pg_class WHERE relnamespace = $1::regnamespace"
        b" AND relkind = 'r' AND reloptions IS NOT NULL"
    )
    return dict(conn.execute(query, [schema]).fetchall())


def migrate_again(conn: psycopg.Connection, schema: str) -> None:
    text = in_schema(read_sql("migrations/owsuper/0026_autovacuum.sql"), schema)
    conn.pgconn.exec_(text.encode())


def test_large_tables_are_vacuumed_before_a_fifth_of_them_is_dead(
    conn: psycopg.Connection, schema: str
) -> None:
    found = options(conn, schema)
    for table in TABLES:
        assert "autovacuum_vacuum_scale_factor=0.02" in found[table]


def test_a_table_that_has_parameters_of_its_owner_is_left_alone(
    conn: psycopg.Connection, schema: str
) -> None:
    for table in ("workflow_runs", "step_attempts"):
        reset = "autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold"
        reset += ", autovacuum_analyze_scale_factor"
        conn.execute(f'ALTER TABLE "{schema}".{table} RESET ({reset})'.encode())
    conn.execute(f'ALTER TABLE "{schema}".workflow_runs SET (fillfactor = 90)'.encode())
    migrate_again(conn, schema)
    found = options(conn, schema)
    assert found["workflow_runs"] == ["fillfactor=90"]
    assert "autovacuum_vacuum_scale_factor=0.02" in found["step_attempts"]


@pytest.mark.parametrize("value", ["off", "on"])
def test_a_setting_of_the_database_keeps_the_servers_own(
    conn: psycopg.Connection, schema: str, value: str
) -> None:
    reset = f'ALTER TABLE "{schema}".workflow_runs RESET (autovacuum_vacuum_scale_factor,'
    reset += " autovacuum_vacuum_threshold, autovacuum_analyze_scale_factor)"
    conn.execute(reset.encode())
    conn.execute(f"SET owsuper.autovacuum = '{value}'".encode())
    migrate_again(conn, schema)
    conn.execute(b"RESET owsuper.autovacuum")
    assert ("workflow_runs" in options(conn, schema)) == (value == "on")
