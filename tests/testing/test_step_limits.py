"""Limits of steps in the process of a test: nothing waits, and what is wrong is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

import pytest

from owsuper import AsyncStep, Concurrency, OpenWorkflow, Rate, Step
from owsuper.testing import InProcessWorker, run_in_process
from owsuper.workflow import interactive

HOURLY = Rate(1, per="1h", name="hourly")
ow = OpenWorkflow()


@pytest.fixture(autouse=True)
def script(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this be no interactive session, for which a process of pytest-xdist may be taken."""
    monkeypatch.setattr(interactive, "is_session", lambda: False)


def double(number: int) -> int:
    return 2 * number


@ow.workflow
def all_doors(step: Step, input: dict[str, Any]) -> list[int]:
    submitted = step.submit("submitted", double, 2, limit=HOURLY)
    return [
        step.run("run", double, 1, limit=HOURLY),
        submitted.result(),
        *step.map("map", double, [3, 4], limit=HOURLY),
    ]


@ow.workflow
async def async_doors(step: AsyncStep, input: dict[str, Any]) -> list[int]:
    return [
        *await asyncio.gather(
            step.run("run", double, 1, limit=HOURLY), step.submit("s", double, 2, limit=HOURLY)
        ),
        *await step.map("map", double, [3, 4], limit=HOURLY),
    ]


@pytest.mark.parametrize("workflow", [all_doors, async_doors])
def test_steps_with_limits_do_not_wait(workflow: Any) -> None:
    with InProcessWorker(ow) as worker:
        began = worker.now
        run_id = worker.start(workflow, {})
        worker.finish(run_id)
        assert worker.read(workflow, run_id).result == [2, 4, 6, 8]
        assert worker.now == began


def error_of(make: Callable[[], Any], input: Any = None) -> str:
    """The error of a run of a workflow whose step has the limit that ``make`` returns."""
    own = OpenWorkflow()

    @own.workflow("w")
    def workflow(step: Step, input: dict[str, Any]) -> int:
        step.run("one", double, 1, limit=HOURLY)
        return step.run("call", double, 2, limit=make())

    error = run_in_process(workflow, input or {}).error
    assert error is not None
    return f"{error.name}: {error.message}"


def test_a_lambda_that_is_made_at_each_call_is_no_other_limit() -> None:
    own = OpenWorkflow()

    @own.workflow
    def twice(step: Step, input: dict[str, Any]) -> list[int]:
        return [
            step.run("call", double, n, limit=Rate(1, per="1s", key=lambda given: given["id"]))
            for n in range(2)
        ]

    assert run_in_process(twice, {"id": 7}).result == [0, 2]


@pytest.mark.parametrize(
    ("limit", "error"),
    [
        (Concurrency(2), r"Step 'call': limit=Concurrency\(.* step\.run_workflow\(\.\.\.\)"),
        ("100/min", "Step 'call': limit='100/min' must be a Rate"),
        (Rate(2, per="1h", name="hourly"), "Step 'call': the limit \"hourly\" is defined diff"),
    ],
)
def test_what_cannot_be_the_limit_of_a_step_is_refused(limit: Any, error: str) -> None:
    assert re.match("ConfigurationError: " + error, error_of(lambda: limit))


def test_a_cell_of_a_notebook_may_define_a_limit_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interactive, "is_session", lambda: True)
    own = OpenWorkflow()

    @own.workflow
    def again(step: Step, input: dict[str, Any]) -> list[int]:
        limits = (HOURLY, Rate(2, per="1h", name="hourly"))
        return [step.run("call", double, 1, limit=limit) for limit in limits]

    assert run_in_process(again, {}).result == [2, 2]


def test_a_limit_of_a_workflow_that_differs_is_refused() -> None:
    own = OpenWorkflow()

    @own.workflow(limits=[Rate(2, per="1s", name="hourly")])
    def limited(step: Step, input: dict[str, Any]) -> int:
        return step.run("call", double, 2, limit=HOURLY)

    error = run_in_process(limited, {}).error
    assert error is not None
    assert 'the limit "hourly" is defined differently' in error.message


@pytest.mark.parametrize(
    ("input", "error"),
    [
        (
            {},
            r'input of workflow "w": it has no "tenant", and the limit "w/call/rate/tenant" needs',
        ),
        ({"tenant": [1]}, r'input\.tenant of workflow "w": \[1\] cannot be the key of a limit'),
    ],
)
def test_an_input_without_a_key_fails_the_run(input: Any, error: str) -> None:
    found = error_of(lambda: Rate(1, per="1s", key="tenant"), input)
    assert re.match("InvalidData: " + error, found)


def test_what_the_function_of_a_key_raises_is_raised_by_the_step() -> None:
    found = error_of(lambda: Rate(1, per="1s", key=lambda _: 1 // 0))
    assert found.startswith("ZeroDivisionError: ")
