"""Runs, signals and cancels that are stored in the caller's transaction."""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.db.listen import runs_channel
from owsuper.errors import ConfigurationError, MigrationError, RunNotCancelable
from tests.client import callers
from tests.client.conftest import Rows
from tests.fixtures.postgres import connect

WAITS = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query = 'COMMIT'"
HARD = {"text": "100% sure: %s 'quoted' \"twice\" \\ $1 ::json ü\U0001f600"}


class Joined:
    """One library's connection. Its methods await what is async, so that tests read alike."""

    def __init__(self, runner: asyncio.Runner, caller: callers.Caller, *, is_async: bool) -> None:
        self._runner = runner
        self._prefix = "a" if is_async else ""
        self.connection = caller.connection
        self._caller = caller

    def call(self, owner: object, method: str, *args: Any, **options: Any) -> Any:
        """Call ``method``, or its async twin, with the connection."""
        function = getattr(owner, self._prefix + method)
        return self._await(lambda: function(*args, connection=self.connection, **options))

    def commit(self) -> None:
        self._await(self._caller.commit)

    def rollback(self) -> None:
        self._await(self._caller.rollback)

    def fetch(self, query: str) -> Any:
        """The first value of a query in the transaction."""
        from owsuper.db import transactions

        if not self._prefix:
            return transactions.sync_transaction(self.connection).fetch(query, ())[0][0]

        async def fetch() -> Any:
            transaction = await transactions.async_transaction(self.connection)
            return (await transaction.fetch(query, ()))[0][0]

        return self._await(fetch)

    def _await(self, call: Callable[[], Any]) -> Any:
        if not self._prefix:
            return call()

        async def main() -> Any:
            value = call()
            return await value if inspect.isawaitable(value) else value

        return self._runner.run(main())


@pytest.fixture(params=[*callers.SYNC, *callers.ASYNC])
def joined(request: pytest.FixtureRequest, database_url: str, ow: OpenWorkflow) -> Iterator[Joined]:
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())
        if (open_sync := callers.SYNC.get(request.param)) is not None:
            caller = stack.enter_context(open_sync(database_url))
            yield Joined(runner, caller, is_async=False)
        else:
            opening = callers.ASYNC[request.param](database_url)
            caller = runner.run(opening.__aenter__())
            yield Joined(runner, caller, is_async=True)
            runner.run(opening.__aexit__(None, None, None))


@contextmanager
def listening(url: str, schema: str) -> Iterator[Callable[[float], bool]]:
    """Yield a function that tells whether a notification of due runs comes within some seconds."""
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(f'LISTEN "{runs_channel(schema, "default")}"')
        yield lambda seconds: bool(list(conn.notifies(timeout=seconds, stop_after=1)))


# --- runs ------------------------------------------------------------------------------------


def test_a_run_exists_when_the_transaction_has_committed(
    joined: Joined, ow: OpenWorkflow, rows: Rows, database_url: str, schema: str
) -> None:
    with listening(database_url, schema) as notified:
        handle = joined.call(ow, "run_workflow", "test", HARD)
        assert (rows.count(), notified(0)) == (0, False)
        joined.commit()
        assert (rows.count(), notified(30)) == (1, True)
    assert rows.get(handle.id)["input"] == HARD


def test_a_transaction_that_is_rolled_back_leaves_no_run(
    joined: Joined, ow: OpenWorkflow, rows: Rows, database_url: str, schema: str
) -> None:
    with listening(database_url, schema) as notified:
        joined.call(ow, "run_workflow", "test")
        joined.call(ow, "run_workflow", "test", idempotency_key="key")
        joined.call(ow, "run_many", "test", [1, 2, 3])
        joined.rollback()
        assert (rows.count(), notified(0)) == (0, False)


def test_a_key_starts_one_run(joined: Joined, ow: OpenWorkflow, rows: Rows) -> None:
    first = joined.call(ow, "run_workflow", "test", 1, idempotency_key="key")
    again = joined.call(ow, "run_workflow", "test", 2, idempotency_key="key")
    joined.commit()
    outside = ow.run_workflow("test", 3, idempotency_key="key")
    assert first.id == again.id == outside.id
    assert rows.get(first.id)["input"] == 1


