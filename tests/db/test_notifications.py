from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
import pytest
from psycopg import RawCursor

from owsuper.db.listen import results_channel, runs_channel

Connect = Callable[[], psycopg.Connection]


class ResultListener:
    """Listens for runs of one namespace, and for results."""

    def __init__(self, conn: psycopg.Connection, schema: str, namespace: str) -> None:
        self._conn = conn
        self.runs = runs_channel(schema, namespace)
        self.results = results_channel(schema)
        self._end = f"the end for {conn.info.backend_pid}"
        for channel in (self.runs, self.results, self._end):
            conn.execute(f'LISTEN "{channel}"')

    def heard(self) -> list[tuple[str, str]]:
        """All that was notified since the last time, as ("bell", "") and ("result", run id)."""
        self._conn.execute(f'NOTIFY "{self._end}"')  # delivered after all that committed before
        notes = []
        for note in self._conn.notifies(timeout=20):
            if note.channel == self._end:
                return notes
            notes.append(("bell" if note.channel == self.runs else "result", note.payload))
        raise AssertionError("the server delivers no notifications")

    @property
    def rung(self) -> int:
        heard = self.heard()
        assert all(payload == "" for kind, payload in heard if kind == "bell")
        return sum(kind == "bell" for kind, _ in heard)


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
def ear(connection: Connect, schema: str) -> ResultListener:
    return ResultListener(connection(), schema, "default")


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


# --- the bell -------------------------------------------------------------------------------


def test_a_plain_insert_rings(conn: psycopg.Connection, schema: str, ear: ResultListener) -> None:
    insert(conn, schema, "a")
    assert ear.rung == 1


def test_an_insert_for_later_rings_too(
    conn: psycopg.Connection, schema: str, ear: ResultListener
) -> None:
    insert(conn, schema, "a")
    ear.heard()
    update(conn, schema, "available_at = now() + interval '1 day'")
    assert ear.rung == 1


def test_many_inserts_of_a_transaction_ring_once(
    conn: psycopg.Connection, schema: str, ear: ResultListener
) -> None:
    with conn.transaction():
        insert(conn, schema, " ".join(str(number) for number in range(1000)))
        insert(conn, schema, "a b c")
    assert ear.rung == 1


def test_the_next_transaction_of_a_session_rings_again(
    conn: psycopg.Connection, schema: str, ear: ResultListener
) -> None:
    for id_ in "abc":
        insert(conn, schema, id_)
        assert ear.rung == 1


