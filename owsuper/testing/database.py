"""The database of a session of tests: its tables, and which OpenWorkflow uses it."""

from __future__ import annotations

import time
from typing import Final

from psycopg import errors

from owsuper import OpenWorkflow
from owsuper.db import connect, migrate
from owsuper.db.statement import in_schema
from owsuper.errors import ConfigurationError

_CLEAR = """
DO $do$
DECLARE
    names text;
BEGIN
    SELECT string_agg(format('%I.%I', schemaname, tablename), ', ') INTO names
    FROM pg_tables
    WHERE schemaname = '{name}' AND tablename NOT LIKE '%migrations%';
    SET LOCAL lock_timeout = '100ms';
    EXECUTE 'TRUNCATE ' || names;
END
$do$
"""
# A worker at work locks tables one by one, as TRUNCATE does: waiting for longer would end in a
# deadlock, which the server resolves after a second, by an error for either.
_PATIENCE: Final = 60.0  # seconds
_PAUSE: Final = 0.02


def create(url: str, schema: str) -> None:
    """Create the tables. Raises as ``connect`` and ``migrate`` do."""
    with connect.connect(url, application_name="owsuper tests") as conn:
        migrate.migrate(conn, schema)


def clear(url: str, schema: str) -> None:
    """Delete all rows of runs, steps and signals, also beside a worker that is at work."""
    statement = _CLEAR.replace("{name}", schema).encode()
    deadline = time.monotonic() + _PATIENCE
    with connect.connect(url, application_name="owsuper tests") as conn:
        while True:
            try:
                conn.execute(statement)
                return
            except errors.LockNotAvailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(_PAUSE)


def drop(url: str, schema: str) -> None:
    """Drop the schema with its tables."""
    with connect.connect(url, application_name="owsuper tests") as conn:
        conn.execute(in_schema("DROP SCHEMA IF EXISTS {schema} CASCADE", schema).encode())


def check(ow: OpenWorkflow, url: str, schema: str) -> None:
    """Raise ConfigurationError if ``ow`` uses another database than that of the tests."""
    used = ow._database.settings
    if (used.database_url, used.schema) != (url, schema):
        raise ConfigurationError(
            f"this OpenWorkflow uses the schema {used.schema!r} of"
            f" {connect.place(used.database_url or '')}, and not the database of ow_db. Give it no"
            " database_url or schema in code, or request ow_db before the first use of it."
        )