def test_many_runs_are_one_part_of_the_transaction(
    joined: Joined, ow: OpenWorkflow, rows: Rows
) -> None:
    handles = joined.call(ow, "run_many", "test", range(2500), available_at="1h")
    assert joined.call(ow, "run_many", "test", []) == []
    joined.commit()
    assert rows.count() == len(handles) == 2500
    assert rows.get(handles[-1].id)["input"] == 2499


def test_a_workflow_starts_its_runs_in_the_transaction_too(
    joined: Joined, ow: OpenWorkflow, rows: Rows
) -> None:
    @ow.workflow
    def double(_: Any, number: int) -> int:
        return 2 * number

    handle = joined.call(double, "run", 4, deadline_at="1h")
    joined.call(double, "run_many", [5, 6])
    joined.commit()
    assert rows.count() == 3
    assert rows.get(handle.id)["deadline_at"] is not None


# --- signals and cancels ---------------------------------------------------------------------


def test_a_signal_is_sent_when_the_transaction_commits(
    joined: Joined, ow: OpenWorkflow, conn: psycopg.Connection, schema: str
) -> None:
    def kept() -> list[tuple[Any]]:
        return conn.execute(f'SELECT data FROM "{schema}".owsuper_signals').fetchall()

    joined.call(ow, "send_signal", "go", HARD, buffer=True)
    joined.rollback()
    assert joined.call(ow, "send_signal", "go", HARD, buffer=True, idempotency_key="key") == []
    assert kept() == []
    joined.commit()
    assert kept() == [(HARD,)]
    joined.call(ow, "send_signal", "go", 2, buffer=True, idempotency_key="key")
    joined.commit()
    assert kept() == [(HARD,)]


class Waiting:
    """A run that a worker of OpenWorkflow for TypeScript executes, and that waits for ``go``."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self._conn, self._schema = conn, schema
        (self.id,) = conn.execute(
            f"""INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status,
                config, attempts, worker_id, available_at, created_at, updated_at)
            VALUES ('default', gen_random_uuid()::text, 'main', 'running', '{{}}', 1, 'peer',
                now() + interval '30s', now(), now()) RETURNING id"""
        ).fetchone() or ("",)
        conn.execute(
            f"""INSERT INTO "{schema}".step_attempts (namespace_id, id, workflow_run_id,
                step_name, kind, status, config, context, started_at, created_at, updated_at)
            VALUES ('default', gen_random_uuid()::text, $1, 'go', 'signal-wait', 'running', '{{}}',
                '{{"signal": "go"}}', now(), now(), now())""",
            [self.id],
        )

    def park(self, conn: psycopg.Connection | None = None) -> None:
        (conn or self._conn).execute(
            f"UPDATE \"{self._schema}\".workflow_runs SET status = 'sleeping', worker_id = NULL,"
            " available_at = now() + interval '1 year', updated_at = now() WHERE id = $1",
            [self.id],
        )

    def state(self) -> tuple[bool, int]:
        """Whether the run is due, and how many rows are left of the note about it."""
        row = self._conn.execute(
            f'SELECT available_at <= now(), (SELECT count(*) FROM "{self._schema}".owsuper_unaware)'
            f' FROM "{self._schema}".workflow_runs WHERE id = $1',
            [self.id],
        ).fetchone()
        assert row is not None
        return bool(row[0]), int(row[1])


@pytest.fixture
def waiting(conn: psycopg.Connection, schema: str) -> Waiting:
    return Waiting(conn, schema)


def test_a_run_that_parks_before_the_signal_is_committed_is_woken(
    joined: Joined, ow: OpenWorkflow, waiting: Waiting
) -> None:
    assert joined.call(ow, "send_signal", "go") == [waiting.id]
    waiting.park()
    assert waiting.state() == (False, 0)
    joined.commit()
    assert waiting.state() == (True, 0)


def test_a_run_that_parks_before_the_signal_is_rolled_back_sleeps_on(
    joined: Joined, ow: OpenWorkflow, waiting: Waiting
) -> None:
    joined.call(ow, "send_signal", "go")
    waiting.park()
    joined.rollback()
    assert waiting.state() == (False, 0)


def test_a_run_that_parks_as_the_transaction_commits_is_woken(
    ow: OpenWorkflow, schema: str, database_url: str, conn: psycopg.Connection
) -> None:
    """The transaction waits for the worker, which holds the run's lock, but only for 50 ms."""
    with psycopg.connect(database_url) as caller, connect(database_url) as peer:
        caller.execute("SET lock_timeout = '7s'")
        for _ in range(50):
            conn.execute(f"UPDATE \"{schema}\".step_attempts SET status = 'failed'")
            waiting = Waiting(conn, schema)
            assert ow.send_signal("go", connection=caller) == [waiting.id]
            peer.execute("BEGIN")
            waiting.park(peer)
            committing = threading.Thread(target=caller.commit)
            committing.start()
            while committing.is_alive() and not conn.execute(WAITS).fetchall():
                pass
            peer.execute("COMMIT")
            committing.join()
            if waiting.state() == (True, 0):
                break  # this time, the peer was fast enough
        else:
            raise AssertionError("no run was woken")
        assert caller.execute("SHOW lock_timeout").fetchone() == ("7s",)


