"""Workflows whose steps have undos. Steps and undos report every execution."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, Step
from tests.acceptance.step_reports import report_execution

ow = OpenWorkflow()

STEPS = 4
SECONDS = 0.005


def do(run_id: str, name: str) -> str:
    token = report_execution(run_id, name)
    time.sleep(SECONDS)
    return token


def take_back(run_id: str, name: str, token: str) -> None:
    """Undo a step; the report names the execution that is undone."""
    report_execution(run_id, f"undo {name}", token)
    time.sleep(SECONDS)


async def atake_back(run_id: str, name: str, token: str) -> None:
    take_back(run_id, name, token)


def names() -> list[str]:
    return [f"link-{n}" for n in range(STEPS)]


@ow.workflow("undone")
def undone(step: Step, input: Any) -> None:
    for name in names():
        step.run(name, do, step.run_id, name, undo=partial(take_back, step.run_id, name))
    if input["fails"]:
        raise ValueError("failed")
    step.sleep("nap", "1h")


@ow.workflow("undone-async")
async def undone_async(step: AsyncStep, input: Any) -> None:
    for name in names():
        await step.run(name, do, step.run_id, name, undo=partial(atake_back, step.run_id, name))
    if input["fails"]:
        raise ValueError("failed")
    await step.sleep("nap", "1h")
