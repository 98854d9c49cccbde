"""A process that gets no new thread for a while: nothing fails, and nothing is half done."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from owsuper import AsyncStep, Step
from owsuper.child.execution_result import ExecutionResult
from owsuper.child.shortage import NoThread
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

TOO_LARGE = 1 << 46  # bytes; no system has room for the stack of such a thread


class NoThreads:
    """While it is on, the system refuses to start threads in this process."""

    def __init__(self, engine: Engine) -> None:
        self.refused = threading.Event()
        self._engine = engine
        self._failed = engine.services.shortage.failed
        engine.services.shortage.failed = self._note

    def on(self) -> None:
        threading.stack_size(TOO_LARGE)
        with pytest.raises(RuntimeError, match="start new thread"):
            threading.Thread(target=print).start()

    def off(self) -> None:
        threading.stack_size(0)

    def _note(self, what: str) -> None:
        self._failed(what)
        self.refused.set()


@pytest.fixture
def no_threads(engine: Engine) -> Iterator[NoThreads]:
    no_threads = NoThreads(engine)
    yield no_threads
    no_threads.off()


class Execution:
    """One execution in a thread that was started before the shortage."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(1)
        self._threads.submit(lambda: None).result()

    def begin(self, run_id: str) -> Future[ExecutionResult]:
        return self._threads.submit(self._engine.execute_once, run_id)


@pytest.fixture
def execution(engine: Engine) -> Iterator[Execution]:
    execution = Execution(engine)
    yield execution
    execution._threads.shutdown()


def body_of(kind: str, calls: Calls) -> Any:
    """A ``def`` workflow that needs threads."""

    def parallel(step: Step) -> Any:
        return step.parallel(
            lambda: step.run("a", calls("a")),
            lambda: step.run("b", calls("b")),
        )

    def submitted(step: Step) -> Any:
        return [each.result() for each in (step.submit(name, calls(name)) for name in "ab")]

    def mapped(step: Step) -> Any:
        return step.map("letter", lambda name: calls(name)(), ["a", "b"])

    def coroutine(step: Step) -> Any:
        return [step.run(name, calls.asynchronous(name)) for name in "ab"]

    return {
        "parallel": parallel,
        "submitted": submitted,
        "mapped": mapped,
        "coroutine": coroutine,
    }[kind]


every_kind = pytest.mark.parametrize("kind", ["parallel", "submitted", "mapped", "coroutine"])


@every_kind
def test_a_sync_run_goes_on_when_there_are_threads_again(
    engine: Engine, no_threads: NoThreads, execution: Execution, calls: Calls, kind: str
) -> None:
    engine.workflow(body_of(kind, calls))
    run_id = engine.start()

    no_threads.on()
    running = execution.begin(run_id)
    assert no_threads.refused.wait(30)
    assert not any(status == "failed" for _, status in engine.statuses(run_id))
    no_threads.off()

    assert running.result(30).outcome == "completed"
    assert engine.row(run_id)["output"] == ["A", "B"]
    assert sorted(calls.made) == ["a", "b"]


@every_kind
def test_a_sync_run_that_gets_no_thread_before_its_process_stops_is_given_back(
    engine: Engine, no_threads: NoThreads, execution: Execution, calls: Calls, kind: str
) -> None:
    engine.workflow(body_of(kind, calls))
    run_id = engine.start()

    no_threads.on()
    running = execution.begin(run_id)
    assert no_threads.refused.wait(30)
    engine.services.stopping.set()
    engine.services.step_threads.refuse_waiting()

    assert running.result(30).outcome == "released"
    assert engine.row(run_id)["worker_id"] is None
    assert engine.statuses(run_id) == []
    assert calls.made == []

    no_threads.off()
    engine.services.stopping.clear()
    assert engine.finish(run_id)["output"] == ["A", "B"]
    assert sorted(calls.made) == ["a", "b"]


def test_parallel_begins_no_branch_before_there_are_threads_for_all(
    engine: Engine, no_threads: NoThreads, execution: Execution, calls: Calls
) -> None:
    second_refused = threading.Event()

    real_start = threading.Thread.start

    def start(thread: threading.Thread) -> None:
        if thread.name == "owsuper-branch":
            if started:
                second_refused.set()
                raise RuntimeError("can't start new thread")
            started.append(thread)
        real_start(thread)

    started: list[threading.Thread] = []
    engine.workflow(body_of("parallel", calls))
    run_id = engine.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(threading.Thread, "start", start)
        running = execution.begin(run_id)
        assert second_refused.wait(30)
        engine.services.stopping.set()
        assert running.result(30).outcome == "released"

    [first] = started
    first.join(30)
    assert calls.made == []
    assert engine.lasting_shortages == []  # the run asked for too many


