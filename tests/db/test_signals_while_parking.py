"""Signals that are sent while a worker of OpenWorkflow for TypeScript parks the run.

It parks the run, and then looks for signals, in two statements. It locks no waits meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
import pytest

from owsuper.db.clients import ClientQueries
from owsuper.db.related import RelatedStore
from tests.db.rows import Tables, from_now
from tests.fixtures.postgres import connect

COMMITS = 4_711  # the advisory lock that a sender needs to commit

Send = Callable[[psycopg.Connection[Any], str | None], list[str]]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture(params=["a client", "a step"])
def send(request: pytest.FixtureRequest, schema: str) -> Send:
    if request.param == "a step":
        store = RelatedStore(schema, "default")
        return lambda conn, key: store.send(conn, "go", b"1", key, keep=False)
    queries = ClientQueries(schema, "default")
    return lambda conn, key: queries.send_signal("go", b"1", key, keep=False).run(conn)


def wait_for_signal(tables: Tables, run: str) -> str:
    context = {"kind": "signal-wait", "signal": "go"}
    return tables.step(run, kind="signal-wait", context=context)


def park_as_there(tables: Tables, run: str) -> bool:
    """Park a run for an hour; true if it is due at once, because a signal has come."""
    tables.update("workflow_runs", run, worker_id=None, available_at=from_now(3600))
    found = tables.conn.execute(
        f'UPDATE "{tables.schema}".workflow_runs SET available_at = now() WHERE id = $1 AND EXISTS'
        f' (SELECT FROM "{tables.schema}".workflow_signals WHERE workflow_run_id = $1)'.encode(),
        [run],
    )
    return found.rowcount == 1


def due(tables: Tables, run: str) -> bool:
    at = tables.fetch(run)["available_at"]
    return isinstance(at, datetime) and at <= from_now(0)


@contextmanager
def sending(tables: Tables, url: str, send: Send, key: str | None) -> Iterator[list[str]]:
    """Send a signal that is committed at the end of the block; the list gets what it reached."""
    schema = tables.schema
    tables.conn.execute(
        f'CREATE FUNCTION "{schema}".hold () RETURNS trigger LANGUAGE plpgsql AS \'BEGIN'
        f" PERFORM pg_advisory_xact_lock({COMMITS}); RETURN NULL; END';".encode()
    )
    tables.conn.execute(
        f'CREATE CONSTRAINT TRIGGER hold AFTER INSERT ON "{schema}".workflow_signals DEFERRABLE'
        f' INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION "{schema}".hold ()'.encode()
    )
    reached: list[str] = []
    with connect(url) as sender, connect(url) as holder:
        holder.execute(f"SELECT pg_advisory_lock({COMMITS})".encode())
        pid = sender.info.backend_pid
        thread = threading.Thread(target=lambda: reached.extend(send(sender, key)))
        thread.start()
        holds = "SELECT count(*) FROM pg_locks WHERE pid = $1 AND objid = $2 AND NOT granted"
        while tables.conn.execute(holds.encode(), [pid, COMMITS]).fetchone() != (1,):
            assert thread.is_alive()
        try:
            yield reached
        finally:
            holder.execute(f"SELECT pg_advisory_unlock({COMMITS})".encode())
            thread.join()


@pytest.mark.parametrize("key", [None, "key"])
def test_a_run_that_parks_before_the_signal_is_committed_is_due(
    key: str | None, send: Send, tables: Tables, database_url: str
) -> None:
    run = tables.run()
    wait_for_signal(tables, run)
    with sending(tables, database_url, send, key) as reached:
        assert not park_as_there(tables, run)
    assert reached == [run]
    assert due(tables, run)


def test_a_run_that_parks_later_finds_the_signal_itself(send: Send, tables: Tables) -> None:
    run = tables.run()
    before = tables.fetch(run)
    wait_for_signal(tables, run)
    assert send(tables.conn, None) == [run]
    assert tables.fetch(run) == before
    assert park_as_there(tables, run)


def test_a_sender_that_died_before_it_woke_the_run_does_it_when_it_sends_again(
    send: Send, tables: Tables
) -> None:
    run = tables.run()
    wait_for_signal(tables, run)
    assert send(tables.conn, "key") == [run]
    tables.update("workflow_runs", run, worker_id=None, available_at=from_now(3600))
    assert send(tables.conn, "key") == [run]
    assert due(tables, run)
    assert tables.count("workflow_signals") == 1
