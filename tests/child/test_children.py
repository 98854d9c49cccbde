"""Child runs, sync and async: the executions of a parent and of its child runs, in turn."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from owsuper import ChildFailed, Step, StepFailed
from owsuper.errors import ChildCanceled, ChildTimedOut
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@dataclass
class Order:
    number: int


def child_of(engine: Engine, run_id: str, step: str) -> str:
    [row] = [row for row in engine.steps(run_id) if row["step_name"] == step]
    return str(row["child_workflow_run_id"])


def define_child(engine: Engine, outcome: Any = "done") -> None:
    @engine.ow.workflow("child")
    def child(step: Step, input: Any) -> Any:
        if isinstance(outcome, Exception):
            raise outcome
        return [outcome, input]


@sync_and_async
class TestAChild:
    def test_its_result_is_that_of_the_step(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        define_child(engine)

        def body(step: Any) -> Any:
            return (yield step.run_workflow("child", {"a": 1}))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        child_id = child_of(engine, run_id, "child")
        assert engine.execute_once(child_id).outcome == "completed"
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == ["done", {"a": 1}]
        assert engine.statuses(run_id) == [("child", "completed")]

    def test_it_is_linked_both_ways_as_the_other_implementation_links_it(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow("child", [1], name="first", version="2", timeout="1h")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        [step] = engine.steps(run_id)
        child = engine.row(step["child_workflow_run_id"])
        assert (step["kind"], step["status"], step["step_name"]) == ("workflow", "running", "first")
        assert step["context"]["kind"] == "workflow"
        assert (child["workflow_name"], child["version"], child["input"]) == ("child", "2", [1])
        assert child["status"] == "pending"
        assert child["parent_step_attempt_id"] == step["id"]
        assert child["parent_step_attempt_namespace_id"] == "default"
        assert child["idempotency_key"] == f"__workflow:default:{step['id']}"
        assert child["deadline_at"] is None
        parent = engine.row(run_id)
        assert parent["available_at"] - step["started_at"] <= timedelta(hours=1)

    def test_the_parent_is_due_the_moment_it_ends(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine)

        def body(step: Any) -> Any:
            yield step.run_workflow("child")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        parked = engine.row(run_id)
        engine.execute_once(child_of(engine, run_id, "child"))
        woken = engine.row(run_id)
        assert parked["available_at"] - parked["created_at"] > timedelta(days=360)
        assert woken["available_at"] <= woken["updated_at"]

    def test_children_submitted_together_are_stored_together_and_awaited_side_by_side(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine)

        def body(step: Any) -> Any:
            futures = [step.submit_workflow("child", number) for number in range(5)]
            results = []
            for future in futures:
                results.append((yield future))
            return results

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        names = [row["step_name"] for row in engine.steps(run_id)]
        assert sorted(names) == ["child", "child:1", "child:2", "child:3", "child:4"]
        for name in sorted(names, reverse=True):
            engine.execute_once(child_of(engine, run_id, name))
        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == [["done", number] for number in range(5)]

    def test_one_that_failed_raises_its_own_error_now_and_on_every_replay(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine, ValueError("no such order"))
        seen = []

        def body(step: Any) -> Any:
            try:
                yield step.run_workflow("child")
            except ChildFailed as failure:
                seen.append((type(failure), str(failure), failure.step, failure.error.name))
                seen.append(failure.child_run_id)
            yield step.sleep("pause", "1h")
            return "went on"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        child_id = child_of(engine, run_id, "child")
        engine.execute_once(child_id)
        assert engine.finish(run_id)["output"] == "went on"
        assert seen == [(ChildFailed, "no such order", "child", "ValueError"), child_id] * 2

    def test_a_failure_that_is_not_caught_fails_the_parent(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine, ValueError("no such order"))

        def body(step: Any) -> Any:
            yield step.run_workflow("child")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.execute_once(child_of(engine, run_id, "child"))
        assert engine.execute_once(run_id).outcome == "failed"
        error = engine.row(run_id)["error"]
        assert (error["name"], error["message"]) == ("ValueError", "no such order")

    def test_one_that_is_canceled_says_so(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        seen = []

        def body(step: Any) -> Any:
            try:
                yield step.run_workflow("child")
            except ChildCanceled as failure:
                seen.append(str(failure))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        child_id = child_of(engine, run_id, "child")
        engine.ow.get_run(child_id).cancel()
        assert engine.execute_once(run_id).outcome == "completed"
        assert seen == [
            f'Workflow step "child" failed because child workflow run "{child_id}" was canceled'
        ]

    def test_one_that_takes_too_long_is_waited_for_no_longer_and_goes_on(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine)
        seen = []

        def body(step: Any) -> Any:
            try:
                yield step.run_workflow("child", timeout=0.01)
            except ChildTimedOut as failure:
                seen.append(str(failure))
            yield step.sleep("pause", "1h")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert seen == ["Timed out waiting for child workflow to complete"] * 2
        child_id = child_of(engine, run_id, "child")
        assert engine.row(child_id)["status"] == "pending"
        assert engine.execute_once(child_id).outcome == "completed"

    def test_a_timeout_of_zero_starts_it_and_gives_up_at_once(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow("child", timeout=0)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        assert engine.row(child_of(engine, run_id, "child"))["status"] == "pending"
        assert engine.statuses(run_id) == [("child", "failed")]

    @pytest.mark.parametrize("timeout", ["soon", -1, object()])
    def test_a_timeout_that_is_none_starts_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, timeout: Any
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow("child", timeout=timeout)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        message = "Timeout must be a non-negative number" if timeout == -1 else "timeout: "
        assert engine.row(run_id)["error"]["message"].startswith(message)
        assert engine.steps(run_id) == []

    def test_an_input_that_it_does_not_take_fails_the_step_before_anything_starts(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @engine.ow.workflow("typed")
        def typed(step: Step, order: Order) -> None: ...

        def body(step: Any) -> Any:
            try:
                yield step.run_workflow(typed, {"number": "x"})
            except StepFailed as failure:
                return str(failure)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert "number" in engine.finish(run_id)["output"]
        assert engine.statuses(run_id) == [("typed", "failed")]

    def test_the_result_of_a_workflow_comes_back_as_its_declared_type(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @engine.ow.workflow("typed")
        def typed(step: Step, order: Order) -> Order:
            return Order(order.number + 1)

        seen = []

        def body(step: Any) -> Any:
            seen.append((yield step.run_workflow(typed, Order(1))))
            seen.append((yield step.run_workflow("typed", {"number": 2}, type=Order)))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.execute_once(child_of(engine, run_id, "typed"))
        engine.execute_once(run_id)
        engine.execute_once(child_of(engine, run_id, "typed:1"))
        engine.execute_once(run_id)
        assert seen == [Order(2), Order(2), Order(3)]

    def test_a_function_is_no_child(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        def body(step: Any) -> Any:
            yield step.run_workflow(print)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        assert "step.run()" in engine.row(run_id)["error"]["message"]

    def test_a_parent_whose_writer_died_before_the_link_finds_its_child_again(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        """As another implementation leaves it that stores attempt, run and link one by one."""
        define_child(engine)

        def body(step: Any) -> Any:
            return (yield step.run_workflow("child", 1))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        child_id = child_of(engine, run_id, "child")
        unlink(engine, run_id)
        engine.execute_once(child_id)
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now(),'
            " created_at = created_at - interval '2 days' WHERE id IN ($1, $2)",
            [run_id, child_id],
        )
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = NULL WHERE id = $1',
            [child_id],
        )
        assert engine.execute_once(run_id).outcome == "completed"
        assert child_of(engine, run_id, "child") == child_id

    def test_a_parent_whose_writer_died_before_it_started_the_child_starts_it(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        define_child(engine)

        def body(step: Any) -> Any:
            return (yield step.run_workflow("child", 1))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        first = child_of(engine, run_id, "child")
        unlink(engine, run_id)
        engine.conn.execute(f'DELETE FROM "{engine.schema}".workflow_runs WHERE id = $1', [first])
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1',
            [run_id],
        )
        assert engine.execute_once(run_id).outcome == "parked"
        second = child_of(engine, run_id, "child")
        assert second != first
        engine.execute_once(second)
        assert engine.finish(run_id)["output"] == ["done", 1]


def unlink(engine: Engine, run_id: str) -> None:
    engine.conn.execute(
        f'UPDATE "{engine.schema}".step_attempts SET child_workflow_run_namespace_id = NULL,'
        " child_workflow_run_id = NULL WHERE workflow_run_id = $1",
        [run_id],
    )


@sync_and_async
def test_canceling_reaches_children_when_it_is_asked_to(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def parent(step: Any) -> Any:
        yield step.run_workflow("middle")

    def middle(step: Any) -> Any:
        yield step.run_workflow("leaf")

    engine.workflow(as_workflow(parent))
    engine.ow.workflow("middle")(as_workflow(middle))
    runs = [engine.start() for _ in range(2)]
    below = []
    for run_id in runs:
        engine.execute_once(run_id)
        child_id = child_of(engine, run_id, "middle")
        engine.execute_once(child_id)
        below.append([child_id, child_of(engine, child_id, "leaf")])
    for run_id, children in zip(runs, (False, True), strict=True):
        engine.ow.get_run(run_id).cancel(children=children)
    statuses = [[engine.row(each)["status"] for each in level] for level in below]
    assert statuses == [["running", "pending"], ["canceled", "canceled"]]


@sync_and_async
def test_a_wait_that_the_code_no_longer_comes_to_does_not_keep_the_run_awake(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    define_child(engine)
    executions = []

    def body(step: Any) -> Any:
        executions.append(1)
        if len(executions) == 1:
            yield step.run_workflow("child")
        else:
            yield step.sleep("long", "1h")

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    engine.execute_once(run_id)
    engine.execute_once(child_of(engine, run_id, "child"))
    assert engine.execute_once(run_id).outcome == "parked"
    row = engine.row(run_id)
    assert row["available_at"] - row["updated_at"] > timedelta(minutes=59)


def test_input_survives_as_it_was_given(engine: Engine) -> None:
    value = {"text": "grüße", "list": [1, 2.5, None, True], "deep": {"a": {"b": []}}}

    def body(step: Step) -> Any:
        return step.run_workflow("child", value)

    define_child(engine)
    engine.workflow(body)
    run_id = engine.start()
    engine.execute_once(run_id)
    engine.execute_once(child_of(engine, run_id, "child"))
    assert engine.finish(run_id)["output"] == ["done", json.loads(json.dumps(value))]


@sync_and_async
def test_a_wait_that_was_given_up_stays_so_though_the_child_had_just_ended(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    """Its end was committed after we had looked, with a time before ours."""

    def body(step: Any) -> Any:
        try:
            yield step.run_workflow("child", timeout="50ms")
        except ChildFailed as failure:
            outcome = type(failure).__name__
        yield step.sleep("nap", "1h")
        return outcome

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    while "nap" not in dict(engine.statuses(run_id)):
        engine.execute_once(run_id)
    engine.conn.execute(
        f"UPDATE \"{engine.schema}\".workflow_runs SET status = 'completed', available_at = NULL,"
        " finished_at = created_at WHERE workflow_name = 'child'"
    )
    assert engine.finish(run_id)["output"] == "ChildTimedOut"


@sync_and_async
def test_the_input_of_a_child_is_what_it_was_when_the_child_was_asked_for(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        items: list[int] = []
        for n in range(3):
            items.append(n)
            step.submit_workflow("child", items, name=f"child-{n}")
        yield step.sleep("nap", 60)

    engine.workflow(as_workflow(body))
    engine.execute_once(engine.start())
    inputs = engine.conn.execute(
        f"SELECT input FROM \"{engine.schema}\".workflow_runs WHERE workflow_name = 'child'"
    ).fetchall()
    assert sorted(inputs) == [([0],), ([0, 1],), ([0, 1, 2],)]
