"""The priority of runs that other runs start: child runs, successors and reruns."""

from __future__ import annotations

from typing import Any

import pytest

from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


def priority(row: dict[str, Any]) -> tuple[int | None, float]:
    """Return the priority in the row, and the minutes by which the run is due before its start."""
    early = (row["created_at"] - row["available_at"]).total_seconds()
    return row["config"].get("owsuper", {}).get("priority"), round(early / 60, 1)


def child_of(engine: Engine, run_id: str) -> dict[str, Any]:
    [step] = engine.steps(run_id)
    return engine.row(step["child_workflow_run_id"])


@sync_and_async
class TestPriorities:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [({"priority": 7}, (7, 7.0)), ({}, (30, 30.0)), ({"priority": 0}, (None, 0.0))],
    )
    def test_a_child_run_has_its_own(
        self, engine: Engine, as_workflow: AsWorkflow, options: Any, expected: Any
    ) -> None:
        child = engine.ow.workflow("child", priority=30)(lambda step: None)

        def body(step: Any) -> Any:
            return (yield step.run_workflow(child, **options))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert priority(child_of(engine, run_id)) == expected

    def test_a_priority_that_is_none_fails_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run_workflow("child", priority=101))

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert row["status"] == "failed"
        assert "priority: 101 must be a whole number from 0 to 100" in row["error"]["message"]

    def test_a_successor_has_that_of_the_run_before_it(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("one", int)
            if "continuedFrom" not in (engine.row(step.run_id)["context"] or {}):
                step.continue_as_new()

        main = engine.workflow(as_workflow(body))
        first = main.run(priority=7)
        engine.finish(first.id)
        after = first.details().continued_as
        assert after is not None
        assert priority(engine.row(after)) == (7, 7.0)

    def test_a_rerun_has_that_of_the_run_that_it_repeats(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run("one", int))

        main = engine.workflow(as_workflow(body))
        first = main.run(priority=7)
        engine.finish(first.id)
        assert priority(engine.row(first.rerun().id)) == (7, 7.0)
