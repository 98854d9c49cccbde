"""What becomes of a run some of whose rows the database refuses."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from owsuper import Step
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


def forbid(engine: Engine, table: str) -> None:
    """Have the database refuse an output there, as it does those that are too large for it."""
    engine.conn.execute(
        f"""ALTER TABLE "{engine.schema}".{table}
        ADD CONSTRAINT decency CHECK (output IS DISTINCT FROM '"poison"')"""
    )


@sync_and_async
@pytest.mark.parametrize("table", ["step_attempts", "workflow_runs"])
def test_a_run_whose_end_is_refused_fails_at_once(
    engine: Engine, as_workflow: AsWorkflow, table: str
) -> None:
    forbid(engine, table)

    def body(step: Any) -> Any:
        return (yield step.run("brew", lambda: "poison"))

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "failed"
    row = engine.row(run_id)
    assert (row["status"], row["error"]["name"]) == ("failed", "CheckViolation")


@sync_and_async
def test_no_step_follows_on_one_whose_result_is_refused(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    forbid(engine, "step_attempts")
    drunk: list[str] = []

    def body(step: Any) -> Any:
        yield step.run("brew", lambda: "poison")
        yield step.run("drink", lambda: drunk.append("all"))

    engine.workflow(as_workflow(body))
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "failed"
    assert not drunk


def test_a_run_is_not_completed_without_a_step_that_is_refused_meanwhile(
    engine: Engine,
) -> None:
    forbid(engine, "step_attempts")
    refused = threading.Event()
    commit = engine.services.store.commit

    def watched(*args: Any) -> Any:
        try:
            return commit(*args)
        except Exception:
            refused.set()
            raise

    engine.services.store.commit = watched

    def body(step: Step, input: None) -> str:
        step.run("brew", lambda: "poison")
        assert refused.wait(30)
        return "done"

    engine.workflow(body)
    run_id = engine.start()

    assert engine.execute_once(run_id).outcome == "failed"
