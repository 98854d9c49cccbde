"""What the workers in Python serve beside those in TypeScript."""

from __future__ import annotations

from typing import Any

from owsuper import AsyncStep, OpenWorkflow, Step

ow = OpenWorkflow()

Input = dict[str, Any]


@ow.workflow("py-greet")
def greet(step: Step, input: Input) -> Input:
    name = step.run("name", input["name"].upper)
    step.sleep("pause", 0.01)
    return {"greeting": f"hello {name}", "from": "Python"}


@ow.workflow("py-fail")
def fail(step: Step, input: Input) -> None:
    raise LookupError("no such thing in Python")


@ow.workflow("py-parent")
async def parent(step: AsyncStep, input: Input) -> Input:
    return {"child": await step.run_workflow(input["child"], input["input"])}


@ow.workflow("py-wait")
def wait(step: Step, input: Input) -> Any:
    return step.wait_for_signal(input["signal"], timeout="1h")


@ow.workflow("py-wait-number")
def wait_number(step: Step, input: Any) -> Any:
    return step.wait_for_signal(input["signal"], timeout="1h", type=int, on_invalid="skip")


@ow.workflow("py-send")
def send(step: Step, input: Input) -> list[str]:
    return step.send_signal(input["signal"], input["data"])


@ow.workflow("py-chain")
def chain(step: Step, input: Input) -> str:
    """Continue as new, ``left`` times."""
    step.run("tick", lambda: input["left"])
    if input["left"]:
        step.continue_as_new({"left": input["left"] - 1})
    return "the last"


@ow.workflow("py-slow")
async def slow(step: AsyncStep, input: Input) -> None:
    await step.sleep("long", "1h")
