"""Transactions that do not notify leave a mark until they commit, and claims look for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import psycopg
import pytest

from owsuper.db.claims import Claimed
from tests.db.test_claims import Supervisor
from tests.db.test_notifications import Listener, connection, insert, listener

Connect = Callable[[], psycopg.Connection]

__all__ = ["connection", "listener"]  # fixtures


@pytest.fixture
def claim(connection: Connect, schema: str) -> Callable[[], Claimed]:
    return Supervisor(connection(), schema).look


@contextmanager
def about_to_commit(conn: psycopg.Connection, schema: str, id_: str) -> Iterator[None]:
    """A transaction that stores a run and has done all but commit; it commits in the end."""
    with conn.transaction():
        insert(conn, schema, id_)
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        yield


def test_quiet_is_found_when_all_that_did_not_notify_have_committed(
    connection: Connect, schema: str, claim: Callable[[], Claimed]
) -> None:
    with ExitStack() as silent:
        with about_to_commit(connection(), schema, "notifying"):
            silent.enter_context(about_to_commit(connection(), schema, "silent"))
        seen = claim()
        assert [run.run_id for run in seen.runs] == ["notifying"]
        assert not seen.complete
        assert not seen.quiet
    seen = claim()
    assert [run.run_id for run in seen.runs] == ["silent"]
    assert seen.quiet


def test_the_mark_of_one_namespace_is_none_of_another(
    connection: Connect, schema: str, claim: Callable[[], Claimed]
) -> None:
    conn = connection()
    with conn.transaction():
        insert(conn, schema, "a", "other")
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        assert claim().quiet


def test_a_claim_is_complete_if_no_transaction_was_in_progress(
    conn: psycopg.Connection, schema: str, claim: Callable[[], Claimed]
) -> None:
    for number in range(200):  # other tests have transactions on the same server
        insert(conn, schema, str(number))
        seen = claim()
        assert len(seen.runs) == 1
        if seen.complete:
            return
    raise AssertionError("no claim was complete")


def test_a_claim_is_not_complete_beside_a_transaction_in_progress(
    conn: psycopg.Connection, connection: Connect, schema: str, claim: Callable[[], Claimed]
) -> None:
    other = connection()
    with other.transaction():
        other.execute("SELECT pg_current_xact_id()")
        for number in range(10):
            insert(conn, schema, str(number))
            seen = claim()
            assert len(seen.runs) == 1
            assert not seen.complete
            assert seen.quiet


def test_a_claim_that_finds_nothing_does_not_know_whether_it_is_complete(
    claim: Callable[[], Claimed],
) -> None:
    seen = claim()
    assert not seen.complete
    assert seen.quiet


def test_a_transaction_that_cannot_leave_its_mark_notifies(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    """Whoever looks for the mark holds it for an instant, here for longer."""
    mark = f"'{schema}.workflow_runs'::regclass::oid::integer, hashtext('default') # 1"
    connection().execute(f"SELECT pg_advisory_lock({mark})".encode())
    with about_to_commit(connection(), schema, "a"):
        insert(conn, schema, "b")
        assert listener.notified == 1
    assert listener.notified == 1


def test_the_notification_carries_the_id_of_the_transaction(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    with conn.transaction():
        insert(conn, schema, "a b")
        row = conn.execute("SELECT pg_current_xact_id()::text").fetchone()
        assert row is not None
    assert listener.heard() == [("run", row[0])]
