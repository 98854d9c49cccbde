"""Workflows that continue as new, again and again."""

from __future__ import annotations

from typing import Any

from owsuper import AsyncStep, OpenWorkflow, Step
from tests.acceptance.step_reports import report_execution

ow = OpenWorkflow()

Input = dict[str, Any]


@ow.workflow("endless")
def endless(step: Step, input: Input) -> list[str]:
    """Run a step in each of ``left`` + 1 runs; return the tokens of all."""
    token = step.run("tick", report_execution, step.run_id, "tick")
    tokens = [*input.get("tokens", []), token]
    if input["left"]:
        step.continue_as_new({"left": input["left"] - 1, "tokens": tokens})
    return tokens


@ow.workflow("endless-async")
async def endless_async(step: AsyncStep, input: Input) -> list[str]:
    token = await step.run("tick", report_execution, step.run_id, "tick")
    tokens = [*input.get("tokens", []), token]
    if input["left"]:
        step.continue_as_new({"left": input["left"] - 1, "tokens": tokens})
    return tokens


@ow.workflow("endless-child")
def parent(step: Step, input: Input) -> list[str]:
    return step.run_workflow(endless, input)
