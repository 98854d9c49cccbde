"""Signals that are sent while a worker of OpenWorkflow for TypeScript parks the run.

It parks the run, and then looks for signals, in two statements. It locks no waits meanwhile.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.db.conftest import Send
from tests.db.rows import Tables, from_now
from tests.fixtures.postgres import connect as plain_connect
from tests.fixtures.postgres import wait_until_it_blocks

COMMITS = 4_711  # the advisory lock that a sender needs to commit


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


def wait_until_waiting(tables: Tables, thread: threading.Thread, which: str) -> None:
    query = f"SELECT count(*) FROM pg_locks WHERE NOT granted AND {which}".encode()
    while tables.conn.execute(query).fetchone() == (0,):
        assert thread.is_alive()


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
    with plain_connect(url) as holder:
        holder.execute(f"SELECT pg_advisory_lock({COMMITS})".encode())
        thread = threading.Thread(target=lambda: reached.extend(send(key)))
        thread.start()
        wait_until_waiting(tables, thread, f"objid = {COMMITS}")
        try:
            yield reached
        finally:
            holder.execute(f"SELECT pg_advisory_unlock({COMMITS})".encode())
            thread.join()


def roll_back_once_awaited(other: psycopg.Connection[Any]) -> None:
    with plain_connect(other.info.dsn) as conn:
        wait_until_it_blocks(other, conn)
    other.execute(b"ROLLBACK")


@pytest.mark.parametrize("key", [None, "key"])
@pytest.mark.parametrize("status", ["running", "sleeping", "pending"])
def test_a_run_that_parks_before_the_signal_is_committed_is_due(
    key: str | None, status: str, send: Send, tables: Tables, database_url: str
) -> None:
    run = tables.run()
    tables.signal_wait(run)
    with sending(tables, database_url, send, key) as reached:
        tables.update("workflow_runs", run, status=status)
        assert not park_as_there(tables, run)
    assert reached == [run]
    assert due(tables, run)


def test_a_run_that_parks_long_after_the_sender_began_is_due(
    send: Send, tables: Tables, database_url: str
) -> None:
    """A commit may wait for minutes, for a standby server for example."""
    run = tables.run()
    tables.signal_wait(run)
    with sending(tables, database_url, send, None) as reached:
        assert not park_as_there(tables, run)
        tables.update("workflow_runs", run, updated_at=from_now(120))
    assert reached == [run]
    assert due(tables, run)


def test_a_run_that_is_locked_meanwhile_is_due_when_it_is_free(
    send: Send, tables: Tables, database_url: str
) -> None:
    """A second sender of the signal locks it, for example, and changes nothing."""
    run = tables.run()
    tables.signal_wait(run)
    lock = f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR NO KEY UPDATE'
    with plain_connect(database_url) as other:
        with sending(tables, database_url, send, None) as reached:
            assert not park_as_there(tables, run)
            other.execute(b"BEGIN")
            other.execute(lock.encode(), [run])
            unlock = threading.Thread(target=roll_back_once_awaited, args=(other,))
            unlock.start()
        unlock.join()
    assert reached == [run]
    assert due(tables, run)


def test_a_run_that_parks_later_finds_the_signal_itself(send: Send, tables: Tables) -> None:
    run = tables.run()
    before = tables.fetch(run)
    tables.signal_wait(run)
    assert send(None) == [run]
    assert tables.fetch(run) == before
    assert park_as_there(tables, run)


def test_a_sender_that_died_before_it_woke_the_run_does_it_when_it_sends_again(
    send: Send, tables: Tables
) -> None:
    run = tables.run()
    tables.signal_wait(run)
    assert send("key") == [run]
    tables.update("workflow_runs", run, worker_id=None, available_at=from_now(3600))
    assert send("key") == [run]
    assert due(tables, run)
    assert tables.count("workflow_signals") == 1


@pytest.mark.parametrize("key", [None, "another key"])
def test_a_sender_that_died_before_it_woke_the_run_is_made_up_for_by_the_next_signal(
    key: str | None, send: Send, tables: Tables
) -> None:
    run = tables.run()
    tables.signal_wait(run)
    assert send("key") == [run]
    park = {"worker_id": None, "available_at": from_now(3600), "updated_at": from_now(0)}
    tables.update("workflow_runs", run, **park)
    assert send(key) == []
    assert due(tables, run)
    assert tables.count("workflow_signals") == 1


@pytest.mark.parametrize(("key", "reaches"), [("key", True), ("another key", False)])
def test_a_run_that_parked_long_after_the_signal_came_has_seen_it_and_sleeps_on(
    key: str, reaches: bool, send: Send, tables: Tables
) -> None:
    run = tables.run()
    tables.signal_wait(run)
    assert send("key") == [run]
    parked = {"worker_id": None, "available_at": from_now(3600), "updated_at": from_now(120)}
    tables.update("workflow_runs", run, **parked)
    assert send(key) == ([run] if reaches else [])
    assert not due(tables, run)


def test_a_signal_that_is_sent_is_no_error_if_its_run_cannot_be_woken(
    tables: Tables, database_url: str, schema: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = tables.run()
    tables.signal_wait(run)
    ow = OpenWorkflow(database_url, schema=schema, call_timeout="1s")
    assert ow.send_signal("go", 1, idempotency_key="key") == [run]
    tables.update("workflow_runs", run, worker_id=None, available_at=from_now(3600))
    lock = f'SELECT FROM "{schema}".workflow_runs WHERE id = $1 FOR NO KEY UPDATE'
    with plain_connect(database_url) as other, other.transaction():
        other.execute(lock.encode(), [run])
        with caplog.at_level(logging.WARNING, "owsuper.client"):
            assert ow.send_signal("go", 1, idempotency_key="key") == [run]
    assert "signal 'go' was sent, and perhaps did not wake its runs" in caplog.text
    assert not due(tables, run)
    ow.close()
