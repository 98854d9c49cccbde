from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import RawCursor

from owsuper.db.listen import EARLY, results_channel, runs_channel, workers_channel

Connect = Callable[[], psycopg.Connection]


class Listener:
    """Listens for runs of one namespace, and for results."""

    def __init__(self, conn: psycopg.Connection, schema: str, namespace: str) -> None:
        self._conn = conn
        self.runs = runs_channel(schema, namespace)
        self._kinds = {
            self.runs: "run",
            workers_channel(schema, namespace): "worker",
            results_channel(schema): "result",
        }
        self._end = f"the end for {conn.info.backend_pid}"
        for channel in (*self._kinds, self._end):
            conn.execute(f'LISTEN "{channel}"')

    def heard(self) -> list[tuple[str, str]]:
        """All since the last time: ("run", transaction), ("worker", …) and ("result", run id)."""
        self._conn.execute(f'NOTIFY "{self._end}"')  # delivered after all that committed before
        notes = []
        for note in self._conn.notifies(timeout=20):
            if note.channel == self._end:
                return notes
            notes.append((self._kinds[note.channel], note.payload))
        raise AssertionError("the server delivers no notifications")

    @property
    def notified(self) -> int:
        heard = self.heard()
        assert all(payload.isdigit() for kind, payload in heard if kind == "run")
        return sum(kind == "run" for kind, _ in heard)


@pytest.fixture
def connection(database_url: str) -> Iterator[Connect]:
    """Opens connections that are closed in the end."""
    opened = []

    def connect() -> psycopg.Connection:
        opened.append(psycopg.connect(database_url, autocommit=True, cursor_factory=RawCursor))
        return opened[-1]

    yield connect
    for conn in opened:
        conn.close()


@pytest.fixture
def listener(connection: Connect, schema: str) -> Listener:
    return Listener(connection(), schema, "default")


def insert(conn: psycopg.Connection, schema: str, ids: str, namespace: str = "default") -> None:
    """One statement for all of ``ids`` (separated by spaces), due now."""
    conn.execute(
        f'INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status, config,'
        " attempts, available_at, created_at, updated_at) SELECT $2, id, 'w', 'pending', '{}', 0,"
        " now(), now(), now() FROM unnest(string_to_array($1, ' ')) AS id",
        [ids, namespace],
    )


def update(conn: psycopg.Connection, schema: str, assignments: str, id_: str = "a") -> None:
    conn.execute(f'UPDATE "{schema}".workflow_runs SET {assignments} WHERE id = $1', [id_])


CLAIM = "status = 'running', worker_id = 'me', available_at = now() + interval '30 s'"
PARK = "status = 'running', worker_id = NULL, available_at = now() + interval '1 h'"
RETRY = "status = 'pending', worker_id = NULL, available_at = now() + interval '1 s'"
WAKE = "available_at = now(), updated_at = now()"
COMPLETE = "status = 'completed', available_at = NULL, output = '1'"
CANCEL = "status = 'canceled', worker_id = NULL, available_at = NULL"


# --- due runs -------------------------------------------------------------------------------


def test_a_plain_insert_notifies(conn: psycopg.Connection, schema: str, listener: Listener) -> None:
    insert(conn, schema, "a")
    assert listener.notified == 1