def test_a_run_whose_lock_is_held_does_not_hold_up_the_commit_for_long(
    ow: OpenWorkflow, waiting: Waiting, database_url: str
) -> None:
    with psycopg.connect(database_url) as caller, connect(database_url) as peer:
        ow.send_signal("go", connection=caller)
        peer.execute("BEGIN")
        waiting.park(peer)
        caller.commit()
        peer.execute("ROLLBACK")
    assert waiting.state() == (False, 0)


def test_the_time_limit_of_the_signals_own_locks_is_not_left_behind(
    joined: Joined, ow: OpenWorkflow
) -> None:
    before = joined.fetch("SELECT current_setting('lock_timeout')")
    joined.call(ow, "send_signal", "go")
    assert joined.fetch("SELECT current_setting('lock_timeout')") == before


def test_a_run_is_canceled_when_the_transaction_commits(
    joined: Joined, ow: OpenWorkflow, rows: Rows
) -> None:
    run, ended = ow.get_run(rows.add()), ow.get_run(rows.add())
    rows.end(ended.id)
    joined.call(run, "cancel")
    joined.rollback()
    joined.call(run, "cancel", children=True)
    assert run.status() == "running"
    joined.commit()
    assert run.status() == "canceled"
    with pytest.raises(RunNotCancelable):
        joined.call(ended, "cancel")


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_what_must_see_others_needs_read_committed(
    level: str, ow: OpenWorkflow, rows: Rows, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute(f"SET TRANSACTION ISOLATION LEVEL {level}")
        message = f"needs the isolation level READ COMMITTED, and this transaction has {level}"
        with pytest.raises(ConfigurationError, match=f"idempotency_key {message}"):
            ow.run_workflow("test", idempotency_key="key", connection=connection)
        with pytest.raises(ConfigurationError, match=f"a signal {message}"):
            ow.send_signal("go", connection=connection)
        ow.run_workflow("test", connection=connection)
    assert rows.count() == 1


# --- connections that cannot be used -----------------------------------------------------------


@pytest.mark.parametrize("is_async", [False, True])
def test_a_pipeline_does_not_hide_that_each_statement_is_committed(
    is_async: bool, ow: OpenWorkflow, rows: Rows, database_url: str
) -> None:
    def start() -> None:
        with psycopg.connect(database_url, autocommit=True) as conn, conn.pipeline():
            with conn.transaction():
                ow.run_workflow("test", connection=conn)
            conn.execute("SELECT 1")
            ow.run_workflow("test", connection=conn)

    async def astart() -> None:
        connecting = psycopg.AsyncConnection.connect(database_url, autocommit=True)
        async with await connecting as conn, conn.pipeline():
            async with conn.transaction():
                await ow.arun_workflow("test", connection=conn)
            await conn.execute("SELECT 1")
            await ow.arun_workflow("test", connection=conn)

    with pytest.raises(ConfigurationError, match="in autocommit mode and in no transaction"):
        asyncio.run(astart()) if is_async else start()
    assert rows.count() == 1


def other_database(url: str) -> psycopg.Connection:
    return psycopg.connect(url, dbname="template1")


def sqlite_engine() -> Any:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    return sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.NullPool)


