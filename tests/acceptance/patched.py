"""A workflow before and after a change: the environment says which code a worker has."""

from __future__ import annotations

import os
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, Step
from tests.acceptance.app import areport, report

ow = OpenWorkflow()

Input = dict[str, Any]
NEW = bool(os.environ.get("TEST_OF_PATCHES"))
LINKS = 6


@ow.workflow("patched")
def patched(step: Step, input: Input) -> list[str]:
    """Six steps, with a pause in the middle; with the new code, also a step at both ends."""
    tokens = [step.run("begin", report, step.run_id, "begin")]
    if NEW and step.patched("tax"):
        tokens.append(step.run("tax", report, step.run_id, "tax"))
    for n in range(LINKS):
        step.sleep(f"nap-{n}", input["nap"])
        tokens.append(step.run(f"link-{n}", report, step.run_id, f"link-{n}"))
    if NEW and step.patched("tax"):
        tokens.append(step.run("tax-report", report, step.run_id, "tax-report"))
    return tokens


@ow.workflow("patched-async")
async def patched_async(step: AsyncStep, input: Input) -> list[str]:
    tokens = [await step.run("begin", areport, step.run_id, "begin")]
    if NEW and step.patched("tax"):
        tokens.append(await step.run("tax", areport, step.run_id, "tax"))
    for n in range(LINKS):
        await step.sleep(f"nap-{n}", input["nap"])
        tokens.append(await step.run(f"link-{n}", areport, step.run_id, f"link-{n}"))
    if NEW and step.patched("tax"):
        tokens.append(await step.run("tax-report", areport, step.run_id, "tax-report"))
    return tokens
