"""A replay that asks a recorded wait for something else: branches side by side under one name."""

from __future__ import annotations

import re
from dataclasses import dataclass, make_dataclass
from typing import Any

import pytest

from owsuper import Step
from owsuper.workflow.definition import Workflow
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@pytest.fixture
def pack(engine: Engine) -> Workflow[Any, Any]:
    @engine.ow.workflow("pack")
    def pack(step: Step, input: Any) -> Any:
        return input

    return pack


def wake(engine: Engine) -> None:
    engine.conn.execute(
        f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE'
        " workflow_name = 'main'"
    )


def replay_of(engine: Engine, run_id: str, first: str = "parked") -> dict[str, Any]:
    """Execute the run until it parks, then once more; return its row."""
    assert engine.execute_once(run_id).outcome == first
    wake(engine)
    engine.execute_once(run_id)
    return engine.row(run_id)


def is_first(engine: Engine, step: Any) -> bool:
    return bool(engine.row(step.run_id)["attempts"] == 1)


@sync_and_async
class TestChildRuns:
    def test_two_branches_that_change_places_fail_the_run_and_are_named(
        self, engine: Engine, as_workflow: AsWorkflow, pack: Workflow[Any, Any]
    ) -> None:
        def body(step: Any) -> Any:
            order = ["tea", "ink"] if is_first(engine, step) else ["ink", "tea"]
            yield from [step.submit_workflow(pack, item) for item in order]

        engine.workflow(as_workflow(body))
        row = replay_of(engine, engine.start())

        assert (row["status"], row["error"]["name"]) == ("failed", "NonDeterminismError")
        message = row["error"]["message"]
        either = "'(pack|pack:1)'"  # whichever asks first
        assert re.match(f'Step {either} is recorded for workflow "pack" with input ', message)
        assert re.search(f"which is recorded as step {either}", message)

    def test_a_result_that_is_recorded_already_goes_to_no_other_branch(
        self, engine: Engine, as_workflow: AsWorkflow, pack: Workflow[Any, Any]
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow(pack, "tea" if is_first(engine, step) else "ink")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        (child,) = engine._rows("workflow_runs", "workflow_name", "pack")
        engine.finish(child["id"])
        assert engine.finish(run_id)["error"]["name"] == "NonDeterminismError"

    @pytest.mark.parametrize(
        ("workflow", "version"), [("unpack", None), ("pack", "2")], ids=["workflow", "version"]
    )
    def test_another_workflow_or_version_under_one_name(
        self, engine: Engine, as_workflow: AsWorkflow, workflow: str, version: str | None
    ) -> None:
        def body(step: Any) -> Any:
            if is_first(engine, step):
                yield step.run_workflow("pack", 1, name="box")
            yield step.run_workflow(workflow, 1, name="box", version=version)

        engine.workflow(as_workflow(body))
        row = replay_of(engine, engine.start())
        assert row["error"]["name"] == "NonDeterminismError"
        assert f'asks for workflow "{workflow}"' in row["error"]["message"]

    def test_the_same_input_with_its_keys_in_another_order_is_the_same(
        self, engine: Engine, as_workflow: AsWorkflow, pack: Workflow[Any, Any]
    ) -> None:
        def body(step: Any) -> Any:
            input = {"a": 1, "b": 2.50} if is_first(engine, step) else {"b": 2.5, "a": 1}
            yield step.run_workflow(pack, input)

        engine.workflow(as_workflow(body))
        assert replay_of(engine, engine.start())["error"] is None

    def test_a_field_with_a_default_may_be_added_to_the_type_of_the_input(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @dataclass
        class Item:
            name: str

        new_item = make_dataclass("NewItem", [("name", str), ("color", str, "red")])

        def old(step: Step, input: Any) -> None: ...
        def new(step: Step, input: Any) -> None: ...

        old.__annotations__["input"], new.__annotations__["input"] = Item, new_item
        old_pack = engine.ow.workflow("pack")(old)
        new_pack = Workflow[Any, Any](engine.ow, new, name="pack")

        def body(step: Any) -> Any:
            if is_first(engine, step):
                yield step.run_workflow(old_pack, Item("tea"))
            yield step.run_workflow(new_pack, new_item(*changed))

        engine.workflow(as_workflow(body))
        changed: tuple[str, ...] = ("tea",)
        assert replay_of(engine, engine.start())["error"] is None
        changed = ("ink",)
        assert replay_of(engine, engine.start())["error"]["name"] == "NonDeterminismError"

    @pytest.mark.parametrize(
        "context",
        ["context - 'child'", "context || '{\"child\": 7}'", "NULL"],
        ids=["TypeScript", "something else", "none"],
    )
    def test_a_row_that_does_not_say_what_it_was_for_is_accepted(
        self, engine: Engine, as_workflow: AsWorkflow, pack: Workflow[Any, Any], context: str
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow(pack, "tea" if is_first(engine, step) else "ink")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        engine.conn.execute(f'UPDATE "{engine.schema}".step_attempts SET context = {context}')
        wake(engine)
        assert engine.execute_once(run_id).outcome == "parked"


@sync_and_async
def test_a_wait_for_another_signal_under_one_name_fails_the_run(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def waits(step: Any) -> Any:
        yield step.wait_for_signal("tea" if is_first(engine, step) else "ink", name="approval")

    engine.workflow(as_workflow(waits))
    row = replay_of(engine, engine.start())
    assert row["error"]["name"] == "NonDeterminismError"
    assert row["error"]["message"].startswith(
        'Step \'approval\' is recorded for signal "tea", but the code now asks for signal "ink".'
    )


def test_a_recorded_child_run_says_what_it_was_for_in_a_member_of_its_own(
    engine: Engine, pack: Workflow[Any, Any]
) -> None:
    def workflow(step: Step) -> None:
        step.run_workflow(pack, "tea")

    engine.workflow(workflow)
    run_id = engine.start()
    engine.execute_once(run_id)
    (row,) = engine.steps(run_id)
    assert sorted(row["context"]) == ["child", "kind", "timeoutAt"]
    assert sorted(row["context"]["child"]) == ["input", "workflow"]
    assert len(row["context"]["child"]["input"]) == 16
