"""Calls end in time, whatever the database does: it hangs, is cut off, or has a table locked."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import pytest

from owsuper import OpenWorkflow, ResultTimeout
from owsuper.db.new_runs import NewRun
from owsuper.db.timed import TimedConnection
from owsuper.errors import ConfigurationError, DatabaseError, DatabaseUnreachable, OwsuperError
from tests.client.conftest import Rows, eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.fixtures.proxy import Proxy

ENOUGH = 20.0  # seconds; far more than a call may take here, far less than the trouble lasts

# Every call of a client that asks the database, by its name and arguments.
CALLS: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("run_workflow", ["name"], {}),
    ("run_workflow", ["name", "x" * 100_000], {}),
    ("run_workflow", ["name"], {"idempotency_key": "key"}),
    ("run_many", ["name", [1, 2]], {}),
    ("list_runs", [], {}),
    ("list_step_attempts", ["any"], {}),
    ("count_runs", [], {}),
    ("send_signal", ["signal"], {}),
]
HANDLE_CALLS = ["status", "details", "cancel", "retry"]


def outcomes_of_all_calls(ow: OpenWorkflow, call: Call) -> dict[str, BaseException | None]:
    """Make all calls at once; return their errors."""

    def attempt(target: Any, method: str, *args: Any, **kwargs: Any) -> BaseException | None:
        try:
            call(target, method, *args, **kwargs)
        except BaseException as error:
            return error
        return None

    with ThreadPoolExecutor(20) as threads:
        started = {
            f"{method} {kwargs}{len(str(args)) > 1000}": threads.submit(
                attempt, ow, method, *args, **kwargs
            )
            for method, args, kwargs in CALLS
        }
        for method in HANDLE_CALLS:
            started[method] = threads.submit(attempt, ow.get_run("any"), method)
        started["result"] = threads.submit(attempt, ow.get_run("any"), "result", 1)
        return {name: outcome.result(ENOUGH * 2) for name, outcome in started.items()}


@contextmanager
def locked(conn: psycopg.Connection, schema: str) -> Iterator[None]:
    """Have the tables locked, as by ALTER TABLE or VACUUM FULL."""
    tables = "workflow_runs, step_attempts, workflow_signals"
    names = ", ".join(f'"{schema}".{table}' for table in tables.split(", "))
    with conn.transaction():
        conn.execute(f"LOCK TABLE {names} IN ACCESS EXCLUSIVE MODE")
        yield


# --- every call ------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.once
@sync_and_async
@pytest.mark.parametrize("used", [True, False], ids=["connected", "not yet connected"])
def test_a_silent_server_ends_every_call_at_its_limit(
    proxy: Proxy, schema: str, call: Call, used: bool
) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema, call_timeout="1s")
    if used:
        ow.count_runs()
    proxy.stall()
    began = time.monotonic()
    outcomes = outcomes_of_all_calls(ow, call)
    assert time.monotonic() - began < ENOUGH
    result = outcomes.pop("result")
    assert isinstance(result, ResultTimeout if used else DatabaseUnreachable)
    for name, error in outcomes.items():
        assert isinstance(error, DatabaseUnreachable), (name, error)
    proxy.cut()  # what was sent must not reach the server later
    proxy.restore()
    eventually(lambda: ow.count_runs() is not None)
    ow.close()


@sync_and_async
def test_a_locked_table_ends_every_call_at_its_limit(
    database_url: str, schema: str, conn: psycopg.Connection, call: Call
) -> None:
    ow = OpenWorkflow(database_url, schema=schema, call_timeout="1s")
    ow.count_runs()
    with locked(conn, schema):
        began = time.monotonic()
        outcomes = outcomes_of_all_calls(ow, call)
        assert time.monotonic() - began < ENOUGH
    assert isinstance(outcomes.pop("result"), ResultTimeout)
    for name, error in outcomes.items():
        assert isinstance(error, DatabaseError), (name, error)
    ow.close()


@pytest.mark.slow
@pytest.mark.once
@sync_and_async
def test_a_time_limit_of_the_role_is_an_error_of_ours(
    database_url: str, schema: str, conn: psycopg.Connection, call: Call
) -> None:
    for limit in ("lock_timeout", "statement_timeout"):
        ow = OpenWorkflow(with_option(database_url, f"{limit}=1s"), schema=schema)
        ow.count_runs()
        with locked(conn, schema):
            outcomes = outcomes_of_all_calls(ow, call)
        assert isinstance(outcomes.pop("result"), ResultTimeout)
        for name, error in outcomes.items():
            assert type(error) is DatabaseError, (name, error)
            assert "Nothing was changed" in str(error)
        ow.close()


@sync_and_async
def test_a_name_server_without_an_answer_ends_every_call_at_its_limit(
    monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    answered = threading.Event()
    ask = socket.getaddrinfo

    def swallow(host: str, *args: Any, **kwargs: Any) -> Any:
        if host == "db.example.com":
            answered.wait(ENOUGH * 3)
            raise OSError("no answer")
        return ask(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", swallow)
    ow = OpenWorkflow("postgresql://ada@db.example.com/app", call_timeout="1s")
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable, match=r"Cannot reach PostgreSQL at db\.example\.com"):
        call(ow, "count_runs")
    assert time.monotonic() - began < ENOUGH
    answered.set()
    ow.close()


def test_starts_that_share_a_commit_end_at_the_first_of_their_limits(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise each leader would begin a limit of its own, and its followers would wait longer."""
    ow.count_runs()
    session = ow._database.session()
    limits: list[float] = []
    run = session.run

    def record(work: Any, *, again: bool = True, give_up_at: float | None = None) -> Any:
        assert give_up_at is not None
        limits.append(give_up_at)
        return run(work, again=again, give_up_at=give_up_at)

    monkeypatch.setattr(session, "run", record)
    before = session.give_up_at()
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: ow.run_workflow("name"), range(40)))
    asyncio.run(ow.arun_workflow("name"))
    assert before <= min(limits)
    assert max(limits) <= session.give_up_at()
    soon = time.monotonic() + 5
    session._store(
        [
            (NewRun(workflow_name="a"), soon + 2),
            (NewRun(workflow_name="b"), soon),
            (NewRun(workflow_name="c"), soon + 1),
        ]
    )
    assert limits[-1] == soon