def complete_after_a_shortage(
    engine: Engine, no_threads: NoThreads, execution: Execution, function: Callable[[], Any]
) -> None:
    """Execute a step that gets no thread at first. Its attempt does not fail."""

    async def body(step: AsyncStep) -> Any:
        return await step.run("a", function)

    engine.workflow(body)
    run_id = engine.start()
    no_threads.on()
    running = execution.begin(run_id)
    assert no_threads.refused.wait(30)
    no_threads.off()
    assert running.result(30).outcome == "completed"
    assert engine.statuses(run_id) == [("a", "completed")]


class TestAsync:
    """The threads that the engine itself needs are started beforehand, as a child does it."""

    @pytest.fixture(autouse=True)
    def started(self, engine: Engine) -> None:
        engine.services.start_threads(for_async=True)

    @pytest.fixture
    def busy(self, engine: Engine) -> Iterator[None]:
        """Keep the one thread for steps that was started beforehand."""
        go = threading.Event()
        engine.services.step_threads.submit(go.wait)
        yield
        go.set()

    def test_a_function_without_a_thread_is_called_once_and_its_attempt_does_not_fail(
        self, engine: Engine, no_threads: NoThreads, busy: None, calls: Calls,
        execution: Execution,
    ) -> None:  # fmt: skip
        complete_after_a_shortage(engine, no_threads, execution, calls("a"))
        assert calls.made == ["a"]

    def test_a_function_that_was_refused_a_thread_is_called_in_the_next_execution(
        self, engine: Engine, no_threads: NoThreads, busy: None, calls: Calls,
        execution: Execution,
    ) -> None:  # fmt: skip
        async def body(step: AsyncStep) -> Any:
            await step.run("before", calls.asynchronous("before"))
            return await step.run("a", calls("a"))

        engine.workflow(body)
        run_id = engine.start()
        no_threads.on()
        running = execution.begin(run_id)
        assert no_threads.refused.wait(30)
        engine.services.step_threads.refuse_waiting()

        assert running.result(30).outcome == "parked"
        row = engine.row(run_id)
        assert row["available_at"] > row["updated_at"]  # not at once, or it would spin
        assert engine.statuses(run_id) == [("before", "completed")]
        no_threads.off()
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')
        assert engine.finish(run_id)["output"] == "A"
        assert calls.made == ["before", "a"]

    def test_a_function_that_async_code_sends_to_a_thread_is_called_once(
        self, engine: Engine, no_threads: NoThreads, calls: Calls, execution: Execution
    ) -> None:
        async def in_a_thread() -> Any:
            return await asyncio.to_thread(calls("a"))

        complete_after_a_shortage(engine, no_threads, execution, in_a_thread)
        assert calls.made == ["a"]

    def test_plain_steps_need_no_further_thread(
        self, engine: Engine, no_threads: NoThreads, calls: Calls, execution: Execution
    ) -> None:
        async def body(step: AsyncStep) -> Any:
            await step.run("a", calls("a"))
            await step.run("b", calls.asynchronous("b"))
            await step.send_signal("nobody")
            return "done"

        engine.workflow(body)
        run_id = engine.start()
        no_threads.on()

        assert execution.begin(run_id).result(30).outcome == "completed"
        assert calls.made == ["a", "b"]


@sync_and_async
def test_a_lost_connection_is_replaced_without_a_thread(
    engine: Engine, as_workflow: AsWorkflow, no_threads: NoThreads, execution: Execution,
    calls: Calls,
) -> None:  # fmt: skip
    engine.services.start_threads(for_async=True)

    def body(step: Any) -> Any:
        yield step.run("a", calls.asynchronous("a") if asynchronous else calls("a"))
        yield step.sleep("nap", 0.01)
        return "done"

    asynchronous = "async" in repr(as_workflow)
    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome in ("parked", "completed")
    with engine.database._pool.connection(5) as conn:
        conn.close()
    no_threads.on()

    if engine.row(run_id)["status"] == "running":
        assert execution.begin(run_id).result(30).outcome == "completed"
    assert engine.row(run_id)["output"] == "done"
    assert calls.made == ["a"]


def test_a_shortage_that_lasts_is_reported_once_and_one_that_passed_is_not(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(monotonic=lambda: now)
    monkeypatch.setattr("owsuper.child.shortage.time", clock)
    shortage = engine.services.shortage

    def fail_at(*moments: float) -> None:
        nonlocal now
        for moment in moments:
            now = moment
            shortage.failed("threads")

    now = 0.0
    fail_at(0.0, 2.0, 4.0)
    shortage.ended("threads")
    fail_at(5.0, 7.0, 9.0)
    fail_at(14.0, 16.0)  # the one at 14 begins another shortage
    assert engine.lasting_shortages == []
    fail_at(18.0, 19.0, 20.0)
    assert engine.lasting_shortages == ["it could get no threads for 5 s"]


def test_refused_jobs_say_so(engine: Engine, no_threads: NoThreads) -> None:
    no_threads.on()
    job = engine.services.step_threads.submit(print)
    engine.services.step_threads.refuse_waiting()
    with pytest.raises(NoThread, match="cannot start a thread"):
        job.result(30)
