"""step.transaction: what the function wrote and its result are committed together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from owsuper import RetryPolicy
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.client import callers

ONCE = RetryPolicy(maximum_attempts=1)
TWICE = RetryPolicy(maximum_attempts=2, initial_interval="1ms")


@pytest.fixture(autouse=True)
def table(engine: Engine) -> None:
    engine.conn.execute(f'CREATE TABLE "{engine.schema}".made (what text)')


def made(engine: Engine) -> list[str]:
    rows = engine.conn.execute(f'SELECT what FROM "{engine.schema}".made ORDER BY what')
    return [what for (what,) in rows.fetchall()]


def insert(engine: Engine) -> str:
    return f"INSERT INTO \"{engine.schema}\".made VALUES ('made')"


def write(conn: psycopg.Connection[Any], statement: str, result: Any = 1) -> Any:
    conn.execute(statement)
    return result


async def awrite(conn: psycopg.AsyncConnection[Any], statement: str, result: Any = 1) -> Any:
    await conn.execute(statement)
    return result


FUNCTIONS = pytest.mark.parametrize("function", [write, awrite])


def run(engine: Engine, as_workflow: AsWorkflow, function: Any, *args: Any, **options: Any) -> Any:
    """Execute a run of one step with a transaction; return the run's row."""

    def body(step: Any) -> Any:
        return (yield step.transaction("do", function, *args, **options))

    engine.workflow(as_workflow(body))
    return engine.finish(engine.start())


# --- psycopg -----------------------------------------------------------------------------------