REFUSED: dict[str, tuple[Callable[[str], Any], str]] = {
    "autocommit": (
        lambda url: psycopg.connect(url, autocommit=True),
        "psycopg connection is in autocommit mode and in no transaction, .*; use it within `with"
        r" connection\.transaction\(\):`",
    ),
    "another database": (other_database, 'leads to the database "template1" of another server, or'),
    "SQLite": (lambda _: sqlite3.connect(":memory:"), "expected .*, not sqlite3.Connection"),
    "an engine": (lambda _: sqlite_engine(), "expected .*, not sqlalchemy.engine.base.Engine"),
    "SQLAlchemy with SQLite": (
        lambda _: sqlite_engine().connect(),
        r"sqlite\+pysqlite is not supported; use PostgreSQL with psycopg, psycopg2 or asyncpg",
    ),
    "SQLAlchemy in autocommit": (
        lambda url: callers.open_engine(url, "psycopg", isolation_level="AUTOCOMMIT").connect(),
        "SQLAlchemy connection is in autocommit mode .*; use another isolation level",
    ),
    "Django outside of a transaction": (
        lambda url: callers.configure_django(url).connection,
        r"connection 'default' of Django is in autocommit mode .* within transaction\.atomic\(\)",
    ),
    "an unknown alias": (
        lambda url: callers.configure_django(url) and "other",
        "Django has no connection 'other'; it has 'default', 'lite'",
    ),
    "Django with SQLite": (
        lambda url: callers.configure_django(url) and "lite",
        "Django's connection 'lite' is one to sqlite; pass one to PostgreSQL",
    ),
    "nonsense": (lambda _: 5, "expected a psycopg connection or cursor, .*, not builtins.int"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_connection_that_cannot_be_used_is_named(
    name: str, ow: OpenWorkflow, rows: Rows, database_url: str
) -> None:
    given, message = REFUSED[name]
    with ExitStack() as stack:
        connection = given(database_url)
        if hasattr(connection, "close"):
            stack.callback(connection.close)
        with pytest.raises(ConfigurationError, match=f"^connection: .*{message}"):
            ow.run_workflow("test", connection=connection)
    assert rows.count() == 0


def test_tables_that_are_missing_are_named(joined: Joined, database_url: str) -> None:
    other = OpenWorkflow(database_url, schema="not_there")
    workflow = other.workflow("main")(lambda step: None)
    with pytest.raises(MigrationError, match='The tables in schema "not_there" are missing'):
        joined.call(workflow, "run")
    joined.rollback()
    other.close()


def test_a_pipeline_of_psycopg_is_synchronized(ow: OpenWorkflow, database_url: str) -> None:
    with psycopg.connect(database_url) as connection, connection.pipeline():
        connection.execute("SELECT 1")
        handle = ow.run_workflow("test", connection=connection, idempotency_key="key")
        again = ow.run_workflow("test", connection=connection, idempotency_key="key")
        assert again.id == handle.id
    assert handle.status() == "pending"

    async def main() -> str:
        connect_async = psycopg.AsyncConnection.connect
        async with await connect_async(database_url) as connection, connection.pipeline():
            handle = await ow.arun_workflow("test", connection=connection)
        return str(await handle.astatus())

    assert asyncio.run(main()) == "pending"


def test_a_closed_connection_is_named(ow: OpenWorkflow, database_url: str) -> None:
    connection = psycopg.connect(database_url)
    connection.close()
    with pytest.raises(ConfigurationError, match="the psycopg connection is closed"):
        ow.run_workflow("test", connection=connection)


def test_sync_and_async_connections_are_told_apart(ow: OpenWorkflow, database_url: str) -> None:
    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            with pytest.raises(ConfigurationError, match="is async; await the async method"):
                ow.run_workflow("test", connection=connection)
        with (
            psycopg.connect(database_url) as connection,
            pytest.raises(ConfigurationError, match="is not async; call the method that is not"),
        ):
            await ow.arun_workflow("test", connection=connection)
        with pytest.raises(ConfigurationError, match="expected a psycopg AsyncConnection"):
            await ow.arun_workflow("test", connection=5)

    asyncio.run(main())


def test_a_server_that_was_restarted_is_still_the_workflows_own(
    ow: OpenWorkflow, rows: Rows, database_url: str
) -> None:
    with psycopg.connect(database_url) as connection:
        ow.run_workflow("test", connection=connection)
        ow._database.session().known_connections.database = "as before a restart"
    with psycopg.connect(database_url) as connection:
        ow.run_workflow("test", connection=connection)
    assert rows.count() == 2
