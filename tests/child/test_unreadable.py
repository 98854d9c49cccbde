"""Passes over JSON that jsonb can hold and Python cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.child.colours import Body, both

from owsuper import InvalidData
from tests.child.conftest import Engine

Colour = Callable[[Body], Callable[..., Any]]


@both
def test_an_input_that_cannot_be_read_fails_the_run_in_so_many_words(
    engine: Engine, colour: Colour
) -> None:
    def body(step: Any) -> Any:
        yield step.run("never", lambda: 1)

    engine.workflow(colour(body))
    run_id = engine.start()
    claimed = replace(engine.claim(run_id), input_json=b'{"number": 1e400}')
    assert engine.one_pass(run_id, claimed).outcome == "failed"
    error = engine.row(run_id)["error"]
    assert error["name"] == "InvalidData"
    assert error["message"].startswith('input of workflow "main": cannot be read: number is')
    assert engine.steps(run_id) == []


@both
def test_an_output_that_cannot_be_read_is_told_of_by_the_name_of_its_step(
    engine: Engine, colour: Colour
) -> None:
    def body(step: Any) -> Any:
        yield step.run("charge", lambda: 1)
        yield step.sleep("pause", "20ms")

    engine.workflow(colour(body))
    run_id = engine.start()
    assert engine.one_pass(run_id).outcome == "parked"
    engine.conn.execute(
        f"""UPDATE "{engine.schema}".step_attempts SET output = '1e400'
            WHERE step_name = 'charge'""".encode()
    )
    with pytest.raises(InvalidData, match=r"^output of step 'charge': cannot be read: number is"):
        engine.one_pass(run_id)