def test_each_namespace_has_a_bell_of_its_own(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    other = ResultListener(connection(), schema, "grüße/日本")
    with conn.transaction():
        insert(conn, schema, "a")
        insert(conn, schema, "a", "grüße/日本")
        insert(conn, schema, "b")
    assert (ear.rung, other.rung) == (1, 1)
    insert(conn, schema, "b", "grüße/日本")
    assert (ear.rung, other.rung) == (0, 1)


@pytest.mark.parametrize(("change", "rings"), [(PARK, 1), (RETRY, 1), (CLAIM, 0), (COMPLETE, 0)])
def test_an_owned_run_rings_as_it_is_given_back_and_not_else(
    conn: psycopg.Connection, schema: str, ear: ResultListener, change: str, rings: int
) -> None:
    insert(conn, schema, "a")
    update(conn, schema, CLAIM)
    assert ear.rung == 1
    update(conn, schema, change)
    assert ear.rung == rings


@pytest.mark.parametrize(("change", "rings"), [(WAKE, 1), (CLAIM, 0), (CANCEL, 0)])
def test_a_parked_run_rings_as_it_is_woken_and_not_else(
    conn: psycopg.Connection, schema: str, ear: ResultListener, change: str, rings: int
) -> None:
    insert(conn, schema, "a")
    update(conn, schema, PARK)
    ear.heard()
    update(conn, schema, change)
    assert ear.rung == rings


def test_a_run_that_is_canceled_under_its_worker_is_named(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    other = ResultListener(connection(), schema, "other")
    insert(conn, schema, "a b c")
    update(conn, schema, CLAIM)
    update(conn, schema, PARK, "b")
    ear.heard()
    for id_ in "abc":
        update(conn, schema, CANCEL, id_)
    assert ear.heard() == [("bell", "canceled:a")]
    assert other.heard() == []


def test_a_heartbeat_is_silent(conn: psycopg.Connection, schema: str, ear: ResultListener) -> None:
    insert(conn, schema, "a")
    update(conn, schema, CLAIM)
    ear.heard()
    update(conn, schema, "available_at = now() + interval '30 s'")
    update(conn, schema, "updated_at = now()")
    assert ear.rung == 0


def test_what_is_rolled_back_is_silent(
    conn: psycopg.Connection, schema: str, ear: ResultListener
) -> None:
    with conn.transaction(force_rollback=True):
        insert(conn, schema, "a")
    assert ear.rung == 0


def test_a_savepoint_that_rang_and_was_rolled_back_does_not_silence_the_rest(
    conn: psycopg.Connection, schema: str, ear: ResultListener
) -> None:
    with conn.transaction():
        with conn.transaction(force_rollback=True):
            insert(conn, schema, "a")
            conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
        insert(conn, schema, "b")
    assert ear.rung == 1


def test_a_long_transaction_does_not_sit_on_the_bell(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    long = connection()
    with long.transaction():
        insert(long, schema, "a")
        insert(conn, schema, "b")
        assert ear.rung == 1
    assert ear.rung == 1


def test_while_one_transaction_rings_the_others_commit_in_silence(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    ringing = connection()
    with ringing.transaction():
        insert(ringing, schema, "a")
        ringing.execute("SET CONSTRAINTS ALL IMMEDIATE")  # as far as its commit, and no further
        insert(conn, schema, "b")
        assert ear.rung == 0
    assert ear.rung == 1


@pytest.mark.parametrize("path", ["''", "nowhere", "public, pg_catalog"])
def test_the_search_path_does_not_matter(
    conn: psycopg.Connection, schema: str, ear: ResultListener, path: str
) -> None:
    with search_path(conn, path):
        insert(conn, schema, "a")
        update(conn, schema, CANCEL)
    assert ear.rung == 1


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
def test_whoever_waits_is_told_of_the_end(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener, end: str
) -> None:
    insert(conn, schema, "a b")
    wait_for(connection(), "a")
    wait_for(connection(), "a")
    update(conn, schema, CLAIM)
    ear.heard()
    update(conn, schema, end)
    update(conn, schema, end, "b")
    assert [note for note in ear.heard() if note[0] == "result"] == [("result", "a")]


def test_nobody_is_told_of_what_nobody_waits_for(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    insert(conn, schema, "a")
    insert(conn, schema, "a", "other")
    wait_for(connection(), "a", "other")
    ear.heard()
    conn.execute(f"UPDATE \"{schema}\".workflow_runs SET {CANCEL} WHERE namespace_id = 'default'")
    assert ear.heard() == []


def test_a_waiter_is_not_told_of_anything_but_the_end(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    insert(conn, schema, "a")
    wait_for(connection(), "a")
    for change in (CLAIM, PARK, RETRY, CLAIM, "status = 'running'"):
        update(conn, schema, change)
    update(conn, schema, COMPLETE)
    update(conn, schema, COMPLETE)
    assert [kind for kind, _ in ear.heard()].count("result") == 1


def test_who_comes_between_the_end_and_its_commit_waits_for_the_commit(
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


def test_ending_very_many_runs_at_once_exhausts_nothing(
    conn: psycopg.Connection, connection: Connect, schema: str, ear: ResultListener
) -> None:
    """The server's lock table holds a few ten thousand locks, for all sessions together."""
    count = 60_000
    insert(conn, schema, " ".join(str(number) for number in range(count)))
    wait_for(connection(), "59999")
    ear.heard()
    conn.execute(f'UPDATE "{schema}".workflow_runs SET {CANCEL}')
    told = {id_ for _, id_ in ear.heard()}
    assert "59999" in told
    assert count - len(told) < 100
