"""Results of steps and runs, and inputs, in the types that they are annotated with."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

from owsuper import RetryPolicy, Step
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

SOON = RetryPolicy(initial_interval="100ms", maximum_attempts=5)


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
            yield step.sleep("nap", "1h")
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
            return {"id": "seven", "lines": []}

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
