"""Time-outs of steps in a child: async code is cancelled, and other code is reported."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from owsuper import RetryPolicy
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.db import connect
from owsuper.errors import InvalidDuration, StepFailed, StepTimedOut
from owsuper.ipc.messages import LEASE_LOST, PAST_DEADLINE, TIMED_OUT
from tests.child.conftest import KILL_GRACE, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)
SOON = RetryPolicy(initial_interval="1ms", maximum_attempts=3)


async def never() -> None:
    await asyncio.Event().wait()


class Gate:
    """A sync step function that ignores everything until it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._go = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        while True:
            try:
                assert self._go.wait(60)
                return "late"
            except BaseException:
                continue

    def release(self) -> None:
        self._go.set()


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.release()


def in_thread(engine: Engine, run_id: str) -> Callable[[], str]:
    """Execute the run in a thread; return a function that waits for the outcome."""
    outcomes: list[str] = []
    thread = threading.Thread(
        target=lambda: outcomes.append(engine.execute_once(run_id).outcome), daemon=True
    )
    thread.start()

    def wait() -> str:
        thread.join(60)
        return outcomes[0]

    return wait


def half_time_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [each for each in caplog.records if "used half of its timeout" in each.message]


@sync_and_async
class TestSyncAndAsync:
    def test_async_code_is_cancelled_where_it_awaits_and_retried_by_the_policy(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        cancelled: list[str] = []

        async def slow_at_first() -> str:
            if len(cancelled) == 2:
                return "done"
            try:
                await never()
            except asyncio.CancelledError:
                cancelled.append("here")
                raise
            return "not reached"

        def body(step: Any) -> Any:
            return (yield step.run("slow", slow_at_first, timeout="50ms", retry=SOON))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == "done"
        attempts = engine.steps(run_id)
        assert [each["status"] for each in attempts] == ["failed", "failed", "completed"]
        for failed in attempts[:2]:
            assert failed["error"]["name"] == "StepTimedOut"
            assert failed["error"]["message"] == (
                "Step 'slow' did not end within its timeout of 0.05 s"
            )
            assert "await never()" in failed["error"]["stack"]

    def test_the_last_time_out_is_raised_and_may_be_caught_also_on_replay(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("slow", never, timeout=0.05, retry=ONCE)
            except StepTimedOut as error:
                yield step.sleep("nap", "1h")
                return [error.step, isinstance(error, StepFailed)]

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.finish(run_id)["output"] == ["slow", True]

    def test_a_policy_may_refuse_to_retry_time_outs(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        policy = RetryPolicy(never_retry=StepTimedOut)

        def body(step: Any) -> Any:
            yield step.run("slow", never, timeout=0.05, retry=policy)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["error"]["name"] == "StepTimedOut"
        assert engine.statuses(run_id) == [("slow", "failed")]

    @pytest.mark.parametrize("kind", ["submit", "map"])
    def test_submitted_steps_have_time_outs_too(
        self, engine: Engine, as_workflow: AsWorkflow, kind: str
    ) -> None:
        async def wait_for(seconds: float) -> float:
            await asyncio.sleep(seconds)
            return seconds

        options = {"timeout": "100ms", "retry": ONCE}

        def body(step: Any) -> Any:
            try:
                if kind == "map":
                    yield step.map("wait", wait_for, [0, 3600], **options)
                else:
                    quick = step.submit("wait", wait_for, 0, **options)
                    slow = step.submit("wait", wait_for, 3600, **options)
                    yield quick
                    yield slow
            except StepTimedOut as error:
                return error.step

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == "wait:1"
        assert sorted(engine.statuses(run_id)) == [("wait", "completed"), ("wait:1", "failed")]

    def test_the_time_out_of_the_workflow_is_for_steps_without_their_own(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        async def short() -> str:
            await asyncio.sleep(0.15)
            return "in time"

        def body(step: Any) -> Any:
            own = yield step.run("own", short, timeout="1h")
            try:
                yield step.run("default", never, retry=ONCE)
            except StepTimedOut as error:
                return [own, error.error.message]

        engine.workflow(as_workflow(body), step_timeout="100ms")
        [own, message] = engine.finish(engine.start())["output"]
        assert own == "in time"
        assert message == "Step 'default' did not end within its timeout of 0.1 s"

    def test_a_time_out_that_is_no_duration_is_refused_before_the_function_is_called(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        called: list[int] = []

        def body(step: Any) -> Any:
            yield step.run("a", lambda: called.append(1), timeout="soon")

        engine.workflow(as_workflow(body))
        error = engine.finish(engine.start())["error"]
        assert error["name"] == "InvalidDuration"
        assert error["message"].startswith("Step 'a': timeout: ")
        assert called == []

    def test_a_result_that_async_code_returns_instead_of_stopping_counts(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        async def stubborn() -> str:
            try:
                await never()
            except asyncio.CancelledError:
                return "rescued"
            return "not reached"

        def body(step: Any) -> Any:
            return (yield step.run("stubborn", stubborn, timeout=0.05, retry=ONCE))

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == "rescued"

    def test_an_error_of_its_own_is_not_taken_for_the_time_out(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        async def raises() -> None:
            raise TimeoutError("of a socket")

        def body(step: Any) -> Any:
            yield step.run("a", raises, timeout="1h", retry=ONCE)

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["error"]["name"] == "TimeoutError"

    def test_what_a_sync_function_returns_after_its_time_out_counts(
        self, engine: Engine, as_workflow: AsWorkflow, gate: Gate
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run("late", gate, timeout=0.01, retry=ONCE))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        outcome = in_thread(engine, run_id)
        assert gate.entered.wait(60)
        time.sleep(0.03)
        gate.release()
        if outcome() != "completed":  # it was slower than the grace
            engine.finish(run_id)
        assert engine.row(run_id)["output"] == "late"
        assert engine.statuses(run_id) == [("late", "completed")]

    def test_sync_code_that_does_not_stop_is_reported_with_its_stack_and_no_step_follows(
        self, engine: Engine, as_workflow: AsWorkflow, gate: Gate
    ) -> None:
        called: list[int] = []

        def body(step: Any) -> Any:
            yield step.run("stuck", gate, timeout=0.05, retry=ONCE)
            yield step.run("after", lambda: called.append(1))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        outcome = in_thread(engine, run_id)
        overdue = engine.overdue.get(timeout=60)
        assert (overdue.reason, overdue.slot) == (TIMED_OUT, 0)
        assert overdue.worker_id == engine.row(run_id)["worker_id"]
        [(record, stack)] = overdue.steps
        assert (record.key, record.timeout) == ("stuck", 0.05)
        assert record.due <= time.monotonic() - 0.1
        assert "self._go.wait" in stack
        assert "owsuper/child" not in stack
        assert engine.services.flight_recorder.read_timed(0) == record

        gate.release()  # if it returns before it is killed, that counts
        assert outcome() == "released"
        assert called == []
        assert engine.statuses(run_id) == [("stuck", "completed")]
        assert engine.services.flight_recorder.read_timed(0) is None

    def test_the_stack_is_logged_once_at_half_of_the_time(
        self,
        engine: Engine,
        as_workflow: AsWorkflow,
        gate: Gate,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("quick", lambda: 1, timeout="1h")
            yield step.run("stuck", gate, timeout=0.1, retry=ONCE)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        outcome = in_thread(engine, run_id)
        engine.overdue.get(timeout=60)
        gate.release()
        outcome()
        [record] = half_time_lines(caplog)
        assert record.__dict__["step"] == "stuck"
        assert record.__dict__["run_id"] == run_id
        assert record.levelno == logging.WARNING
        assert "self._go.wait" in str(record.stack_info)
        assert "/owsuper/child/" not in str(record.stack_info)

    @pytest.mark.parametrize(
        ("stop", "reason"), [("abandon", LEASE_LOST), ("fail_at_deadline", PAST_DEADLINE)]
    )
    def test_code_that_does_not_stop_with_its_run_is_reported_with_its_stack(
        self, engine: Engine, as_workflow: AsWorkflow, gate: Gate, stop: str, reason: str
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("stuck", gate)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        outcome = in_thread(engine, run_id)
        assert gate.entered.wait(60)
        [execution] = engine.executor.executions.values()
        getattr(execution, stop)()
        overdue = engine.overdue.get(timeout=60)
        assert (overdue.reason, overdue.slot, overdue.steps) == (reason, 0, ())
        assert "self._go.wait" in overdue.stack
        gate.release()
        assert outcome() == ("lost" if stop == "abandon" else "failed")
        if stop == "fail_at_deadline":
            assert engine.row(run_id)["error"] == DEADLINE_ERROR

    def test_code_that_stops_with_its_run_is_not_reported(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        entered = threading.Event()

        async def wait() -> None:
            entered.set()
            await never()

        def body(step: Any) -> Any:
            yield step.run("wait", wait)

        engine.workflow(as_workflow(body))
        outcome = in_thread(engine, engine.start())
        assert entered.wait(60)
        [execution] = engine.executor.executions.values()
        began = time.monotonic()
        execution.abandon()
        assert outcome() == "lost"
        in_time = time.monotonic() - began < KILL_GRACE  # not on a machine that is very busy
        time.sleep(2 * KILL_GRACE)
        assert engine.overdue.empty() or not in_time

    def test_a_run_whose_code_has_stopped_is_not_reported_while_its_end_cannot_be_written(
        self, engine: Engine, as_workflow: AsWorkflow, database_url: str
    ) -> None:
        """As in an outage of the database: the process must not be killed for that."""
        entered = threading.Event()

        async def wait() -> None:
            entered.set()
            await never()

        def body(step: Any) -> Any:
            yield step.run("wait", wait)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        outcome = in_thread(engine, run_id)
        assert entered.wait(60)
        [execution] = engine.executor.executions.values()
        with connect.connect(database_url, application_name="owsuper test") as other:
            other.execute("BEGIN")
            other.execute(
                f'SELECT FROM "{engine.schema}".workflow_runs WHERE id = $1 FOR UPDATE', [run_id]
            )
            execution.fail_at_deadline()
            give_up_at = time.monotonic() + 60
            while not execution.code_has_ended and engine.overdue.empty():
                assert time.monotonic() < give_up_at
                time.sleep(0.01)
            while not engine.overdue.empty():  # on a machine that is very busy
                engine.overdue.get()
            execution.fail_at_deadline()
            time.sleep(2 * KILL_GRACE)
            assert engine.overdue.empty()
            other.execute("ROLLBACK")
        assert outcome() == "failed"
        assert engine.row(run_id)["error"] == DEADLINE_ERROR


def test_async_code_that_blocks_the_loop_is_reported_with_the_stack_of_the_loop(
    engine: Engine, gate: Gate
) -> None:
    async def blocks() -> str:
        await asyncio.sleep(0)
        return gate()

    async def workflow(step: Any) -> Any:
        return await step.run("blocks", blocks, timeout=0.05, retry=ONCE)

    engine.workflow(workflow)
    outcome = in_thread(engine, engine.start())
    [(_, stack)] = engine.overdue.get(timeout=60).steps
    assert "return gate()" in stack
    assert "self._go.wait" in stack
    gate.release()
    outcome()


def test_a_thread_that_the_workflow_no_longer_awaits_is_reported_all_the_same(
    engine: Engine, gate: Gate
) -> None:
    async def workflow(step: Any) -> str:
        stuck = asyncio.ensure_future(step.run("stuck", gate, timeout=0.1))
        while not gate.entered.is_set():
            await asyncio.sleep(0.001)
        stuck.cancel()
        await asyncio.wait([stuck])
        return "went on"

    engine.workflow(workflow)
    outcome = in_thread(engine, engine.start())
    [(record, _)] = engine.overdue.get(timeout=60).steps
    assert record.key == "stuck"
    gate.release()
    outcome()


def test_all_steps_of_the_run_that_are_past_their_time_outs_are_reported_together(
    engine: Engine, gate: Gate
) -> None:
    def workflow(step: Any) -> None:
        late = [step.submit("late", gate, timeout=0.05) for _ in range(3)]
        step.submit("in-time", gate, timeout="1h")
        for each in late:
            each.result()

    engine.services.overdue_watch._grace = 2.0  # until then, all are past their time-outs
    engine.workflow(workflow)
    outcome = in_thread(engine, engine.start())
    overdue = engine.overdue.get(timeout=60)
    assert {record.key for record, _ in overdue.steps} == {"late", "late:1", "late:2"}
    time.sleep(2 * KILL_GRACE)
    assert engine.overdue.empty()
    gate.release()
    outcome()


def test_code_is_reported_also_if_its_stack_cannot_be_read(
    engine: Engine, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def workflow(step: Any) -> None:
        step.run("stuck", gate, timeout=0.05)

    monkeypatch.setattr("owsuper.child.stacks.of_thread", lambda _: 1 / 0)
    engine.workflow(workflow)
    outcome = in_thread(engine, engine.start())
    [(record, stack)] = engine.overdue.get(timeout=60).steps
    assert record.key == "stuck"
    assert "cannot be read: ZeroDivisionError" in stack
    gate.release()
    outcome()


def test_an_async_function_in_a_partial_is_cancelled(engine: Engine) -> None:
    async def wait(_: int) -> None:
        await never()

    def workflow(step: Any) -> None:
        step.run("slow", functools.partial(wait, 1), timeout=0.05, retry=ONCE)

    engine.workflow(workflow)
    assert engine.finish(engine.start())["error"]["name"] == "StepTimedOut"


def test_a_workflow_with_a_time_out_that_is_no_duration_cannot_be_defined(engine: Engine) -> None:
    with pytest.raises(InvalidDuration, match=r"^step_timeout: "):
        engine.workflow(lambda step: None, step_timeout=0)