def test_an_insert_of_a_run_for_later_notifies_too(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a")
    listener.heard()
    update(conn, schema, "available_at = now() + interval '1 day'")
    assert listener.notified == 1


def test_a_run_that_is_stored_with_a_due_time_in_the_past_is_said_to_be_early(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a")
    listener.heard()
    update(conn, schema, "available_at = now() - interval '5 minutes'")
    [(kind, payload)] = listener.heard()
    assert kind == "run"
    assert payload.startswith(EARLY)
    assert payload.removeprefix(EARLY).isdigit()


def test_of_the_transactions_in_flight_one_says_that_a_run_is_early(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a b")
    listener.heard()
    first, second, third = connection(), connection(), connection()
    with first.transaction(), second.transaction(), third.transaction():
        for each in (first, second, third):
            each.execute("SET CONSTRAINTS ALL IMMEDIATE")  # the bell rings before the commit
        insert(first, schema, "c")
        update(second, schema, "available_at = now() - interval '5 minutes'", "a")
        update(third, schema, "available_at = now() - interval '5 minutes'", "b")
    payloads = [payload for _, payload in listener.heard()]
    assert sum(payload.isdigit() for payload in payloads) == 1
    assert sum(payload.startswith(EARLY) for payload in payloads) == 1


def test_many_inserts_of_one_transaction_notify_once(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    with conn.transaction():
        insert(conn, schema, " ".join(str(number) for number in range(1000)))
        insert(conn, schema, "a b c")
    assert listener.notified == 1


def test_the_next_transaction_of_a_session_notifies_again(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    for id_ in "abc":
        insert(conn, schema, id_)
        assert listener.notified == 1


def test_each_namespace_has_its_own_notifications(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    other = Listener(connection(), schema, "grüße/日本")
    with conn.transaction():
        insert(conn, schema, "a")
        insert(conn, schema, "a", "grüße/日本")
        insert(conn, schema, "b")
    assert (listener.notified, other.notified) == (1, 1)
    insert(conn, schema, "b", "grüße/日本")
    assert (listener.notified, other.notified) == (0, 1)


@pytest.mark.parametrize(("change", "notified"), [(PARK, 1), (RETRY, 1), (CLAIM, 0), (COMPLETE, 0)])
def test_a_claimed_run_notifies_only_when_it_is_given_back(
    conn: psycopg.Connection, schema: str, listener: Listener, change: str, notified: int
) -> None:
    insert(conn, schema, "a")
    update(conn, schema, CLAIM)
    assert listener.notified == 1
    update(conn, schema, change)
    assert listener.notified == notified


@pytest.mark.parametrize(("change", "notified"), [(WAKE, 1), (CLAIM, 0), (CANCEL, 0)])
def test_a_parked_run_notifies_only_when_it_is_woken(
    conn: psycopg.Connection, schema: str, listener: Listener, change: str, notified: int
) -> None:
    insert(conn, schema, "a")
    update(conn, schema, PARK)
    listener.heard()
    update(conn, schema, change)
    assert listener.notified == notified


def test_a_run_that_is_canceled_under_its_worker_is_named(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    other = Listener(connection(), schema, "other")
    insert(conn, schema, "a b c")
    update(conn, schema, CLAIM)
    update(conn, schema, PARK, "b")
    listener.heard()
    for id_ in "abc":
        update(conn, schema, CANCEL, id_)
    assert listener.heard() == [(kind, "canceled:a") for kind in ("worker", "run")]
    assert other.heard() == []


def test_a_heartbeat_does_not_notify(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a")
    update(conn, schema, CLAIM)
    listener.heard()
    update(conn, schema, "available_at = now() + interval '30 s'")
    update(conn, schema, "updated_at = now()")
    assert listener.notified == 0


def test_a_transaction_that_is_rolled_back_does_not_notify(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    with conn.transaction(force_rollback=True):
        insert(conn, schema, "a")
    assert listener.notified == 0


def test_a_savepoint_that_is_rolled_back_keeps_no_other_insert_from_notifying(
    conn: psycopg.Connection, schema: str, listener: Listener
) -> None:
    with conn.transaction():
        with conn.transaction(force_rollback=True):
            insert(conn, schema, "a")
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        insert(conn, schema, "b")
    assert listener.notified == 1


def test_a_long_transaction_keeps_no_other_from_notifying(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    long = connection()
    with long.transaction():
        insert(long, schema, "a")
        insert(conn, schema, "b")
        assert listener.notified == 1
    assert listener.notified == 1


def test_while_one_transaction_notifies_the_others_commit_without_notifying(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    notifying = connection()
    with notifying.transaction():
        insert(notifying, schema, "a")
        notifying.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as far as its commit, and no further
        insert(conn, schema, "b")
        assert listener.notified == 0
    assert listener.notified == 1


@pytest.mark.parametrize("path", ["''", "nowhere", "public, pg_catalog"])
def test_the_search_path_does_not_matter(
    conn: psycopg.Connection, schema: str, listener: Listener, path: str
) -> None:
    with search_path(conn, path):
        insert(conn, schema, "a")
        update(conn, schema, CANCEL)
    assert listener.notified == 1


@contextmanager
def search_path(conn: psycopg.Connection, path: str) -> Iterator[None]:
    conn.execute(f"SET search_path = {path}")
    yield
    conn.execute("RESET search_path")


# --- results --------------------------------------------------------------------------------


WAIT = "pg_advisory_lock_shared(hashtextextended('owsuper:result:' || $1 || ':' || $2, 0))"
TRY = WAIT.replace("pg_advisory", "pg_try_advisory")


def wait_for(conn: psycopg.Connection, id_: str, namespace: str = "default") -> None:
    conn.execute(f"SELECT {WAIT}", [namespace, id_])


@pytest.mark.parametrize(
    "end", [COMPLETE, CANCEL, "status = 'failed', available_at = NULL", "status = 'succeeded'"]
)
def test_a_client_that_waits_is_notified_of_the_end(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener, end: str
) -> None:
    insert(conn, schema, "a b")
    wait_for(connection(), "a")
    wait_for(connection(), "a")
    update(conn, schema, CLAIM)
    listener.heard()
    update(conn, schema, end)
    update(conn, schema, end, "b")
    assert [note for note in listener.heard() if note[0] == "result"] == [("result", "a")]


def test_a_run_that_no_client_waits_for_ends_without_notifying(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a")
    insert(conn, schema, "a", "other")
    wait_for(connection(), "a", "other")
    listener.heard()
    conn.execute(f"UPDATE \"{schema}\".workflow_runs SET {CANCEL} WHERE namespace_id = 'default'")
    assert listener.heard() == []


def test_a_client_that_waits_is_notified_of_the_end_only(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    insert(conn, schema, "a")
    wait_for(connection(), "a")
    for change in (CLAIM, PARK, RETRY, CLAIM, "status = 'running'"):
        update(conn, schema, change)
    update(conn, schema, COMPLETE)
    update(conn, schema, COMPLETE)
    assert [kind for kind, _ in listener.heard()].count("result") == 1


def test_a_client_that_comes_between_the_end_and_its_commit_waits_for_the_commit(
    conn: psycopg.Connection, connection: Connect, schema: str
) -> None:
    insert(conn, schema, "a")
    waiter = connection()
    with conn.transaction():
        update(conn, schema, COMPLETE)
        assert waiter.execute(f"SELECT {TRY}", ["default", "a"]).fetchone() == (False,)
    assert waiter.execute(f"SELECT {TRY}", ["default", "a"]).fetchone() == (True,)
    status = waiter.execute(f'SELECT status FROM "{schema}".workflow_runs').fetchone()
    assert status == ("completed",)


@pytest.mark.slow
def test_ending_very_many_runs_at_once_exhausts_nothing(
    conn: psycopg.Connection, connection: Connect, schema: str, listener: Listener
) -> None:
    """The server's lock table holds a few ten thousand locks, for all sessions together."""
    count = 60_000
    insert(conn, schema, " ".join(str(number) for number in range(count)))
    wait_for(connection(), "59999")
    listener.heard()
    conn.execute(f'UPDATE "{schema}".workflow_runs SET {CANCEL}')
    told = {id_ for _, id_ in listener.heard()}
    assert "59999" in told
    assert count - len(told) < 100
