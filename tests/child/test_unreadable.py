"""Executions of runs with JSON that jsonb can hold and Python cannot."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from owsuper.errors import InvalidData
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@sync_and_async
def test_an_input_that_cannot_be_read_fails_the_run_in_so_many_words(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        yield step.run("never", lambda: 1)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    claimed = replace(engine.claim(run_id), input_json=b'{"number": 1e400}')
    assert engine.execute_once(run_id, claimed).outcome == "failed"
    error = engine.row(run_id)["error"]
    assert error["name"] == "InvalidData"
    assert error["message"].startswith('input of workflow "main": cannot be read: number is')
    assert engine.steps(run_id) == []


@sync_and_async
def test_an_output_that_cannot_be_read_is_told_of_by_the_name_of_its_step(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        yield step.run("charge", lambda: 1)
        yield step.sleep("pause", "1h")

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    engine.conn.execute(
        f"""UPDATE "{engine.schema}".step_attempts SET output = '1e400'
            WHERE step_name = 'charge'""".encode()
    )
    with pytest.raises(InvalidData, match=r"^output of step 'charge': cannot be read: number is"):
        engine.execute_once(run_id)
