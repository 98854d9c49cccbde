"""What a workflow may rely on, sync and async, on real Postgres."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import AsyncStep, RetryPolicy, Step, StepFailed
from owsuper.errors import StepUsageError
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, as_async, as_sync, sync_and_async

SOON = RetryPolicy(initial_interval="100ms", maximum_attempts=5)
ONCE = RetryPolicy(maximum_attempts=1)


class Calls:
    """Step functions that count their calls."""

    def __init__(self) -> None:
        self.made: list[str] = []

    def __call__(self, name: str, *outcomes: Any) -> Callable[[], Any]:
        """A function that gives ``outcomes`` in turn, the last one for ever; raises exceptions."""
        left = list(outcomes or [name.upper()])

        def function() -> Any:
            self.made.append(name)
            outcome = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return function

    def asynchronous(self, name: str, *outcomes: Any) -> Callable[[], Any]:
        call = self(name, *outcomes)

        async def function() -> Any:
            return call()

        return function


@pytest.fixture
def calls() -> Calls:
    return Calls()


@sync_and_async
class TestStepsInOrder:
    def test_each_step_runs_once_and_the_run_completes(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            a = yield step.run("a", calls("a"))
            b = yield step.run("b", calls("b", {"after": a}))
            return [a, b]

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == ["A", {"after": "A"}]
        assert engine.statuses(run_id) == [("a", "completed"), ("b", "completed")]
        assert calls.made == ["a", "b"]

    def test_a_name_used_again_gets_a_number(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            for _ in range(3):
                yield step.run("a", calls("a"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)

        assert [name for name, _ in engine.statuses(run_id)] == ["a", "a:1", "a:2"]

    def test_after_a_crash_only_the_unfinished_step_runs_again(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        """The crash: a pass whose last write never happened because its lease was lost."""

        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            yield step.run("b", steal)
            return (yield step.run("c", calls("c")))

        def steal() -> str:
            calls.made.append("b")
            if calls.made.count("b") == 1:
                engine.conn.execute(
                    f'UPDATE "{engine.schema}".workflow_runs'
                    " SET worker_id = NULL, available_at = now()"
                )
            return "B"

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "lost"
        assert engine.statuses(run_id) == [("a", "completed")]
        assert engine.finish(run_id)["output"] == "C"
        assert calls.made == ["a", "b", "b", "c"]

    def test_both_kinds_of_functions_may_be_steps(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            a = yield step.run("a", calls("a"))
            b = yield step.run("b", calls.asynchronous("b"))
            return a + b

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == "AB"


@sync_and_async
class TestFailures:
    def test_a_failed_step_is_retried_in_a_later_pass_and_never_shows(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", calls("a"))
                return (yield step.run("b", flaky, retry=SOON))
            except Exception:
                calls.made.append("seen")
                raise

        flaky = calls("b", ValueError("not yet"), "B")
        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "retrying"
        waiting = engine.row(run_id)
        assert waiting["status"] == "pending"
        assert waiting["error"]["message"] == "not yet"
        assert waiting["error"]["name"] == "ValueError"
        assert waiting["worker_id"] is None
        assert waiting["started_at"] is None

        assert engine.execute_once(run_id).outcome == "completed"
        done = engine.row(run_id)
        assert (done["output"], done["error"]) == ("B", None)
        assert engine.statuses(run_id) == [("a", "completed"), ("b", "failed"), ("b", "completed")]
        assert calls.made == ["a", "b", "b"]

    def test_an_exhausted_step_can_be_caught_and_is_not_run_on_replay(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", calls("a", ValueError("never")), retry=ONCE)
            except StepFailed as failed:
                caught = [failed.step, str(failed), failed.error.name]
            yield step.sleep("nap", 0.3)
            return caught

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.finish(run_id)["output"] == ["a", "never", "ValueError"]
        assert calls.made == ["a"]

    def test_an_exhausted_step_that_nobody_catches_fails_the_run_with_its_error(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a", KeyError("gone")), retry=ONCE)

        engine.workflow(as_workflow(body), retry=RetryPolicy())
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert row["error"]["name"] == "KeyError"
        assert "test_semantics" in row["error"]["stack"]
        assert row["attempts"] == 1

    def test_an_exception_of_the_body_fails_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            raise ValueError("boom")

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "boom")

    def test_waking_up_does_not_use_up_the_workflows_retry_budget(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("one", 0.25)
            yield step.sleep("two", 0.25)
            flaky()
            return "done"

        flaky = calls("body", ValueError("first"), "fine")
        engine.workflow(
            as_workflow(body), retry=RetryPolicy(initial_interval="1ms", maximum_attempts=2)
        )
        row = engine.finish(engine.start())

        assert (row["status"], row["output"], row["attempts"]) == ("completed", "done", 4)

    def test_the_workflows_budget_ends(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("one", 0.01)
            raise ValueError(f"failure {fail()}")

        fail = calls("body", 1, 2, 3)
        engine.workflow(
            as_workflow(body), retry=RetryPolicy(initial_interval="1ms", maximum_attempts=3)
        )
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "failure 3")

    def test_a_result_that_cannot_be_stored_fails_the_step_and_is_not_produced_again(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a", {"items": [1, float("nan")]}), retry=SOON)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert "items[1]" in row["error"]["message"]
        assert "'a'" in row["error"]["message"]
        assert calls.made == ["a"]

    def test_an_output_that_cannot_be_stored_fails_the_run_once(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            calls.made.append("body")
            return {"when": {1, 2}}

        engine.workflow(as_workflow(body), retry=RetryPolicy())
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert "result.when" in row["error"]["message"]
        assert calls.made == ["a", "body"]

    @pytest.mark.parametrize("where", ["step", "body"])
    def test_sys_exit_is_a_failure_like_any_other(
        self, engine: Engine, as_workflow: AsWorkflow, where: str, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            if where == "step":
                yield step.run("a", calls("a", SystemExit(3)), retry=ONCE)
            yield step.run("b", calls("b"))
            raise SystemExit(3)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["name"]) == ("failed", "SystemExit")


@sync_and_async
class TestSleeping:
    def test_a_sleep_parks_the_run_until_the_time_that_is_stored(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("before", calls("before"))
            yield step.sleep("nap", 0.3)
            return (yield step.run("after", calls("after")))

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        ended = engine.execute_once(run_id)
        parked = engine.row(run_id)
        nap = engine.steps(run_id)[1]
        assert ended.outcome == "parked"
        assert ended.due_in is not None
        assert 0 <= ended.due_in <= 0.3
        assert (parked["status"], parked["worker_id"]) == ("running", None)
        until = parked["available_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert nap["context"] == {"kind": "sleep", "resumeAt": until}

        assert engine.finish(run_id)["output"] == "AFTER"
        assert engine.statuses(run_id) == [
            ("before", "completed"),
            ("nap", "completed"),
            ("after", "completed"),
        ]
        assert calls.made == ["before", "after"]

    def test_a_run_woken_too_early_parks_again_until_the_same_time(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("nap", 60)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        until = engine.row(run_id)["available_at"]
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')

        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.row(run_id)["available_at"] == until
        assert engine.statuses(run_id) == [("nap", "running")]

    def test_swallowing_what_unwinds_the_body_changes_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.sleep("nap", 0.3)
            except BaseException:
                calls.made.append("swallowed")
            try:
                yield step.run("a", calls("a"))
            except BaseException:
                calls.made.append("swallowed again")
            return "too early" if "swallowed" in calls.made[-2:] else "in time"

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        assert calls.made == ["swallowed", "swallowed again"]
        calls.made.clear()
        assert engine.finish(run_id)["output"] == "in time"
        assert calls.made == ["a"]

    def test_a_sleep_of_no_or_negative_length_is_over_at_once(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("none", 0)
            yield step.sleep("negative", "-1s")
            return "awake"

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.finish(run_id)["output"] == "awake"
        assert engine.statuses(run_id) == [("none", "completed"), ("negative", "completed")]

    def test_a_duration_that_cannot_be_read_fails_the_run_and_leaves_no_row(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("nap", "1 fortnight")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)

        assert row["error"]["message"].startswith('Invalid duration format: "1 fortnight"')
        assert engine.steps(run_id) == []


@sync_and_async
class TestParallelSteps:
    def test_submitted_steps_run_at_the_same_time(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        together = threading.Barrier(3, timeout=10)

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
            assert failed.wait(10)
            calls.made.append("slow")
            return "S"

        def body(step: Any) -> Any:
            one = step.submit("flaky", flaky, retry=RetryPolicy(initial_interval="500ms"))
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
            assert failed.wait(10)
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
            deadline = time.monotonic() + 10
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
            assert returned.wait(10)
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


@sync_and_async
class TestMisuse:
    def test_a_step_inside_a_steps_function_is_a_clear_error_and_is_not_retried(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            def outer() -> Any:
                calls.made.append("outer")
                return step.run("inner", calls("inner"))

            yield step.run("outer", outer)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["error"]["name"] == "StepUsageError"
        assert "'inner' was called inside the function of step 'outer'" in row["error"]["message"]
        assert calls.made == ["outer"]

    def test_a_step_after_the_end_of_its_run_is_a_clear_error(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        kept: list[Any] = []

        def body(step: Any) -> Any:
            kept.append(step)
            return "done"
            yield

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)

        with pytest.raises(StepUsageError, match=f"after its run {run_id} had ended"):
            kept[0].run("late", calls("late"))
        assert calls.made == []

    @pytest.mark.parametrize(
        ("name", "message"),
        [("", "empty"), ("x" * 501, "501 characters"), ("a\x00b", "U\\+0000"), (7, "int")],
    )
    def test_a_step_name_that_cannot_be_stored_is_a_clear_error(
        self, engine: Engine, as_workflow: AsWorkflow, name: Any, message: str
    ) -> None:
        errors: list[BaseException] = []

        def body(step: Any) -> Any:
            try:
                yield step.run(name, lambda: 1)
            except StepUsageError as exc:
                errors.append(exc)

        engine.workflow(as_workflow(body))
        engine.finish(engine.start())

        with pytest.raises(StepUsageError, match=message):
            raise errors[0]

    def test_a_value_in_place_of_a_function_is_a_clear_error(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", 7)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert "'a' was given int 7, which is not callable" in row["error"]["message"]


@dataclass
class Order:
    id: int
    lines: list[str]


@sync_and_async
class TestTypes:
    def test_a_step_gives_what_its_function_is_annotated_to_return_then_and_later(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen: list[Any] = []

        def fetch() -> Order:
            return Order(7, ["a"])

        def body(step: Any) -> Any:
            seen.append((yield step.run("fetch", fetch)))
            seen.append((yield step.run("plain", lambda: Order(8, []))))
            seen.append((yield step.run("given", lambda: {"id": 9, "lines": []}, type=Order)))
            yield step.sleep("nap", 0.25)
            return seen[-1]

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert seen[:3] == [Order(7, ["a"]), {"id": 8, "lines": []}, Order(9, [])]
        assert seen[3:] == seen[:3]
        assert row["output"] == {"id": 9, "lines": []}

    def test_a_step_whose_result_is_not_what_it_is_annotated_to_return_fails_for_good(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def fetch() -> Order:
            calls.made.append("fetch")
            return {"id": "seven", "lines": []}  # type: ignore[return-value] -- the point

        def body(step: Any) -> Any:
            yield step.run("fetch", fetch)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["error"]["name"] == "InvalidData"
        assert ".id" in row["error"]["message"]
        assert calls.made == ["fetch"]

    def test_a_run_whose_result_is_not_what_it_is_annotated_to_return_fails_for_good(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            calls.made.append("body")
            yield step.sleep("nap", 0)
            return {"id": "seven", "lines": []}

        workflow = as_workflow(body)
        workflow.__annotations__["return"] = Order
        engine.workflow(workflow, retry=SOON)
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert row["error"]["name"] == "InvalidData"
        assert row["error"]["message"] == "result.id: expected int, got str"
        assert row["output"] is None

    def test_a_return_annotation_that_json_cannot_become_is_refused_before_the_function_runs(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def fetch() -> threading.Thread:
            calls.made.append("fetch")
            return threading.current_thread()

        def body(step: Any) -> Any:
            yield step.run("fetch", fetch)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["error"]["name"] == "ConfigurationError"
        assert "Step 'fetch'" in row["error"]["message"]
        assert "Thread" in row["error"]["message"]
        assert calls.made == []


@sync_and_async
class TestWhatIsWrittenWhen:
    def test_a_result_is_written_although_the_body_lingers(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            with ThreadPoolExecutor(1) as outside:
                if as_workflow is as_async:
                    yield asyncio.wrap_future(outside.submit(until_written))
                else:
                    outside.submit(until_written).result()
            return "seen"

        def until_written() -> None:
            deadline = time.monotonic() + 10
            while not engine.conn.execute(
                f'SELECT 1 FROM "{engine.schema}".step_attempts'
            ).fetchone():
                assert time.monotonic() < deadline, "the result was not written"

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == "seen"

    def test_a_long_step_shows_as_running_meanwhile(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def slow() -> str:
            deadline = time.monotonic() + 10
            while not (
                found := engine.conn.execute(
                    f'SELECT id, status FROM "{engine.schema}".step_attempts'
                ).fetchone()
            ):
                assert time.monotonic() < deadline, "no running row appeared"
            return "/".join(found)

        def body(step: Any) -> Any:
            return (yield step.run("slow", slow))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        output = engine.finish(run_id)["output"]

        (step,) = engine.steps(run_id)
        assert output == f"{step['id']}/running"
        assert (step["status"], step["output"]) == ("completed", output)

    def test_a_pass_that_lost_its_lease_starts_no_further_step(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: engine.executor.executions[worker].abandon())
            yield step.run("b", calls("b"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        claimed = engine.claim(run_id)
        worker = claimed.worker_id

        assert engine.execute_once(run_id, claimed).outcome == "lost"
        assert calls.made == []
        assert engine.row(run_id)["worker_id"] == worker, "a lost run is left alone"


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
            await asyncio.gather(step.sleep("short", 0.4), step.sleep("long", 0.8))
            return "awake"

        engine.workflow(workflow)
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        ends = {row["step_name"]: row["context"]["resumeAt"] for row in engine.steps(run_id)}
        woken = engine.row(run_id)["available_at"]
        assert woken.isoformat(timespec="milliseconds").replace("+00:00", "Z") == ends["short"]

        engine.finish(run_id)
        assert {
            row["step_name"]: row["context"]["resumeAt"] for row in engine.steps(run_id)
        } == ends
        assert len(engine.steps(run_id)) == 2

    def test_a_branch_goes_on_while_another_sleeps(self, engine: Engine, calls: Calls) -> None:
        async def workflow(step: AsyncStep) -> str:
            async def busy() -> None:
                for name in "abc":
                    await step.run(name, calls.asynchronous(name))

            await asyncio.gather(step.sleep("nap", 0.5), busy())
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


class TestSyncOnly:
    def test_facts_about_the_run_are_at_hand(self, engine: Engine) -> None:
        def workflow(step: Step, input: dict[str, int]) -> list[Any]:
            return [
                step.run_id,
                step.workflow_name,
                step.version,
                step.started_at >= step.created_at,
            ]

        engine.workflow(workflow)
        run_id = engine.start({"x": 1})
        assert engine.finish(run_id)["output"] == [run_id, "main", None, True]

    def test_waiting_for_a_future_with_a_timeout_gives_up_in_time(self, engine: Engine) -> None:
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


def test_input_that_does_not_fit_the_declared_type_fails_the_run_and_names_the_field(
    engine: Engine, calls: Calls
) -> None:
    def workflow(step: Step, input: Order) -> None:
        calls.made.append("body")

    engine.workflow(workflow)
    run_id = engine.start({"id": 1, "lines": []})
    engine.conn.execute(
        f"""UPDATE "{engine.schema}".workflow_runs SET input = '{{"id": "one", "lines": []}}'"""
    )
    row = engine.finish(run_id)

    assert row["status"] == "failed"
    assert "input.id" in row["error"]["message"]
    assert calls.made == []


def test_blocking_and_awaiting_are_what_the_tests_think_they_are() -> None:
    def body(step: Any) -> Any:
        yield

    assert not asyncio.iscoroutinefunction(as_sync(body))
    assert asyncio.iscoroutinefunction(as_async(body))