def test_the_server_cancels_what_its_caller_has_given_up(
    database_url: str, schema: str, conn: psycopg.Connection, ow: OpenWorkflow, rows: Rows
) -> None:
    """Otherwise abandoned statements would pile up behind the lock, and take effect later."""
    hasty = OpenWorkflow(database_url, schema=schema, call_timeout="1s")
    hasty.count_runs()
    with locked(conn, schema):
        with pytest.raises(DatabaseError):
            hasty.run_workflow("name")
        eventually(lambda: blocked(conn, schema) == 0)
    assert rows.count() == 0
    hasty.close()


def blocked(conn: psycopg.Connection, schema: str) -> int:
    row = conn.execute(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE $1",
        (f"%{schema}%",),
    ).fetchone()
    assert row is not None
    return int(row[0])


# --- waiting for a result --------------------------------------------------------------------


@sync_and_async
def test_a_result_is_waited_for_no_longer_than_asked_while_the_table_is_locked(
    ow: OpenWorkflow, rows: Rows, schema: str, conn: psycopg.Connection, call: Call
) -> None:
    run_id = rows.add()
    with locked(conn, schema):
        began = time.monotonic()
        with pytest.raises(ResultTimeout):
            call(ow.get_run(run_id), "result", 1)
        assert time.monotonic() - began < ENOUGH
    rows.end(run_id, output="done")
    assert call(ow.get_run(run_id), "result", 30) == "done"


