"""Deadlines that come while code executes: what is stopped, when, and how the run ends."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from owsuper import AsyncStep, Step
from owsuper.child.deadlines import Deadlines
from owsuper.core.retry import DEADLINE_ERROR
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

# --- when an execution is stopped ------------------------------------------------------------


@dataclass
class Clock:
    """Stands in for delayed calls: the test says when time passes."""

    scheduled: list[tuple[float, Callable[[], object]]] = field(default_factory=list)
    seconds: float = 0.0

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        self.scheduled.append((self.seconds + seconds, function))

    def advance(self, seconds: float) -> None:
        self.seconds += seconds
        due = [each for each in self.scheduled if each[0] <= self.seconds + 1e-9]
        self.scheduled = [each for each in self.scheduled if each not in due]
        for _, function in due:
            function()


class FakeExecution:
    def __init__(self, clock: Clock, seconds: float | None) -> None:
        self._clock = clock
        deadline = None if seconds is None else self.now() + timedelta(seconds=seconds)
        self.run = SimpleNamespace(deadline_at=deadline)
        self.failures = 0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self._clock.seconds)

    def fail_at_deadline(self) -> None:
        self.failures += 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    ours = SimpleNamespace(monotonic=lambda: clock.seconds)
    monkeypatch.setattr("owsuper.child.timers.time", ours)
    return clock


@pytest.fixture
def deadlines(clock: Clock) -> Any:
    calls: Any = clock
    return Deadlines(calls)


def test_each_execution_fails_once_at_its_own_deadline(clock: Clock, deadlines: Any) -> None:
    late, soon = FakeExecution(clock, 20), FakeExecution(clock, 10)
    for each in (late, soon):
        deadlines.watch(each)
    clock.advance(9.9)
    assert (soon.failures, late.failures) == (0, 0)
    clock.advance(0.1)
    assert (soon.failures, late.failures) == (1, 0)
    clock.advance(10)
    assert (soon.failures, late.failures) == (1, 1)
    clock.advance(10_000)
    assert (soon.failures, late.failures) == (1, 1)
    assert clock.scheduled == []


def test_an_execution_that_is_over_is_neither_failed_nor_kept(clock: Clock, deadlines: Any) -> None:
    over = FakeExecution(clock, 10)
    deadlines.watch(over)
    deadlines.forget(over)
    clock.advance(20)
    assert over.failures == 0
    assert clock.scheduled == []


def test_thousands_of_executions_that_end_early_leave_no_timers_behind(
    clock: Clock, deadlines: Any
) -> None:
    for _ in range(5000):
        each = FakeExecution(clock, 3000)
        deadlines.watch(each)
        clock.advance(0.01)
        deadlines.forget(each)
    assert len(clock.scheduled) == 1


def test_a_deadline_that_has_passed_fails_the_execution_at_once(
    clock: Clock, deadlines: Any
) -> None:
    for seconds in (0, -5):
        each = FakeExecution(clock, seconds)
        deadlines.watch(each)
        assert each.failures == 1
        deadlines.forget(each)


def test_a_deadline_centuries_away_is_more_than_a_timer_can_wait_for(
    clock: Clock, deadlines: Any
) -> None:
    deadlines.watch(FakeExecution(clock, timedelta(days=365 * 5000).total_seconds()))
    assert clock.scheduled[0][0] <= threading.TIMEOUT_MAX


def test_without_a_deadline_no_call_is_scheduled(clock: Clock, deadlines: Any) -> None:
    each = FakeExecution(clock, None)
    deadlines.watch(each)
    deadlines.forget(each)
    assert clock.scheduled == []


# --- how the run ends ------------------------------------------------------------------------


def start(engine: Engine, *, deadline_in: float) -> str:
    run_id = engine.start()
    engine.conn.execute(
        f"UPDATE \"{engine.schema}\".workflow_runs SET deadline_at = now() + $1 * interval '1 s'",
        [deadline_in],
    )
    return run_id


def expired(engine: Engine, run_id: str) -> bool:
    row = engine.row(run_id)
    return row["status"] == "failed" and row["error"] == DEADLINE_ERROR


@sync_and_async
class TestSyncAndAsync:
    def test_the_step_that_is_running_is_the_last(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        calls: list[str] = []

        def body(step: Any) -> Any:
            yield step.run("a", until_the_deadline)
            calls.append("went on")
            yield step.run("b", calls.append, "b")

        def until_the_deadline() -> None:
            while engine.executor.executions[worker].decided_outcome is None:
                time.sleep(0.001)

        engine.workflow(as_workflow(body))
        run_id = start(engine, deadline_in=0.2)
        claimed = engine.claim(run_id)
        worker = claimed.worker_id

        assert engine.execute_once(run_id, claimed).outcome == "failed"
        assert expired(engine, run_id)
        assert "b" not in calls

    def test_the_deadline_cannot_be_caught(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        calls: list[str] = []

        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            while engine.executor.executions[claimed.worker_id].now() < claimed.deadline_at:
                time.sleep(0.001)
            with suppress(BaseException):
                yield step.run("b", calls.append, "b")
            return "as if nothing had happened"

        engine.workflow(as_workflow(body))
        run_id = start(engine, deadline_in=0.2)
        claimed = engine.claim(run_id)
        assert claimed.deadline_at is not None

        assert engine.execute_once(run_id, claimed).outcome == "failed"
        assert expired(engine, run_id)
        assert calls == []

    def test_a_run_that_ends_in_time_is_not_touched(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run("a", lambda: 1))

        engine.workflow(as_workflow(body))
        run_id = start(engine, deadline_in=60)
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == 1

    def test_a_deadline_that_passed_on_the_way_here_calls_no_step(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        calls: list[str] = []

        def body(step: Any) -> Any:
            yield step.run("a", calls.append, "a")

        engine.workflow(as_workflow(body))
        run_id = start(engine, deadline_in=-1)
        assert engine.execute_once(run_id).outcome == "failed"
        assert expired(engine, run_id)
        assert calls == []


class TestAsyncOnly:
    def test_whatever_is_awaited_gets_a_cancelled_error(self, engine: Engine) -> None:
        cancelled: list[str] = []

        async def for_ever(name: str) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.append(name)
                raise

        async def workflow(step: AsyncStep) -> None:
            step.submit("submitted", for_ever, "submitted")
            async with asyncio.TaskGroup() as group:
                group.create_task(step.run("grouped", for_ever, "grouped"))
                await for_ever("body")

        engine.workflow(workflow)
        run_id = start(engine, deadline_in=2)

        assert engine.execute_once(run_id).outcome == "failed"
        assert expired(engine, run_id)
        assert sorted(cancelled) == ["body", "grouped", "submitted"]

    def test_what_is_cancelled_may_clean_up_for_more_than_a_moment(self, engine: Engine) -> None:
        cleaned: list[str] = []

        async def hold(name: str) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                engine.executor.executions[claimed.worker_id].abandon()  # a second reason to stop
                await asyncio.sleep(1.3)
                cleaned.append(name)

        async def workflow(step: AsyncStep) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.run("step", hold, "step"))
                await hold("body")

        engine.workflow(workflow)
        run_id = start(engine, deadline_in=2)
        claimed = engine.claim(run_id)
        engine.execute_once(run_id, claimed)
        assert sorted(cleaned) == ["body", "step"]

    def test_a_task_that_nobody_awaits_does_not_keep_the_run(self, engine: Engine) -> None:
        tasks: list[asyncio.Task[None]] = []

        async def workflow(step: AsyncStep) -> None:
            tasks.append(asyncio.create_task(step.run("loose", asyncio.Event().wait)))
            await asyncio.sleep(60)

        engine.workflow(workflow)
        run_id = start(engine, deadline_in=0.2)
        assert engine.execute_once(run_id).outcome == "failed"
        assert expired(engine, run_id)


class TestSyncOnly:
    def test_a_body_that_waits_for_a_submitted_step_is_woken(self, engine: Engine) -> None:
        woken = threading.Event()

        def workflow(step: Step) -> None:
            future = step.submit("slow", woken.wait)
            try:
                future.result()
            finally:
                woken.set()

        engine.workflow(workflow)
        run_id = start(engine, deadline_in=0.2)
        assert engine.execute_once(run_id).outcome == "failed"
        assert expired(engine, run_id)
