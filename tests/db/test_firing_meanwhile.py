"""What becomes of a tick if its schedule changes while the statement that fires it is under way."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.db import connect
from owsuper.db.schedules import DueSchedule, ScheduleQueries
from tests.client.conftest import eventually


@pytest.fixture
def gate(conn: psycopg.Connection[Any]) -> Iterator[str]:
    """A schema whose now() waits for an advisory lock: it holds up a statement that has begun."""
    gate = f"gate_{uuid4().hex[:16]}"
    conn.execute(f"CREATE SCHEMA {gate}".encode())
    conn.execute(
        f"CREATE FUNCTION {gate}.now() RETURNS timestamptz LANGUAGE plpgsql AS $$BEGIN"
        " PERFORM pg_advisory_xact_lock_shared(hashtextextended(current_schema(), 0));"
        " RETURN pg_catalog.now(); END$$".encode()
    )
    yield gate
    conn.execute(f"DROP SCHEMA {gate} CASCADE".encode())


def test_a_run_that_is_triggered_while_a_tick_is_decided_about_is_not_overlapped(
    client: OpenWorkflow, conn: psycopg.Connection[Any], database_url: str, schema: str, gate: str
) -> None:
    client.schedules.create("hourly", "w", "0 * * * *", overlap="skip")
    [(at,)] = conn.execute(
        f'UPDATE "{schema}".owsuper_schedules SET next_at = now() RETURNING next_at'.encode()
    ).fetchall()
    due = DueSchedule(
        name="hourly", workflow_name="w", cron="0 * * * *", every=None, timezone="UTC", start=None,
        end=None, jitter=0, catch_up="last", catch_up_limit=1, at=at, queued=False,
    )  # fmt: skip
    statement, params = ScheduleQueries(schema, "default").fire(due, due.at, None)

    with (
        connect.connect(database_url, application_name="owsuper test") as reader,
        connect.connect(database_url, application_name="owsuper test") as holder,
        connect.connect(database_url, application_name="owsuper test") as firing,
        ThreadPoolExecutor(1) as threads,
    ):
        firing.execute(f"SET search_path = {gate}, pg_catalog".encode())
        [(pid,)] = firing.execute(b"SELECT pg_backend_pid()").fetchall()
        waits = b"SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted"
        with holder.transaction():
            holder.execute(b"SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (gate,))
            answer = threads.submit(lambda: firing.execute(statement.query, params).fetchall())
            eventually(lambda: bool(reader.execute(waits, (pid,)).fetchall()))
            client.schedules.trigger("hourly")
        assert answer.result(timeout=60) == []
        assert firing.execute(statement.query, params).fetchall() == [("skipped",)]
