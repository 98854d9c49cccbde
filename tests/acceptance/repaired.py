"""A workflow whose last steps fail with a bad input."""

from __future__ import annotations

from typing import Any

from owsuper import AsyncStep, NonRetryableError, OpenWorkflow, Step
from tests.acceptance.app import areport, report

ow = OpenWorkflow()

Input = dict[str, Any]
LINKS = 4


def check(input: Input) -> None:
    if not input.get("good"):
        raise NonRetryableError("bad input")


@ow.workflow("repaired")
def repaired(step: Step, input: Input) -> list[str]:
    names = [f"link-{n}" for n in range(2 * LINKS)]
    tokens = [step.run(name, report, step.run_id, name) for name in names[:LINKS]]
    step.run("check", check, input)
    return tokens + [step.run(name, report, step.run_id, name) for name in names[LINKS:]]


@ow.workflow("repaired-async")
async def repaired_async(step: AsyncStep, input: Input) -> list[str]:
    names = [f"link-{n}" for n in range(2 * LINKS)]
    tokens = [await step.run(name, areport, step.run_id, name) for name in names[:LINKS]]
    await step.run("check", check, input)
    return tokens + [await step.run(name, areport, step.run_id, name) for name in names[LINKS:]]
