"""Two versions of a workflow: the environment says which one a worker has."""

from __future__ import annotations

import os
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, Step
from tests.acceptance.app import areport, report

ow = OpenWorkflow()

Input = dict[str, Any]
LINKS = 5
NEW = bool(os.environ.get("TEST_OF_VERSIONS"))
VERSION: dict[str, Any] = {"version": "1"}
if NEW:
    VERSION = {"version": "2", "compatible_with": ["1", None]}


@ow.workflow("routed", **VERSION)
def routed(step: Step, input: Input) -> list[str]:
    """Five steps with pauses before them; the second version has one more step at its end."""
    tokens = []
    for n in range(LINKS):
        step.sleep(f"nap-{n}", input["nap"])
        tokens.append(step.run(f"link-{n}", report, step.run_id, f"link-{n}"))
    if NEW:
        tokens.append(step.run("end", report, step.run_id, "end"))
    return tokens


@ow.workflow("routed-async", **VERSION)
async def routed_async(step: AsyncStep, input: Input) -> list[str]:
    tokens = []
    for n in range(LINKS):
        await step.sleep(f"nap-{n}", input["nap"])
        tokens.append(await step.run(f"link-{n}", areport, step.run_id, f"link-{n}"))
    if NEW:
        tokens.append(await step.run("end", areport, step.run_id, "end"))
    return tokens
