"""The client's threads: one that cannot be started, and an interrupt while it starts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest

from owsuper import OpenWorkflow
from owsuper.client import session
from owsuper.client.call_threads import CallThreads
from owsuper.client.result_waiter import ResultWaiter
from owsuper.db.waits import Progress
from owsuper.errors import ResultTimeout
from tests.client.conftest import Rows, eventually

Starting = Callable[[BaseException, bool], None]


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> Starting:
    """Make the next start of a thread raise, before or after the thread began."""
    start = threading.Thread.start

    def arrange(error: BaseException, begun: bool) -> None:
        def fail(thread: threading.Thread) -> None:
            monkeypatch.setattr(threading.Thread, "start", start)
            if begun:
                start(thread)
            raise error

        monkeypatch.setattr(threading.Thread, "start", fail)

    return arrange


def waiter_of(ended: Progress) -> ResultWaiter:
    return ResultWaiter(
        lambda run_ids: dict.fromkeys(run_ids, ended), lambda _: False, listener=None
    )


def running(name: str) -> int:
    """The number of threads of this name."""
    return [each.name for each in threading.enumerate()].count(name)


ENDED = Progress("a run", "test", None, "completed", None, None, None)
FAILURES = [
    pytest.param(RuntimeError("can't start new thread"), False, id="refused"),
    pytest.param(KeyboardInterrupt(), False, id="interrupted before it began"),
    pytest.param(KeyboardInterrupt(), True, id="interrupted after it began"),
]


@pytest.mark.parametrize(("error", "begun"), FAILURES)
def test_a_thread_that_fails_to_start_leaves_nobody_waiting(
    starting: Starting, error: BaseException, begun: bool
) -> None:
    waiter = waiter_of(ENDED)
    starting(error, begun)
    with pytest.raises(type(error)):
        waiter.future_of("first")
    assert waiter.future_of("second").result(10) == ENDED
    eventually(lambda: running("owsuper-results") == 1)  # a thread that is not the waiter's ends
    waiter.stop(10)
    eventually(lambda: running("owsuper-results") == 0)


@pytest.mark.parametrize(("error", "begun"), FAILURES)
def test_a_client_closes_after_a_thread_failed_to_start(
    starting: Starting, error: BaseException, begun: bool, ow: OpenWorkflow, rows: Rows
) -> None:
    handle = ow.get_run(rows.add())
    handle.details()  # the pool has its threads then
    starting(error, begun)
    with pytest.raises(type(error)):
        handle.result(0.1)
    ow.close()


def test_a_refused_thread_costs_a_call_no_more_than_its_turn(starting: Starting) -> None:
    threads = CallThreads(2)

    async def calls() -> list[int]:
        starting(RuntimeError("can't start new thread"), False)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await threads.run(lambda: 0)
        assert [await threads.run(lambda: 0) for _ in range(3)] == [0, 0, 0]
        eventually(lambda: threads._free == running("owsuper-call"))  # none is waited for
        begun, go_on = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def first() -> int:
            loop.call_soon_threadsafe(begun.set)
            assert go_on.wait(30)
            return 1

        one = asyncio.create_task(threads.run(first))
        await begun.wait()
        starting(RuntimeError("can't start new thread"), False)
        two = asyncio.create_task(threads.run(lambda: 2))
        await asyncio.sleep(0)
        go_on.set()
        return [await one, await two, await threads.run(lambda: 3)]

    assert asyncio.run(calls()) == [1, 2, 3]
    threads.stop(10)


def test_a_wait_goes_on_between_its_looks_at_signals(
    monkeypatch: pytest.MonkeyPatch, ow: OpenWorkflow, rows: Rows
) -> None:
    waits: list[float | None] = []
    wait = futures.wait

    def note(fs: Any, timeout: float | None = None) -> Any:
        waits.append(timeout)
        return wait(fs, timeout)

    monkeypatch.setattr(session, "_LOOK", 0.01)
    monkeypatch.setattr(futures, "wait", note)
    handle = ow.get_run(rows.add())
    with pytest.raises(ResultTimeout):
        handle.result(0.1)
    threading.Thread(target=rows.end, args=[handle.id], kwargs={"output": 5}).start()
    assert handle.result() == 5
    assert all(timeout is not None and timeout <= 0.01 for timeout in waits)


@pytest.mark.parametrize("begun", [False, True])
def test_a_worker_whose_start_is_interrupted_is_stopped(
    starting: Starting, ow: OpenWorkflow, begun: bool
) -> None:
    worker = ow.new_worker(processes=1, modules=["no_such_module"])
    starting(KeyboardInterrupt(), begun)
    with pytest.raises(KeyboardInterrupt):
        worker.start()
    assert not worker.running
