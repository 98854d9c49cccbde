"""Waiting for results: sync and async, by notification and by polling, through outages."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest

from owsuper import (
    OpenWorkflow,
    ResultTimeout,
    RunCanceled,
    RunFailed,
    RunHandle,
    RunNotFound,
    Step,
)
from owsuper.client import handle, result_listener, result_waiter
from owsuper.client.handle import RunHandle as Handle
from owsuper.client.unclaimed import NoticingWaits
from owsuper.errors import DatabaseUnreachable, InvalidData
from tests.client.conftest import Rows, eventually
from tests.fixtures.proxy import Proxy

Wait = Callable[..., Any]


def blocking(handle: RunHandle[Any], timeout: Any = 30) -> Any:
    return handle.result(timeout)


def awaiting(handle: RunHandle[Any], timeout: Any = 30) -> Any:
    return asyncio.run(handle.aresult(timeout))


sync_and_async = pytest.mark.parametrize("wait", [blocking, awaiting])


@dataclass
class Receipt:
    user: str
    cents: int


# --- how runs end ----------------------------------------------------------------------------


@sync_and_async
def test_the_result_of_a_completed_run_is_its_output(
    ow: OpenWorkflow, rows: Rows, wait: Wait
) -> None:
    run_id = rows.add()
    rows.end(run_id, output={"answer": [42, None]})
    assert wait(ow.get_run(run_id)) == {"answer": [42, None]}


@sync_and_async
def test_a_run_completed_by_an_old_implementation_succeeded(
    ow: OpenWorkflow, rows: Rows, wait: Wait
) -> None:
    run_id = rows.add()
    rows.end(run_id, status="succeeded")
    assert wait(ow.get_run(run_id)) is None


@sync_and_async
def test_a_failed_run_raises_its_stored_error(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    run_id = rows.add("charge")
    stored = {"name": "CardError", "message": "card declined", "stack": "line 1\nline 2\n"}
    rows.end(run_id, status="failed", error=stored)
    with pytest.raises(RunFailed, match=r"^Workflow charge failed: CardError: card declined") as e:
        wait(ow.get_run(run_id))
    assert (e.value.run_id, e.value.error.name) == (run_id, "CardError")
    assert e.value.error.message == "card declined"
    assert e.value.error.stack == stored["stack"]
    assert e.value.__notes__ == ["In the worker:\nline 1\nline 2"]


@sync_and_async
def test_an_error_without_name_and_stack_is_raised_too(
    ow: OpenWorkflow, rows: Rows, wait: Wait
) -> None:
    run_id = rows.add("charge")
    rows.end(run_id, status="failed", error={"message": "Workflow run deadline exceeded"})
    with pytest.raises(RunFailed, match=r"charge failed: Workflow run deadline exceeded$"):
        wait(ow.get_run(run_id))


@sync_and_async
def test_a_canceled_run_raises(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    run_id = rows.add("charge")
    rows.end(run_id, status="canceled")
    with pytest.raises(RunCanceled, match=r"^Workflow charge was canceled$"):
        wait(ow.get_run(run_id))


@sync_and_async
def test_an_unknown_run_raises_at_once(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    elsewhere = rows.add(namespace="other")
    for run_id in ("no-such-run", elsewhere):
        with pytest.raises(RunNotFound, match=f"^Workflow run {run_id} does not exist"):
            wait(ow.get_run(run_id))


@sync_and_async
def test_a_late_run_raises_after_the_timeout_and_goes_on(
    ow: OpenWorkflow, rows: Rows, wait: Wait
) -> None:
    run_id = rows.add()
    started = time.monotonic()
    with pytest.raises(ResultTimeout, match=f"workflow run {run_id} to finish") as e:
        wait(ow.get_run(run_id), "100ms")
    assert 0.1 <= time.monotonic() - started < 10
    assert isinstance(e.value, TimeoutError)
    rows.end(run_id, output=1)
    assert wait(ow.get_run(run_id), 0) == 1


@sync_and_async
def test_a_timeout_of_zero_looks_once(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    run_id = rows.add()
    with pytest.raises(ResultTimeout):
        wait(ow.get_run(run_id), 0)
    rows.end(run_id, output="done")
    assert wait(ow.get_run(run_id), 0) == "done"


@sync_and_async
def test_a_result_comes_as_the_declared_type(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    @ow.workflow("charge")
    def charge(step: Step) -> Receipt: ...

    run_id = rows.add("charge")
    rows.end(run_id, output={"user": "ada", "cents": 100})
    assert wait(Handle(ow._database, run_id, output_type=charge.output_type)) == Receipt("ada", 100)
    assert wait(ow.get_run(run_id)) == {"user": "ada", "cents": 100}


@sync_and_async
def test_a_result_of_another_type_names_the_field(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    @ow.workflow("charge")
    def charge(step: Step) -> Receipt: ...

    run_id = rows.add("charge")
    rows.end(run_id, output={"user": "ada", "cents": "many"})
    with pytest.raises(InvalidData, match=r"result.cents of workflow \"charge\"") as e:
        wait(Handle(ow._database, run_id, output_type=charge.output_type))
    assert e.value.path == "result.cents"


# --- woken by notification -------------------------------------------------------------------


def once(is_so: Callable[[], bool], work: Callable[[], object]) -> threading.Thread:
    """Do ``work`` in another thread, after a condition holds."""

    def wait_and_work() -> None:
        eventually(is_so)
        work()

    thread = threading.Thread(target=wait_and_work)
    thread.start()
    return thread


def after_a_while(work: Callable[[], object]) -> threading.Thread:
    """Do ``work`` after a pause, in which the waiter has probably begun to wait."""
    thread = threading.Timer(0.3, work)
    thread.start()
    return thread


@sync_and_async
def test_a_waiter_wakes_when_the_run_ends(ow: OpenWorkflow, rows: Rows, wait: Wait) -> None:
    run_id = rows.add()
    ended: list[float] = []

    def end() -> None:
        rows.end(run_id, output="done")
        ended.append(time.monotonic())

    later = once(lambda: rows.waiters(run_id) == 1, end)
    assert wait(ow.get_run(run_id)) == "done"
    later.join()
    assert time.monotonic() - ended[0] < 20


def test_no_run_is_read_while_its_notification_is_certain(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_waiter, "_FIRST_PAUSE", 60.0)  # polling alone would miss the end
    monkeypatch.setattr(result_waiter, "_LONGEST_PAUSE", 60.0)
    run_id = rows.add()
    later = once(lambda: rows.waiters(run_id) == 1, lambda: rows.end(run_id, output="heard"))
    assert ow.get_run(run_id).result(30) == "heard"
    later.join()


def test_a_run_that_ends_before_its_lock_is_taken_is_seen(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_waiter, "_FIRST_PAUSE", 60.0)
    run_id = rows.add()
    announce = result_listener.ResultListener.watch

    def end_first(self: result_listener.ResultListener, run_ids: Any) -> Iterator[Any]:
        rows.end(run_id, output="seen")
        return announce(self, run_ids)

    monkeypatch.setattr(result_listener.ResultListener, "watch", end_first)
    assert ow.get_run(run_id).result(30) == "seen"


@sync_and_async
def test_a_new_run_is_read_when_it_is_locked_and_when_it_has_ended(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch, wait: Wait
) -> None:
    monkeypatch.setattr(handle, "_NEW", 60.0)
    monkeypatch.setattr(result_waiter, "_FIRST_PAUSE", 60.0)
    monkeypatch.setattr(result_waiter, "_LONGEST_PAUSE", 60.0)
    calls: list[str] = []
    for name in ("lock_and_read", "read"):
        original = getattr(NoticingWaits, name)

        def noted(self: Any, *args: Any, name: str = name, original: Any = original) -> Any:
            calls.append(name)
            return original(self, *args)

        monkeypatch.setattr(NoticingWaits, name, noted)
    run = ow.run_workflow("unknown")
    later = once(lambda: rows.waiters(run.id) == 1, lambda: rows.end(run.id, output="heard"))
    assert wait(run) == "heard"
    later.join()
    assert calls == ["lock_and_read", "read"]


def test_a_run_of_a_key_is_read_at_once_because_it_may_be_old(ow: OpenWorkflow, rows: Rows) -> None:
    rows.end(ow.run_workflow("unknown", idempotency_key="k").id, output="old")
    assert ow.run_workflow("unknown", idempotency_key="k").result(0) == "old"


def test_a_wait_that_is_over_holds_no_lock(
    ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection
) -> None:
    run_ids = [rows.add() for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        for run_id in run_ids:
            threads.submit(ow.get_run(run_id).result, 30)
        eventually(lambda: rows.waiters(*run_ids) == 3)
        rows.end(*run_ids)
    eventually(lambda: rows.waiters(*run_ids) == 0)


def test_many_may_wait_for_one_run(ow: OpenWorkflow, rows: Rows) -> None:
    run_id = rows.add()
    with ThreadPoolExecutor(8) as threads:
        results = [threads.submit(ow.get_run(run_id).result, 30) for _ in range(8)]
        eventually(lambda: rows.waiters(run_id) == 1)
        rows.end(run_id, output=7)
        assert [result.result() for result in results] == [7] * 8


def test_one_thread_and_few_locks_serve_many_waiters(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(result_listener, "MAX_LOCKS", 20)
    run_ids = [rows.add() for _ in range(60)]

    async def wait_for_all() -> list[Any]:
        handles = [ow.get_run(run_id) for run_id in run_ids]
        waits = [asyncio.create_task(handle.aresult(30)) for handle in handles]
        await asyncio.to_thread(eventually, lambda: rows.waiters(*run_ids) == 20)
        assert sum(each.name == "owsuper-results" for each in threading.enumerate()) == 1
        await asyncio.to_thread(rows.end, *run_ids, output="all")
        return await asyncio.gather(*waits)

    assert asyncio.run(wait_for_all()) == ["all"] * 60


def test_a_canceled_wait_ends(ow: OpenWorkflow, rows: Rows) -> None:
    async def give_up() -> None:
        wait = asyncio.create_task(ow.get_run(rows.add()).aresult())
        await asyncio.sleep(0.1)
        wait.cancel()
        with pytest.raises(asyncio.CancelledError):
            await wait

    asyncio.run(give_up())


# --- woken by polling ------------------------------------------------------------------------


@sync_and_async
def test_without_notifications_results_are_polled_for(
    database_url: str, schema: str, rows: Rows, wait: Wait
) -> None:
    ow = OpenWorkflow(database_url, schema=schema, listen=False)
    run_id = rows.add()
    later = after_a_while(lambda: rows.end(run_id, output="found"))
    assert wait(ow.get_run(run_id)) == "found"
    later.join()
    ow.close()


def test_notifications_that_never_arrive_are_noticed_and_logged(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a transaction pooler, LISTEN succeeds, but no notification arrives."""
    monkeypatch.setattr(result_listener, "_PROBE_SECONDS", 0.1)
    monkeypatch.setattr("owsuper.db.waits.Waits.listen", lambda self, conn: None)
    run_id = rows.add()
    later = once(lambda: "do not arrive" in caplog.text, lambda: rows.end(run_id, output="found"))
    assert ow.get_run(run_id).result(30) == "found"
    later.join()
    assert "they do not arrive" in caplog.text
    assert "OWSUPER_LISTEN_URL" in caplog.text


