"""What becomes of a tick if its schedule changes while the statement that fires it is under way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.types.json import Jsonb

from owsuper import OpenWorkflow
from owsuper.db import connect
from owsuper.db.schedules import DueSchedule, ScheduleQueries
from tests.client.conftest import eventually
from tests.db.rows import Tables


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


class Firing:
    """The statement that fires a tick of the schedule ``hourly``, which is due."""

    def __init__(
        self, conn: psycopg.Connection[Any], url: str, schema: str, gate: str, *, ago: int = 0
    ) -> None:
        [(at,)] = conn.execute(
            f"UPDATE \"{schema}\".owsuper_schedules SET next_at = now() - $1 * interval '1 minute'"
            " RETURNING next_at".encode(),
            (ago,),
        ).fetchall()
        due = DueSchedule(
            name="hourly", workflow_name="w", cron="0 * * * *", every=None, timezone="UTC",
            start=None, end=None, jitter=0, catch_up="last", catch_up_limit=1, at=at, queued=False,
        )  # fmt: skip
        self._call = ScheduleQueries(schema, "default").fire(due, due.at, None)
        self._url = url
        self._gate = gate

    def again(self, conn: psycopg.Connection[Any]) -> list[Any]:
        statement, params = self._call
        return conn.execute(statement.query, params).fetchall()

    def beside(self, meanwhile: Callable[[], object]) -> list[Any]:
        """Do something when the statement has begun; return its rows."""
        with (
            connect.connect(self._url, application_name="owsuper test") as holder,
            connect.connect(self._url, application_name="owsuper test") as firing,
            ThreadPoolExecutor(1) as threads,
        ):
            firing.execute(f"SET search_path = {self._gate}, pg_catalog".encode())
            [(pid,)] = firing.execute(b"SELECT pg_backend_pid()").fetchall()
            waits = b"SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted"
            lock = b"SELECT pg_advisory_xact_lock(hashtextextended($1, 0))"
            with holder.transaction():
                holder.execute(lock, (self._gate,))
                answer = threads.submit(self.again, firing)
                eventually(lambda: bool(holder.execute(waits, (pid,)).fetchall()))
                meanwhile()
            return answer.result(timeout=60)


def test_a_run_that_is_triggered_while_a_tick_is_decided_about_is_not_overlapped(
    client: OpenWorkflow, conn: psycopg.Connection[Any], database_url: str, schema: str, gate: str
) -> None:
    client.schedules.create("hourly", "w", "0 * * * *", overlap="skip")
    firing = Firing(conn, database_url, schema, gate)
    assert firing.beside(lambda: client.schedules.trigger("hourly")) == []
    assert firing.again(conn) == [("skipped",)]


def test_a_run_that_continues_as_new_while_it_is_to_be_canceled_is_canceled_by_the_next_tick(
    client: OpenWorkflow, conn: psycopg.Connection[Any], database_url: str, schema: str, gate: str
) -> None:
    client.schedules.create("hourly", "w", "0 * * * *", overlap="cancel_running")
    run = client.schedules.trigger("hourly")
    tables = Tables(conn, schema)

    def continue_it() -> None:
        successor = tables.pending()
        tables.update(
            "workflow_runs", run.id, status="completed", context=Jsonb({"continuedAs": successor})
        )

    first = Firing(conn, database_url, schema, gate, ago=1)
    assert first.beside(continue_it) == [("fired",)]
    fired = {each.id for each in client.list_runs(status="pending").items}
    assert len(fired) == 2
    assert Firing(conn, database_url, schema, gate).again(conn) == [("fired",)]
    left = {each.id for each in client.list_runs(status="pending").items}
    assert len(left) == 1
    assert not left & fired