@sync_and_async
@pytest.mark.parametrize("limit", ["lock_timeout", "statement_timeout"])
def test_a_waiter_outlives_the_time_limits_of_its_role(
    database_url: str,
    schema: str,
    conn: psycopg.Connection,
    rows: Rows,
    call: Call,
    limit: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    ow = OpenWorkflow(with_option(database_url, f"{limit}=100ms"), schema=schema)
    run_id = rows.add()
    caplog.set_level(logging.WARNING, "owsuper.client")
    with ThreadPoolExecutor(1) as thread:
        with locked(conn, schema):
            waiting = thread.submit(call, ow.get_run(run_id), "result", 60)
            eventually(lambda: "gives no answer: PostgreSQL gave up" in caplog.text)
        rows.end(run_id, output="after all")
        assert waiting.result(60) == "after all"
    ow.close()


# --- async calls -----------------------------------------------------------------------------

ABANDONED: dict[str, Callable[[OpenWorkflow], Any]] = {
    "arun": lambda ow: ow.arun_workflow("name"),
    "arun with a key": lambda ow: ow.arun_workflow("name", idempotency_key="key"),
    "astatus": lambda ow: ow.get_run("any").astatus(),
    "acancel": lambda ow: ow.get_run("any").acancel(),
    "aresult": lambda ow: ow.get_run("any").aresult(),
    "asend_signal": lambda ow: ow.asend_signal("signal"),
}


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize("name", ABANDONED)
@pytest.mark.parametrize("used", [True, False], ids=["connected", "not yet connected"])
def test_an_async_call_on_a_silent_server_is_canceled_at_once(
    proxy: Proxy, schema: str, name: str, used: bool
) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema, call_timeout="10m")
    if used:
        ow.count_runs()
    proxy.stall()

    async def give_up() -> None:
        task = asyncio.ensure_future(ABANDONED[name](ow))
        if used:
            await asyncio.to_thread(proxy.wait_until_held, 1)
        else:
            await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    began = time.monotonic()
    asyncio.run(give_up())
    ow.close()
    assert time.monotonic() - began < ENOUGH


# --- what users set --------------------------------------------------------------------------


def test_the_limit_is_a_setting_of_the_environment_and_of_the_client(
    proxy: Proxy, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OWSUPER_CALL_TIMEOUT", "1s")
    ow = OpenWorkflow(proxy.url, schema=schema)
    proxy.stall()
    began = time.monotonic()
    with pytest.raises(DatabaseUnreachable):
        ow.count_runs()
    assert time.monotonic() - began < ENOUGH
    proxy.restore()
    with pytest.raises(ConfigurationError, match=r"OpenWorkflow\(call_timeout=\.\.\.\): must be"):
        OpenWorkflow(call_timeout="soon")


@pytest.mark.parametrize(("role", "ours"), [("0", "9s"), ("7s", "7s"), ("20min", "9s")])
def test_the_shorter_of_two_time_limits_of_statements_is_in_force(
    database_url: str, schema: str, role: str, ours: str
) -> None:
    url = with_option(database_url, f"statement_timeout={role}")
    ow = OpenWorkflow(url, schema=schema, call_timeout="10s")
    ask = "SELECT current_setting('statement_timeout')"
    found = ow._database.session().run(lambda conn: conn.execute(ask).fetchone())
    assert found == (ours,)
    ow.close()


@sync_and_async
def test_no_error_of_the_driver_reaches_a_caller(ow: OpenWorkflow, call: Call) -> None:
    session = ow._database.session()
    broken = [
        "SELECT 1/0",
        "SELEC",
        "SELECT 'x'::int",
        "SELECT pg_cancel_backend(pg_backend_pid())",
    ]
    broken += ["DO $$BEGIN RAISE EXCEPTION SQLSTATE 'XX000'; END$$"]
    for statement in broken:
        with pytest.raises(OwsuperError):
            call(session, "run", lambda conn, text=statement: conn.execute(text.encode()))


@sync_and_async
def test_a_limit_adds_no_round_trip(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    run_id = rows.add()
    rows.end(run_id, output="done")
    ow.run_workflow("connects")
    exchanges: list[object] = []
    wait = TimedConnection.wait

    def count(self: TimedConnection, gen: Any, *args: Any, **kwargs: Any) -> Any:
        exchanges.append(gen)
        return wait(self, gen, *args, **kwargs)

    monkeypatch.setattr(TimedConnection, "wait", count)
    call(ow, "run_workflow", "name")
    assert len(exchanges) == 1
    call(ow.get_run(run_id), "result", 30)
    assert len(exchanges) == 2


def with_option(url: str, option: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}options=-c%20{quote(option)}"
