"""Runs that go back to a step and are executed again; sync and async workflows."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from owsuper import NonRetryableError, RetryPolicy, Step, StepFailed
from owsuper.errors import RunNotRetryable
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)


@sync_and_async
class TestGoingBack:
    def test_the_steps_from_there_on_are_called_again_under_the_same_id(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        first, other, charge = calls("first"), calls("other", ValueError("no")), calls("charge")
        ship = calls("ship", NonRetryableError("wrong address"), "shipped")
        told: list[str] = []

        def body(step: Any) -> Any:
            told.append(step.run_id)
            yield step.run("first", first)
            with suppress(StepFailed):
                yield step.run("other", other, retry=ONCE)
            yield step.sleep("nap", "30m")
            yield step.run("charge", charge)
            yield step.sleep("cool-off", "30m")
            return (yield step.run("ship", ship))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["status"] == "failed"
        engine.ow.get_run(run_id).retry("charge")
        row = engine.finish(run_id)
        assert (row["status"], row["output"], row["error"]) == ("completed", "shipped", None)
        assert calls.made == ["first", "other", "charge", "ship", "charge", "ship"]
        assert set(told) == {run_id}

    def test_a_completed_run_gets_another_result(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        quote, send = calls("quote", 7, 8), calls("send", None, None)

        def body(step: Any) -> Any:
            price = yield step.run("quote", quote)
            yield step.run("send", send)
            return price

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["output"] == 7
        engine.ow.get_run(run_id).retry("quote")
        assert engine.finish(run_id)["output"] == 8
        assert engine.ow.get_run(run_id).result(timeout=10) == 8
        [retry] = engine.ow.list_retries(run_id)
        assert (retry.status, retry.output) == ("completed", 7)

    def test_child_runs_are_started_anew_and_those_of_steps_before_are_not(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        pack = calls("pack", "p1", "p2", "p3")

        @engine.ow.workflow("child")
        def child(step: Step) -> str:
            return str(step.run("pack", pack))

        def body(step: Any) -> Any:
            return [
                (yield step.run_workflow("child", name="one")),
                (yield step.run_workflow("child", name="two")),
            ]

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        finish_with_children(engine, run_id)
        assert engine.row(run_id)["output"] == ["p1", "p2"]
        engine.ow.get_run(run_id).retry("two")
        finish_with_children(engine, run_id)
        assert engine.row(run_id)["output"] == ["p1", "p3"]
        assert len(engine.ow.list_runs(parent=run_id).items) == 3

    def test_what_it_does_then_is_undone_if_it_fails(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        charge, undone = calls("charge", "c1", "c2"), list[str]()
        check = calls("check", None, NonRetryableError("no"))

        def body(step: Any) -> Any:
            yield step.run("reserve", lambda: "r", undo=undone.append)
            yield step.run("charge", charge, undo=undone.append)
            yield step.run("check", check)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["status"] == "completed"
        engine.ow.get_run(run_id).retry("charge")
        row = engine.finish(run_id)
        assert row["status"] == "failed"
        engine.finish(row["context"]["undoneBy"])
        assert undone == ["c2", "r"]
        with pytest.raises(RunNotRetryable, match="undoes its steps"):
            engine.ow.get_run(run_id).retry("charge")


def finish_with_children(engine: Engine, run_id: str) -> None:
    while engine.row(run_id)["status"] in ("pending", "running"):
        engine.execute_once(run_id)
        for child in engine.ow.list_runs(parent=run_id).items:
            if not child.status.is_terminal:
                engine.finish(child.id)