def test_a_listening_connection_that_breaks_is_replaced(
    ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rows.add()

    def break_it() -> None:
        killed = conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'owsuper: client % results'"
        )
        assert killed.rowcount == 1
        rows.end(run_id, output="anyway")

    later = once(lambda: rows.waiters(run_id) == 1, break_it)
    assert ow.get_run(run_id).result(30) == "anyway"
    later.join()


def test_a_bug_in_the_waiting_thread_raises_in_result(
    ow: OpenWorkflow, rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = rows.add()
    with monkeypatch.context() as broken:
        broken.setattr(result_listener.ResultListener, "watch", lambda self, run_ids: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ow.get_run(run_id).result(30)
    later = after_a_while(lambda: rows.end(run_id, output="found"))
    assert ow.get_run(run_id).result(30) == "found"
    later.join()


# --- outages ---------------------------------------------------------------------------------


@sync_and_async
def test_waiting_outlasts_an_outage(proxy: Proxy, schema: str, rows: Rows, wait: Wait) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    run_id = rows.add()
    with pytest.raises(ResultTimeout):
        ow.get_run(run_id).result(0)

    def outage() -> None:
        proxy.cut()
        rows.end(run_id, output="after all")
        after_a_while(proxy.restore).join()

    later = once(lambda: rows.waiters(run_id) == 1, outage)
    assert wait(ow.get_run(run_id)) == "after all"
    later.join()
    ow.close()


@sync_and_async
def test_waiting_may_begin_in_an_outage(proxy: Proxy, schema: str, rows: Rows, wait: Wait) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    run_id = rows.add()
    with pytest.raises(ResultTimeout):
        ow.get_run(run_id).result(0)
    proxy.cut()
    rows.end(run_id, output="after all")
    later = after_a_while(proxy.restore)
    assert wait(ow.get_run(run_id)) == "after all"
    later.join()
    ow.close()


@sync_and_async
def test_in_an_outage_the_timeout_holds(proxy: Proxy, schema: str, rows: Rows, wait: Wait) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    run_id = rows.add()
    with pytest.raises(ResultTimeout):
        ow.get_run(run_id).result(0)
    proxy.cut()
    started = time.monotonic()
    with pytest.raises(ResultTimeout):
        wait(ow.get_run(run_id), 0.5)
    assert time.monotonic() - started < 10
    ow.close()


def test_the_timeout_of_a_task_holds_while_the_network_is_silent(
    proxy: Proxy, schema: str, rows: Rows
) -> None:
    ow = OpenWorkflow(proxy.url, schema=schema)
    run_id = rows.add()
    with pytest.raises(ResultTimeout):
        ow.get_run(run_id).result(0)
    proxy.stall()
    started = time.monotonic()
    with pytest.raises(ResultTimeout):
        awaiting(ow.get_run(run_id), 1.5)
    assert time.monotonic() - started < 10
    proxy.restore()
    ow.close()


@sync_and_async
def test_a_database_that_was_never_reached_is_an_error_at_once(proxy: Proxy, wait: Wait) -> None:
    proxy.cut()
    with pytest.raises(DatabaseUnreachable, match=r"Cannot reach PostgreSQL at 127.0.0.1:\d+"):
        wait(OpenWorkflow(proxy.url).get_run("any"))


def test_closing_raises_in_pending_waits(ow: OpenWorkflow, rows: Rows) -> None:
    run_id = rows.add()
    later = after_a_while(ow.close)
    with pytest.raises(DatabaseUnreachable, match="was closed"):
        ow.get_run(run_id).result(30)
    later.join()
