"""Steps in order, wrong uses of steps, and facts about the run; sync and async."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from owsuper import Step
from owsuper.errors import StepUsageError
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, as_async, as_sync, sync_and_async


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
        """The crash is an execution whose last write was dropped because its lease was lost."""

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
        assert engine.ended_steps(run_id) == [("a", "completed")]
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


def test_a_step_object_has_the_facts_about_the_run(engine: Engine) -> None:
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


def test_the_same_body_becomes_a_sync_or_an_async_function() -> None:
    def body(step: Any) -> Any:
        yield

    assert not inspect.iscoroutinefunction(as_sync(body))
    assert inspect.iscoroutinefunction(as_async(body))
