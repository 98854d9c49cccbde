"""Submitted steps, gather and task groups: steps that run at the same time."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import datetime
from typing import Any

import pytest

from owsuper import AsyncStep, RetryPolicy, Step
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)


def end_of(sleep: dict[str, Any]) -> datetime:
    return datetime.fromisoformat(sleep["context"]["resumeAt"])


@sync_and_async
class TestParallelSteps:
    def test_submitted_steps_run_at_the_same_time(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        together = threading.Barrier(3, timeout=60)

        def body(step: Any) -> Any:
            futures = [step.submit(name, together.wait) for name in "abc"]
            positions = []
            for future in futures:
                positions.append((yield future))
            return sorted(positions)

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == [0, 1, 2]

    def test_map_gives_a_step_to_each_item_and_keeps_their_order(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.map("square", square, range(100)))

        def square(number: int) -> int:
            return number * number

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)

        assert row["output"] == [number * number for number in range(100)]
        assert len({name for name, _ in engine.statuses(run_id)}) == 100

    def test_a_retry_waits_for_the_siblings_and_does_not_repeat_them(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        failed = threading.Event()

        def flaky() -> str:
            calls.made.append("flaky")
            if calls.made.count("flaky") == 1:
                failed.set()
                raise ValueError("not yet")
            return "F"

        def slow() -> str:
            assert failed.wait(60)
            calls.made.append("slow")
            return "S"

        def body(step: Any) -> Any:
            one = step.submit("flaky", flaky, retry=RetryPolicy(initial_interval="90s"))
            two = step.submit("slow", slow)
            return [(yield one), (yield two)]

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "retrying"
        assert sorted(engine.statuses(run_id)) == [("flaky", "failed"), ("slow", "completed")]
        assert engine.finish(run_id)["output"] == ["F", "S"]
        assert sorted(calls.made) == ["flaky", "flaky", "slow"]

    def test_a_terminal_failure_waits_for_the_siblings_too(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        failed = threading.Event()

        def fatal() -> None:
            failed.set()
            raise ValueError("fatal")

        def slow() -> str:
            assert failed.wait(60)
            return "S"

        def body(step: Any) -> Any:
            one = step.submit("fatal", fatal, retry=ONCE)
            step.submit("slow", slow)
            yield one

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.finish(run_id)["error"]["message"] == "fatal"
        assert sorted(engine.statuses(run_id)) == [("fatal", "failed"), ("slow", "completed")]

    def test_parking_waits_for_the_siblings_and_does_not_repeat_them(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def slow() -> str:
            deadline = time.monotonic() + 60
            while not engine.conn.execute(
                f"SELECT 1 FROM \"{engine.schema}\".step_attempts WHERE step_name = 'nap'"
            ).fetchone():
                assert time.monotonic() < deadline, "the sleep was not recorded while we ran"
            calls.made.append("slow")
            return "S"

        def body(step: Any) -> Any:
            future = step.submit("slow", slow)
            yield step.sleep("nap", 0.5)
            return (yield future)

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome in ("parked", "completed")
        assert ("slow", "completed") in engine.statuses(run_id)
        assert engine.row(run_id)["output"] == "S" or engine.finish(run_id)["output"] == "S"
        assert calls.made == ["slow"]

    def test_the_run_does_not_end_before_the_steps_it_submitted(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        returned = threading.Event()

        def slow() -> None:
            assert returned.wait(60)
            calls.made.append("slow")

        def body(step: Any) -> Any:
            step.submit("slow", slow)
            threading.Timer(0.01, returned.set).start()
            return "early"
            yield

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.finish(run_id)["output"] == "early"
        assert engine.statuses(run_id) == [("slow", "completed")]


class TestAsyncOnly:
    def test_gather_and_task_group_run_branches_side_by_side(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> list[str]:
            async def branch(name: str) -> str:
                await step.sleep(f"{name}-nap", 0.02)
                return await step.run(name, lambda: name.upper())

            first = await asyncio.gather(branch("a"), branch("b"))
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(branch(name)) for name in "cd"]
            return [*first, *(task.result() for task in tasks)]

        engine.workflow(workflow)
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == ["A", "B", "C", "D"]
        assert {status for _, status in engine.statuses(run_id)} == {"completed"}
        assert len(engine.steps(run_id)) == 8

    def test_of_two_sleeps_the_first_wakes_the_run_and_neither_restarts(
        self, engine: Engine
    ) -> None:
        async def workflow(step: AsyncStep) -> str:
            await asyncio.gather(step.sleep("short", "30m"), step.sleep("long", "1h"))
            return "awake"

        engine.workflow(workflow)
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        ends = {row["step_name"]: row["context"]["resumeAt"] for row in engine.steps(run_id)}
        woken = engine.row(run_id)["available_at"]
        assert woken.isoformat(timespec="milliseconds").replace("+00:00", "Z") == ends["short"]

        apart = datetime.fromisoformat(ends["long"]) - datetime.fromisoformat(ends["short"])

        engine.finish(run_id)
        after = {row["step_name"]: end_of(row) for row in engine.steps(run_id)}
        assert after["long"] - after["short"] == apart
        assert len(engine.steps(run_id)) == 2

    def test_a_branch_goes_on_while_another_sleeps(self, engine: Engine, calls: Calls) -> None:
        async def workflow(step: AsyncStep) -> str:
            async def busy() -> None:
                for name in "abc":
                    await step.run(name, calls.asynchronous(name))

            await asyncio.gather(step.sleep("nap", "1h"), busy())
            return "done"

        engine.workflow(workflow)
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        assert calls.made == ["a", "b", "c"]
        assert engine.finish(run_id)["output"] == "done"
        assert calls.made == ["a", "b", "c"]

    def test_a_step_that_user_code_times_out_is_cancelled_and_not_recorded(
        self, engine: Engine
    ) -> None:
        async def workflow(step: AsyncStep) -> str:
            try:
                async with asyncio.timeout(0.05):
                    await step.run("slow", asyncio.Event().wait)
            except TimeoutError:
                return "timed out"
            return "impossible"

        engine.workflow(workflow)
        assert engine.finish(engine.start())["output"] == "timed out"

    def test_a_function_that_raises_cancelled_error_by_itself_fails_like_any_other(
        self, engine: Engine
    ) -> None:
        async def cancelled() -> None:
            raise asyncio.CancelledError("by itself")

        async def workflow(step: AsyncStep) -> None:
            await step.run("a", cancelled, retry=ONCE)

        engine.workflow(workflow)
        run_id = engine.start()
        assert engine.finish(run_id)["error"]["message"] == "by itself"
        assert engine.statuses(run_id) == [("a", "failed")]

    def test_steps_are_named_in_the_order_of_the_calls_not_of_the_awaits(
        self, engine: Engine
    ) -> None:
        async def workflow(step: AsyncStep) -> list[str]:
            first, second = step.run("a", lambda: "first"), step.run("a", lambda: "second")
            later = await second
            return [await first, later]

        engine.workflow(workflow)
        run_id = engine.start()

        assert engine.finish(run_id)["output"] == ["first", "second"]
        outputs = {row["step_name"]: row["output"] for row in engine.steps(run_id)}
        assert outputs == {"a": "first", "a:1": "second"}

    def test_an_exhausted_step_in_a_task_group_fails_the_run_with_the_steps_error(
        self, engine: Engine, calls: Calls
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(step.run("a", calls("a", ValueError("fatal")), retry=ONCE))

        engine.workflow(workflow)
        assert engine.finish(engine.start())["error"]["message"] == "fatal"


def test_a_callback_of_a_future_that_blocks_holds_up_no_other_branch(engine: Engine) -> None:
    registered, retried = threading.Event(), threading.Event()
    calls: list[str] = []
    in_time: list[bool] = []

    def flaky() -> str:
        calls.append("flaky")
        if len(calls) == 1:
            raise ConnectionError("try again")
        retried.set()
        return "done"

    def body(step: Step) -> str:
        first = step.submit("first", registered.wait, 60.0)
        first.add_done_callback(lambda _: in_time.append(retried.wait(60.0)))
        policy = RetryPolicy(initial_interval="30ms")
        second = step.submit("second", flaky, retry=policy)
        registered.set()
        return second.result()

    engine.workflow(body)
    assert engine.finish(engine.start())["output"] == "done"
    assert in_time == [True]


def test_waiting_for_a_future_with_a_timeout_gives_up_in_time(engine: Engine) -> None:
    gave_up = threading.Event()

    def workflow(step: Step) -> str:
        future = step.submit("slow", gave_up.wait)
        with pytest.raises(TimeoutError):
            future.result(timeout=0.01)
        gave_up.set()
        assert future.result() is True
        return "done"

    engine.workflow(workflow)
    assert engine.finish(engine.start())["output"] == "done"