@sync_and_async
@FUNCTIONS
def test_rows_and_result_are_there_together(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    row = run(engine, as_workflow, function, insert(engine), {"answer": 42})
    assert (row["status"], row["output"], made(engine)) == ("completed", {"answer": 42}, ["made"])
    [step] = engine.steps(row["id"])
    assert (step["kind"], step["status"], step["output"]) == (
        "function",
        "completed",
        {"answer": 42},
    )


@sync_and_async
@FUNCTIONS
def test_the_step_is_replayed_as_any_other(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    def body(step: Any) -> Any:
        first = yield step.transaction("do", function, insert(engine), 5)
        yield step.sleep("pause", "30m")
        return first

    engine.workflow(as_workflow(body))
    row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (5, ["made"])


@sync_and_async
@FUNCTIONS
def test_an_error_rolls_back_and_is_retried(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    calls: list[int] = []

    def fail(call: Any) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("no")
        return call

    if function is write:

        def flaky(conn: Any, statement: str) -> Any:
            return fail(write(conn, statement))

    else:

        async def flaky(conn: Any, statement: str) -> Any:
            return fail(await awrite(conn, statement))

    row = run(engine, as_workflow, flaky, insert(engine), retry=TWICE)
    assert (row["status"], made(engine)) == ("completed", ["made"])
    assert engine.statuses(row["id"]) == [("do", "failed"), ("do", "completed")]


@sync_and_async
@FUNCTIONS
def test_a_result_that_cannot_be_stored_rolls_back(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    row = run(engine, as_workflow, function, insert(engine), object(), retry=TWICE)
    assert (row["status"], made(engine)) == ("failed", [])
    assert "an object of type object is not valid JSON" in row["error"]["message"]
    assert engine.statuses(row["id"]) == [("do", "failed")]


@sync_and_async
@FUNCTIONS
def test_a_claim_that_is_lost_meanwhile_rolls_back(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    def lose() -> None:
        engine.conn.execute(f"UPDATE \"{engine.schema}\".workflow_runs SET worker_id = 'other'")

    if function is write:

        def losing(conn: Any) -> Any:
            write(conn, insert(engine))
            lose()

    else:

        async def losing(conn: Any) -> Any:
            await awrite(conn, insert(engine))
            lose()

    def body(step: Any) -> Any:
        yield step.transaction("do", losing)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "lost"
    assert made(engine) == []
    assert engine.row(run_id)["status"] == "running"
    assert "completed" not in dict(engine.statuses(run_id)).values()


@sync_and_async
def test_a_constraint_that_is_checked_at_the_commit_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    engine.conn.execute(
        f'ALTER TABLE "{engine.schema}".made ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED'
    )
    row = run(engine, as_workflow, write, f"{insert(engine)}, ('made')", retry=ONCE)
    assert (row["status"], made(engine)) == ("failed", [])
    assert "duplicate key" in row["error"]["message"]


@sync_and_async
def test_a_connection_that_the_function_closes_fails_the_step(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def close(conn: Any) -> None:
        conn.execute(insert(engine))
        conn.close()

    row = run(engine, as_workflow, close, retry=ONCE)
    assert (row["status"], made(engine)) == ("failed", [])


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_the_function_cannot_end_the_transaction(engine: Engine, end: str) -> None:
    def body(step: Any) -> Any:
        step.transaction("do", lambda conn: getattr(conn, end)(), retry=ONCE)

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert f"Explicit {end}() forbidden" in row["error"]["message"]


def test_a_server_that_ends_the_session_is_asked_again(engine: Engine) -> None:
    calls: list[int] = []

    def killed_once(conn: psycopg.Connection[Any]) -> int:
        conn.execute(insert(engine))
        calls.append(conn.info.backend_pid)
        if len(calls) == 1:
            engine.conn.execute("SELECT pg_terminate_backend($1, 10000)", [calls[0]])
        return len(calls)

    def body(step: Any) -> Any:
        return step.transaction("do", killed_once, retry=ONCE)

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (2, ["made"])
    assert engine.statuses(row["id"]) == [("do", "completed")]


def test_a_lock_on_the_run_is_waited_for(engine: Engine) -> None:
    """The fence waits a second for the lock, and then the transaction is repeated."""
    calls: list[int] = []
    with psycopg.connect(engine.conn.info.dsn, host=engine.conn.info.host) as other:

        def locked_twice(conn: psycopg.Connection[Any]) -> int:
            conn.execute(insert(engine))
            calls.append(1)
            if len(calls) == 1:
                other.execute(f'SELECT 1 FROM "{engine.schema}".workflow_runs FOR UPDATE')
            else:
                other.rollback()
            return len(calls)

        def body(step: Any) -> Any:
            return step.transaction("do", locked_twice, retry=ONCE)

        engine.workflow(body)
        row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (2, ["made"])
    assert engine.statuses(row["id"]) == [("do", "completed")]


def test_the_connection_has_none_of_our_settings(engine: Engine) -> None:
    def look(conn: psycopg.Connection[Any], number: int) -> list[Any]:
        row = conn.execute(
            "SELECT current_setting('enable_seqscan'), current_setting('plan_cache_mode'), %s",
            (number,),
        ).fetchone()
        assert row is not None
        return list(row)

    engine.workflow(lambda step: step.transaction("do", look, 7))
    assert engine.finish(engine.start())["output"] == ["on", "auto", 7]


# --- other libraries -----------------------------------------------------------------------------


def session_of(database_url: str, driver: str, *, is_async: bool) -> Callable[[], Any]:
    if is_async:
        pytest.importorskip("greenlet")
        aio = pytest.importorskip("sqlalchemy.ext.asyncio")
        return aio.async_sessionmaker(callers.open_async_engine(database_url, driver))
    orm = pytest.importorskip("sqlalchemy.orm")
    return orm.sessionmaker(callers.open_engine(database_url, driver))


@sync_and_async
@pytest.mark.parametrize(
    ("driver", "is_async"),
    [("psycopg", False), ("psycopg2", False), ("psycopg", True), ("asyncpg", True)],
)
def test_a_session_of_sqlalchemy_shares_its_transaction(
    engine: Engine, as_workflow: AsWorkflow, database_url: str, driver: str, is_async: bool
) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    make = session_of(database_url, driver, is_async=is_async)
    statement = sqlalchemy.text(insert(engine))

    def store(session: Any, fail: bool) -> int:
        session.execute(statement)
        if fail:
            raise ValueError("no")
        return 3

    async def astore(session: Any, fail: bool) -> int:
        await session.execute(statement)
        if fail:
            raise ValueError("no")
        return 3

    function: Any = astore if is_async else store

    def body(step: Any) -> Any:
        try:
            yield step.transaction("fails", function, True, session=make, retry=ONCE)
        except Exception as exc:
            failed = str(exc)
        return [failed, (yield step.transaction("do", function, False, session=make))]

    engine.workflow(as_workflow(body))
    row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (["no", 3], ["made"])


def test_a_session_of_another_database_is_refused(engine: Engine, database_url: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    orm = pytest.importorskip("sqlalchemy.orm")
    other = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database_url, dbname="template1"),
        poolclass=sqlalchemy.NullPool,
    )

    def body(step: Any) -> Any:
        step.transaction("do", lambda session: 1, session=orm.sessionmaker(other), retry=TWICE)

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert "is one of the database 'template1', which is not that of the" in row["error"]["message"]
    assert engine.statuses(row["id"]) == [("do", "failed")]


def test_a_transaction_of_django_is_shared(engine: Engine, database_url: str) -> None:
    db = callers.configure_django(database_url)

    def store(connection: Any, fail: bool) -> int:
        with db.connection.cursor() as cursor:
            cursor.execute(insert(engine))
        if fail:
            raise ValueError("no")
        return 3

    def body(step: Any) -> Any:
        try:
            step.transaction("fails", store, True, using="default", retry=ONCE)
        except Exception as exc:
            failed = str(exc)
        return [failed, step.transaction("do", store, False, using="default")]

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert (row["output"], made(engine)) == (["no", 3], ["made"])
    db.connections.close_all()


def test_a_transaction_of_django_is_never_part_of_a_larger_one(
    engine: Engine, database_url: str
) -> None:
    db = callers.configure_django(database_url)
    atomic = pytest.importorskip("django.db.transaction").atomic

    def store(connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute(insert(engine))

    def body(step: Any) -> None:
        with atomic():  # it would have the last word, long after the step
            step.transaction("do", store, using="default", retry=ONCE)

    engine.workflow(body)
    row = engine.finish(engine.start())
    assert "durable atomic block cannot be nested" in row["error"]["message"]
    assert (engine.statuses(row["id"]), made(engine)) == ([("do", "failed")], [])
    db.connections.close_all()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "both": ({"session": dict, "using": "default"}, "pass session or using, not both"),
    "a session": ({"session": 5}, "session must be what makes a session, such as a sessionmaker"),
    "no alias": ({"using": 5}, "using must be the alias of one of Django's connections, not 5"),
}


@sync_and_async
@pytest.mark.parametrize("name", WRONG)
def test_wrong_options_are_named(engine: Engine, as_workflow: AsWorkflow, name: str) -> None:
    options, message = WRONG[name]
    row = run(engine, as_workflow, write, insert(engine), **options)
    assert message in row["error"]["message"]
    assert made(engine) == []
