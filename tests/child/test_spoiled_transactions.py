"""step.transaction: functions that end their transaction, spoil it, or leave something behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from owsuper import RetryPolicy, current
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.child.test_step_transactions import insert, made, run, session_of, table
from tests.client import callers

__all__ = ["table"]

TWICE = RetryPolicy(maximum_attempts=2, initial_interval="1ms")

WAITS_FOR_LOCK = (
    "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%workflow_runs%'"
)

BOTH = pytest.mark.parametrize("is_async", [False, True])


def text(statement: str) -> Any:
    return pytest.importorskip("sqlalchemy").text(statement)


def failure(engine: Engine, row: dict[str, Any]) -> str:
    """The error of a run whose step was called once."""
    assert row["status"] == "failed"
    assert [status for _, status in engine.statuses(row["id"])] == ["failed"]
    return f"{row['error']['name']}: {row['error']['message']}"


# --- functions that end their transaction -------------------------------------------------------


def ending(engine: Engine, how: str) -> Any:
    """Functions of a session that insert a row, and call ``how`` of the session."""

    def end(session: Any) -> None:
        session.execute(text(insert(engine)))
        eval(how, {"session": session, "text": text})

    async def aend(session: Any) -> None:
        await session.run_sync(end)

    return end, aend


@sync_and_async
@BOTH
@pytest.mark.parametrize(
    "how",
    [
        "session.commit()",
        "session.connection().commit()",
        "session.get_transaction().commit()",
        "(session.begin_nested(), session.commit())",
        "(session.commit(), session.execute(text('SELECT 1')))",
    ],
)
def test_a_session_refuses_to_commit(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, how: str, is_async: bool
) -> None:
    make = session_of(database_url, "psycopg", is_async=is_async)
    row = run(engine, as_workflow, ending(engine, how)[is_async], session=make, retry=TWICE)
    assert "must not commit: owsuper commits" in failure(engine, row)
    assert made(engine) == []


@sync_and_async
@BOTH
@pytest.mark.parametrize(
    "how",
    [
        "session.rollback()",
        "session.close()",
        "(session.rollback(), session.execute(text('SELECT 1')))",
        "session.execute(text('ROLLBACK'))",
    ],
)
def test_a_session_whose_transaction_is_ended_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, how: str, is_async: bool
) -> None:
    make = session_of(database_url, "psycopg", is_async=is_async)
    row = run(engine, as_workflow, ending(engine, how)[is_async], session=make, retry=TWICE)
    assert "its function has ended the transaction" in failure(engine, row)
    assert made(engine) == []


@sync_and_async
@BOTH
@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("goes_on", [False, True])
def test_a_statement_that_ends_the_transaction_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow, statement: str, is_async: bool, goes_on: bool
) -> None:
    async def aend(conn: Any) -> None:
        for each in [statement, "SELECT 1"][: 1 + goes_on]:
            await conn.execute(each)

    def end(conn: Any) -> None:
        for each in [statement, "SELECT 1"][: 1 + goes_on]:
            conn.execute(each)

    row = run(engine, as_workflow, aend if is_async else end, retry=TWICE)
    assert "its function has ended the transaction" in failure(engine, row)


@sync_and_async
@BOTH
def test_a_pipeline_that_is_left_open_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow, is_async: bool
) -> None:
    """The commit would be sent with the pipeline, which nobody ends."""
    pipelines: list[Any] = []

    def leave(conn: psycopg.Connection[Any]) -> None:
        pipelines.append(conn.pipeline())
        pipelines[-1].__enter__()
        conn.execute(insert(engine))

    async def aleave(conn: psycopg.AsyncConnection[Any]) -> None:
        pipelines.append(conn.pipeline())
        await pipelines[-1].__aenter__()
        await conn.execute(insert(engine))

    row = run(engine, as_workflow, aleave if is_async else leave, retry=TWICE)
    assert "has left a pipeline open" in failure(engine, row)
    assert made(engine) == []


@sync_and_async
@BOTH
@pytest.mark.parametrize("what", ["a COPY", "rows"])
def test_a_statement_that_is_left_open_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow, is_async: bool, what: str
) -> None:
    """The server would wait for the end of the statement, and we for the server."""
    left: list[Any] = []

    def leave(conn: psycopg.Connection[Any]) -> None:
        conn.execute(insert(engine))
        if what == "a COPY":
            left.append(conn.cursor().copy("COPY pg_temp.rows FROM STDIN"))
            conn.execute("CREATE TEMP TABLE rows (n int)")
            left[-1].__enter__()
        else:
            left.append(conn.cursor().stream("SELECT generate_series(1, 3)"))
            next(left[-1])

    async def aleave(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(insert(engine))
        if what == "a COPY":
            left.append(conn.cursor().copy("COPY pg_temp.rows FROM STDIN"))
            await conn.execute("CREATE TEMP TABLE rows (n int)")
            await left[-1].__aenter__()
        else:
            left.append(conn.cursor().stream("SELECT generate_series(1, 3)"))
            await anext(left[-1])

    row = run(engine, as_workflow, aleave if is_async else leave, retry=TWICE)
    assert "has left a statement open" in failure(engine, row)
    assert made(engine) == []


@sync_and_async
def test_a_pipeline_of_the_function_is_part_of_the_transaction(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def pipelined(conn: psycopg.Connection[Any]) -> int:
        with conn.pipeline():
            conn.execute(insert(engine))
            conn.execute(insert(engine))
        return 3

    row = run(engine, as_workflow, pipelined)
    assert (row["output"], made(engine)) == (3, ["made"] * 2)


# --- sessions of other kinds ---------------------------------------------------------------------


@sync_and_async
@BOTH
@pytest.mark.parametrize("kind", ["generator", "context manager", "begun"])
def test_a_session_may_be_yielded(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, kind: str, is_async: bool
) -> None:
    make = session_of(database_url, "psycopg", is_async=is_async)
    closed: list[bool] = []

    def sessions() -> Iterator[Any]:
        with make() as session:
            if kind == "begun":
                session.execute(text("SET LOCAL work_mem = '1MB'"))
            yield session
        closed.append(True)

    async def asessions() -> AsyncIterator[Any]:
        async with make() as session:
            if kind == "begun":
                await session.execute(text("SET LOCAL work_mem = '1MB'"))
            yield session
        closed.append(True)

    if kind == "generator":
        factory: Any = asessions if is_async else sessions
    elif is_async:
        factory = contextlib.asynccontextmanager(asessions)
    else:
        factory = contextlib.contextmanager(sessions)

    def store(session: Any) -> int:
        session.execute(text(insert(engine)))
        return 3

    async def astore(session: Any) -> int:
        return await session.run_sync(store)

    row = run(engine, as_workflow, astore if is_async else store, session=factory)
    assert (row["output"], made(engine), closed) == (3, ["made"], [True])


@sync_and_async
def test_the_session_of_a_scoped_session_is_used_everywhere(
    engine: Engine, as_workflow: AsWorkflow, database_url: str
) -> None:
    orm = pytest.importorskip("sqlalchemy.orm")
    scoped = orm.scoped_session(orm.sessionmaker(callers.open_engine(database_url, "psycopg")))
    seen: list[Any] = []

    def store(session: Any) -> int:
        assert session is scoped()
        scoped.execute(text(insert(engine)))
        seen.append(session)
        return 3

    def body(step: Any) -> Any:
        yield step.transaction("first", store, session=scoped)
        return (yield step.transaction("second", store, session=scoped))

    engine.workflow(as_workflow(body))
    row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (3, ["made"] * 2)
    assert seen[0] is not seen[1]


def test_a_scoped_session_in_a_transaction_is_not_taken_over(
    engine: Engine, database_url: str
) -> None:
    orm = pytest.importorskip("sqlalchemy.orm")
    scoped = orm.scoped_session(orm.sessionmaker(callers.open_engine(database_url, "psycopg")))

    def body(step: Any) -> Any:
        scoped.execute(text("SELECT 1"))
        try:
            step.transaction("do", lambda session: 1, session=scoped)
        finally:
            scoped.remove()

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert "the session of this thread is in a transaction already" in failure(engine, row)


@sync_and_async
@BOTH
def test_a_session_of_the_wrong_kind_is_named(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, is_async: bool
) -> None:
    make = session_of(database_url, "psycopg", is_async=not is_async)

    async def astore(session: Any) -> None: ...

    def store(session: Any) -> None: ...

    row = run(engine, as_workflow, astore if is_async else store, session=make, retry=TWICE)
    found = failure(engine, row)
    assert f"because the function is {'async' if is_async else 'not async'}" in found
    assert f"makes an object of type {'Session' if is_async else 'AsyncSession'}" in found


@sync_and_async
def test_an_engine_that_commits_each_statement_is_refused(
    engine: Engine, as_workflow: AsWorkflow, database_url: str
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    committing = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database_url),
        isolation_level="AUTOCOMMIT",
        poolclass=sqlalchemy.NullPool,
    )
    make = orm.sessionmaker(committing)
    row = run(engine, as_workflow, lambda session: 1, session=make, retry=TWICE)
    assert "the SQLAlchemy connection is in autocommit mode" in failure(engine, row)


def test_a_connection_to_which_sessions_are_bound_commits_after_a_failed_attempt(
    engine: Engine, database_url: str
) -> None:
    orm = pytest.importorskip("sqlalchemy.orm")
    calls: list[int] = []

    def store(session: Any) -> None:
        session.execute(text(insert(engine)))
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no")

    with callers.open_engine(database_url, "psycopg").connect() as connection:
        make = orm.sessionmaker(bind=connection)
        engine.workflow(lambda step: step.transaction("do", store, session=make, retry=TWICE))
        row = engine.finish(engine.start())
        connection.execute(text("SELECT 1"))
        connection.commit()
    assert (row["status"], made(engine)) == ("completed", ["made"])


# --- errors that are the function's, and conflicts that are not ----------------------------------


def test_what_a_session_flushes_at_its_end_is_the_functions_own_error(
    engine: Engine, database_url: str
) -> None:
    orm = pytest.importorskip("sqlalchemy.orm")
    event = pytest.importorskip("sqlalchemy.event")
    make = orm.sessionmaker(callers.open_engine(database_url, "psycopg"))
    calls: list[int] = []

    def refuse(*_: Any) -> None:
        raise ValueError("refused by the hook")

    def store(session: Any) -> None:
        calls.append(1)
        base = orm.declarative_base()
        columns = pytest.importorskip("sqlalchemy")
        thing = type(
            "Thing",
            (base,),
            {
                "__tablename__": "made",
                "__table_args__": {"schema": engine.schema},
                "what": columns.Column(columns.Text, primary_key=True),
            },
        )
        event.listen(session, "before_flush", refuse)
        session.add(thing(what="made"))

    engine.workflow(lambda step: step.transaction("do", store, session=make, retry=TWICE))
    row = engine.finish(engine.start())
    assert row["error"]["message"] == "refused by the hook"
    assert len(calls) == 2  # as the policy says
    assert made(engine) == []


def test_a_function_that_returns_an_awaitable_fails_the_step(engine: Engine) -> None:
    class Later:
        def __await__(self) -> Iterator[None]:
            raise AssertionError("awaited after the transaction")

    def later(conn: psycopg.Connection[Any]) -> Any:
        conn.execute(insert(engine))
        return Later()

    engine.workflow(lambda step: step.transaction("do", later, retry=TWICE))
    row = engine.finish(engine.start())
    assert "the function returned an awaitable" in failure(engine, row)
    assert made(engine) == []


def test_an_error_that_the_function_swallows_has_an_explanation(engine: Engine) -> None:
    def swallow(conn: psycopg.Connection[Any]) -> None:
        with contextlib.suppress(psycopg.Error):
            conn.execute("SELECT 1/0")

    engine.workflow(lambda step: step.transaction("do", swallow, retry=TWICE))
    row = engine.finish(engine.start())
    assert "current transaction is aborted" in row["error"]["message"]
    assert "Put the statement into a savepoint" in row["error"]["stack"]


@sync_and_async
@BOTH
def test_a_serialization_failure_of_the_fence_is_no_failure_of_the_step(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, is_async: bool
) -> None:
    """A heartbeat that writes to the run meanwhile is enough for it."""
    make = session_of(database_url, "psycopg", is_async=is_async)
    level = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    calls: list[int] = []

    def sessions() -> Iterator[Any]:
        with make() as session:
            session.execute(level)
            yield session

    async def asessions() -> AsyncIterator[Any]:
        async with make() as session:
            await session.execute(level)
            yield session

    def store(session: Any) -> int:
        session.execute(text(insert(engine)))
        calls.append(1)
        if len(calls) == 1:
            engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET updated_at = now()')
        return len(calls)

    async def astore(session: Any) -> int:
        return await session.run_sync(store)

    function: Any = astore if is_async else store
    factory = asessions if is_async else sessions
    row = run(engine, as_workflow, function, session=factory, retry=TWICE)
    assert (row["output"], made(engine)) == (2, ["made"])
    assert engine.statuses(row["id"]) == [("do", "completed")]


@sync_and_async
def test_an_isolation_level_that_conflicts_each_time_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    """A function that is longer than the pause between two renewals of the lease meets this."""
    calls: list[int] = []

    def slow(conn: psycopg.Connection[Any]) -> None:
        conn.execute("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
        conn.execute(insert(engine))
        calls.append(1)
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET updated_at = now()')

    row = run(engine, as_workflow, slow, retry=RetryPolicy(maximum_attempts=1))
    assert "could not serialize access" in failure(engine, row)
    assert "Use the isolation level READ COMMITTED" in row["error"]["stack"]
    assert (len(calls), made(engine)) == (5, [])


@sync_and_async
@BOTH
def test_a_function_that_cancels_its_own_run_in_its_transaction_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow, is_async: bool
) -> None:
    """The cancellation and the result exclude each other, so there would never be a commit."""

    def cancel(conn: psycopg.Connection[Any]) -> None:
        conn.execute(insert(engine))
        engine.ow.get_run(current().run_id).cancel(connection=conn)

    async def acancel(conn: psycopg.AsyncConnection[Any]) -> None:
        await conn.execute(insert(engine))
        await engine.ow.get_run(current().run_id).acancel(connection=conn)

    row = run(engine, as_workflow, acancel if is_async else cancel, retry=TWICE)
    assert "its function has ended or changed its own run" in failure(engine, row)
    assert made(engine) == []


# --- what the function leaves behind ------------------------------------------------------------


def test_the_next_function_finds_a_connection_that_is_as_new(engine: Engine) -> None:
    def change(conn: psycopg.Connection[Any]) -> None:
        conn.row_factory = dict_row
        for statement in (
            "SET search_path TO nowhere",
            "SELECT pg_advisory_lock(4711)",
            "CREATE TEMP TABLE scratch (n int)",
            "LISTEN something",
            "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        ):
            conn.execute(statement)

    def look(conn: psycopg.Connection[Any]) -> Any:
        return conn.execute("""
            SELECT
                current_setting('search_path'), to_regclass('pg_temp.scratch')::text,
                current_setting('transaction_isolation'),
                (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = 4711),
                (SELECT count(*) FROM pg_listening_channels())
        """).fetchone()

    def body(step: Any) -> Any:
        before = step.transaction("before", look, type=list)
        step.transaction("change", change)
        return [before, step.transaction("after", look, type=list)]

    engine.workflow(body)
    before, after = engine.finish(engine.start())["output"]
    assert before == after == ['"$user", public', None, "read committed", 0, 0]


@pytest.mark.parametrize("place", ["function", "fence"])
def test_an_async_transaction_that_is_cancelled_is_rolled_back_at_once(
    engine: Engine, place: str
) -> None:
    """A connection that waited for the garbage collector would keep its locks."""
    held: list[int] = []

    def locks() -> int:
        row = engine.conn.execute(
            "SELECT count(*) FROM pg_locks WHERE relation = $1::text::regclass",
            [f'"{engine.schema}".made'],
        ).fetchone()
        assert row is not None
        return int(row[0])

    def is_waiting() -> bool:
        return bool(engine.conn.execute(WAITS_FOR_LOCK).fetchall())

    async def body(step: Any) -> None:
        called = asyncio.Event()

        async def store(conn: psycopg.AsyncConnection[Any]) -> None:
            await conn.execute(insert(engine))
            called.set()
            if place == "function":
                await asyncio.Event().wait()

        task = asyncio.create_task(step.transaction("do", store))
        await called.wait()
        # The fence gives up after a second, and the function is called again.
        while (place == "fence" and not is_waiting()) or not locks():
            await asyncio.sleep(0.01)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        held.append(locks())
        other.rollback()

    engine.workflow(body)
    run_id = engine.start()
    claimed = engine.claim(run_id)
    with psycopg.connect(engine.conn.info.dsn, host=engine.conn.info.host) as other:
        if place == "fence":
            other.execute(f'SELECT 1 FROM "{engine.schema}".workflow_runs FOR SHARE')
        assert engine.execute_once(run_id, claimed).outcome == "completed"
    assert (held, made(engine)) == ([0], [])
