"""Patches: runs that were past a change take the old branch, all others the new one."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import AsyncStep, Step
from owsuper.errors import StepUsageError
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

MARKER = {"kind": "patch"}


def deploy(engine: Engine, body: Any, as_workflow: AsWorkflow, **options: Any) -> None:
    """Replace the code of the workflow ``main``."""
    engine.ow.registry._workflows.clear()
    engine.workflow(as_workflow(body), **options)


def marker(engine: Engine, run_id: str, name: str = "tax") -> Any:
    rows = [row for row in engine.steps(run_id) if row["step_name"] == f"patched:{name}"]
    assert len(rows) <= 1
    if not rows:
        return None
    [row] = rows
    assert (row["kind"], row["status"], row["context"]) == ("function", "completed", MARKER)
    return row["output"]


@sync_and_async
class TestPatches:
    def test_a_new_run_takes_the_new_branch_at_each_replay(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        answers: list[bool] = []

        def body(step: Any) -> Any:
            yield step.run("first", lambda: 1)
            answers.append(step.patched("tax"))
            yield step.sleep("nap", "30m")
            answers.append(step.patched("tax"))
            return answers[-1]

        engine.workflow(as_workflow(body), strict=True)
        run_id = engine.start()
        assert engine.finish(run_id)["output"] is True
        assert answers == [True] * 3
        assert marker(engine, run_id) is True

    def test_a_run_that_was_at_or_past_the_place_takes_the_old_branch_to_its_end(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def old(step: Any) -> Any:
            yield step.run("first", calls("first"))
            yield step.sleep("nap", "30m")
            yield step.sleep("nap-2", "30m")

        def new(step: Any) -> Any:
            yield step.run("first", calls("first"))
            if step.patched("tax"):
                yield step.run("tax", calls("tax"))
            yield step.sleep("nap", "30m")
            yield step.sleep("nap-2", "30m")
            if step.patched("tax"):
                yield step.run("report", calls("report"))
            return step.patched("later")

        engine.workflow(as_workflow(old), strict=True)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        deploy(engine, new, as_workflow, strict=True)
        assert engine.finish(run_id)["output"] is True
        assert calls.made == ["first"]
        assert (marker(engine, run_id), marker(engine, run_id, "later")) == (False, True)

    def test_a_run_that_had_not_come_to_the_place_takes_the_new_branch(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def old(step: Any) -> Any:
            yield step.sleep("nap", "30m")

        def new(step: Any) -> Any:
            yield step.sleep("nap", "30m")
            if step.patched("tax"):
                yield step.run("tax", calls("tax"))

        engine.workflow(as_workflow(old))
        run_id = engine.start()
        engine.execute_once(run_id)
        deploy(engine, new, as_workflow)
        engine.finish(run_id)
        assert calls.made == ["tax"]
        assert marker(engine, run_id) is True

    def test_a_step_that_a_crash_interrupted_shows_where_the_run_was(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def new(step: Any) -> Any:
            if step.patched("tax"):
                yield step.run("tax", calls("tax"))
            yield step.run("charge", calls("charge"))

        engine.workflow(as_workflow(new))
        run_id = engine.start()
        engine.conn.execute(
            f'INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,'
            " step_name, kind, status, config, started_at, created_at, updated_at) VALUES"
            " ('default', 'crashed', $1, 'charge', 'function', 'running', '{}', now(), now(),"
            " now())",
            [run_id],
        )
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET attempts = 1')
        engine.finish(run_id)
        assert calls.made == ["charge"]
        assert marker(engine, run_id) is False

    def test_a_patch_whose_old_runs_have_ended_is_removed_without_a_trace(
        self,
        engine: Engine,
        as_workflow: AsWorkflow,
        calls: Calls,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def new(step: Any) -> Any:
            if step.patched("tax"):
                yield step.run("tax", calls("tax"))
            yield step.sleep("nap", "30m")

        def cleaned(step: Any) -> Any:
            yield step.run("tax", calls("tax"))
            yield step.sleep("nap", "30m")
            yield step.run("more", calls("more"))

        engine.workflow(as_workflow(new))
        run_id = engine.start()
        engine.execute_once(run_id)
        deploy(engine, cleaned, as_workflow, strict=True)
        assert engine.finish(run_id)["status"] == "completed"
        assert calls.made == ["tax", "more"]
        assert "patched" not in caplog.text

    def test_a_patch_that_is_removed_too_early_is_detected(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def old(step: Any) -> Any:
            yield step.sleep("nap", "30m")

        def new(step: Any) -> Any:
            if step.patched("tax"):
                yield step.run("tax", lambda: 1)
            yield step.sleep("nap", "30m")
            yield step.sleep("nap-2", "30m")

        def cleaned(step: Any) -> Any:
            yield step.sleep("nap", "30m")
            yield step.sleep("nap-2", "30m")

        engine.workflow(as_workflow(old))
        run_id = engine.start()
        engine.execute_once(run_id)
        deploy(engine, new, as_workflow)
        engine.execute_once(run_id)
        assert marker(engine, run_id) is False
        deploy(engine, cleaned, as_workflow, strict=True)
        row = engine.finish(run_id)
        assert row["error"]["name"] == "NonDeterminismError"
        assert "patched:tax" in row["error"]["message"]

    def test_bad_names_and_places_are_refused(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield
            for name in ("", 7, "a\0"):
                with pytest.raises(StepUsageError, match="Invalid step name"):
                    step.patched(name)
            yield step.run("inner", lambda: step.patched("tax"))

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert (
            "step.patched('tax') was called inside the function of step 'inner'"
            in (row["error"]["message"])
        )

    def test_the_answer_counts_towards_the_step_limit(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("first", lambda: 1)
            step.patched("tax")

        engine.workflow(as_workflow(body), step_limit=1)
        row = engine.finish(engine.start())
        assert row["error"]["name"] == "StepLimitExceededError"

    def test_a_row_of_another_kind_is_a_divergence(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.sleep("patched:tax", "30m")
            step.patched("tax")

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert row["error"]["name"] == "NonDeterminismError"


def test_branches_get_one_answer(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> list[bool]:
        return step.parallel(*[lambda: step.patched("tax")] * 8)

    assert engine.finish(engine.start())["output"] == [True] * 8


def test_an_async_workflow_does_not_await_the_answer(engine: Engine) -> None:
    @engine.ow.workflow("main")
    async def main(step: AsyncStep) -> list[bool]:
        first = step.patched("tax")
        await step.sleep("nap", "30m")
        return [first, step.patched("tax"), step.patched("other")]

    assert engine.finish(engine.start())["output"] == [True] * 3
