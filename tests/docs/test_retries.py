"""What docs/retries.md says of retries and deadlines is so."""

from __future__ import annotations

import shlex

import pytest

from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

RETRIES = Document("docs/retries.md")


def result(connected: Sandbox, name: str, start: str) -> str:
    """What the run that ``start`` starts, of the block's workflow, returns."""
    connected.write("flows.py", RETRIES[name])
    connected.worker("owsuper --processes 1 --module flows.py")
    program = f"from flows import *; print({start}.result(timeout=30))"
    return connected.run(f"python -c {shlex.quote(program)}").strip()


@RETRIES.covers("policy")
def test_a_step_is_retried_as_the_policy_says(connected: Sandbox) -> None:
    assert result(connected, "policy", "forecast.run('Bergen')") == "Bergen: rain"
    assert (connected.directory / "asked").read_text() == "Bergen\n" * 3


@RETRIES.covers("conditions")
def test_what_is_not_worth_repeating_is_called_once(connected: Sandbox) -> None:
    assert result(connected, "conditions", "order.run('ada')") == str(
        [
            "reserve: HTTPError, status 404",
            "look-up: KeyError, 'ada'",
            "charge: Declined, no funds",
        ]
    )


@RETRIES.covers("workflow")
def test_the_workflow_function_is_retried_as_its_policy_says(connected: Sandbox) -> None:
    assert result(connected, "workflow", "publish.run()") == "2"
    assert (connected.directory / "tried").read_text() == "xx"


@RETRIES.covers("deadline")
def test_a_deadline_cancels_what_is_awaited(connected: Sandbox) -> None:
    connected.write("flows.py", RETRIES["deadline"])
    worker = connected.worker("owsuper --processes 1 --module flows.py")
    worker.stderr.wait_for("ready: ")
    printed = connected.run("python flows.py")
    assert printed == "Workflow patient failed: Workflow run deadline exceeded\n"
    worker.stdout.wait_for("^cancelled$")


@RETRIES.covers("step-timeout")
def test_a_time_out_fails_each_attempt_of_a_step(connected: Sandbox) -> None:
    connected.write("flows.py", RETRIES["step-timeout"])
    connected.worker("owsuper --processes 1 --module flows.py")
    assert connected.run("python flows.py") == (
        "no answer: Step 'ask' did not end within its timeout of 0.3 s\n"
    )


@RETRIES.covers("step-limit")
@pytest.mark.slow
def test_a_workflow_may_have_more_steps_than_others(connected: Sandbox) -> None:
    squares = sum(n * n for n in range(1200))
    assert result(connected, "step-limit", "count.run(1200)") == str(squares)


def test_every_block_of_the_document_is_executed() -> None:
    assert RETRIES.unexecuted() == []
