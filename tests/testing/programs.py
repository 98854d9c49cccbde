"""Workflows that execute programs: lists of operations, drawn at random."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from owsuper import AsyncStep, NonRetryableError, OpenWorkflow, RetryPolicy, Step, current
from owsuper.errors import ChildFailed, StepFailed

ow = OpenWorkflow()

_TWICE = RetryPolicy(maximum_attempts=2, initial_interval="5ms")

Operation = dict[str, Any]


def fail_first(value: Any, failures: int, final: bool) -> list[Any]:
    """The first attempts of the step fail: the first ``failures``."""
    here = current()
    assert here is not None
    assert here.attempt is not None
    if here.attempt <= failures:
        raise (NonRetryableError if final else ValueError)(f"{value} {here.attempt}")
    return [value, here.step, here.attempt]


async def afail_first(*arguments: Any) -> list[Any]:
    await asyncio.sleep(0)
    return fail_first(*arguments)


def call_of(op: Operation, fn: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    policy = RetryPolicy(maximum_attempts=op["attempts"], initial_interval="5ms")
    return (op["name"], fn, op["value"], op["failures"], op["final"]), {"retry": policy}


def child_of(op: Operation, tag: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    program = {"operations": op["operations"], "tag": f"{tag}.{op['name']}"}
    return ((program_async if op["async"] else program_sync), program), {"name": op["name"]}


def wait_of(op: Operation, tag: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    options = {"name": op["name"], "timeout": op["timeout"], "on_invalid": op["invalid"]}
    return (f"{tag}:{op['signal']}",), {**options, "type": int}


def signal_of(op: Operation, tag: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return (f"{tag}:{op['signal']}", op["value"]), {"name": op["name"], "buffer": True}


@ow.workflow(retry=_TWICE)
def program_sync(step: Step, program: dict[str, Any]) -> Any:
    def execute(op: Operation) -> Any:
        match op["kind"]:
            case "run":
                arguments, options = call_of(op, fail_first)
                return step.run(*arguments, **options)
            case "sleep":
                return step.sleep(op["name"], op["duration"])
            case "map":
                return step.map(op["name"], str, range(op["count"]))
            case "parallel":
                return step.parallel(*[lambda each=each: execute(each) for each in op["branches"]])
            case "child":
                arguments, options = child_of(op, program["tag"])
                return step.run_workflow(*arguments, **options)
            case "wait":
                arguments, options = wait_of(op, program["tag"])
                signal = step.wait_for_signal(*arguments, **options)
                return signal and signal.data
            case "send":
                arguments, options = signal_of(op, program["tag"])
                return len(step.send_signal(*arguments, **options))
            case "raise":
                raise ValueError(op["message"])
        raise AssertionError(op)

    results = []
    for op in program["operations"]:
        try:
            results.append(execute(op))
        except (StepFailed, ChildFailed) as exc:
            if not op["caught"]:
                raise
            results.append(type(exc).__name__)
    return results


@ow.workflow(retry=_TWICE)
async def program_async(step: AsyncStep, program: dict[str, Any]) -> Any:
    async def execute(op: Operation) -> Any:
        match op["kind"]:
            case "run":
                arguments, options = call_of(op, afail_first if op["value"] % 2 else fail_first)
                return await step.run(*arguments, **options)
            case "sleep":
                return await step.sleep(op["name"], op["duration"])
            case "map":
                calls = [step.run(op["name"], str, number) for number in range(op["count"])]
                return await asyncio.gather(*calls)
            case "parallel":
                return await asyncio.gather(*map(execute, op["branches"]))
            case "child":
                arguments, options = child_of(op, program["tag"])
                return await step.run_workflow(*arguments, **options)
            case "wait":
                arguments, options = wait_of(op, program["tag"])
                signal = await step.wait_for_signal(*arguments, **options)
                return signal and signal.data
            case "send":
                arguments, options = signal_of(op, program["tag"])
                return len(await step.send_signal(*arguments, **options))
            case "raise":
                raise ValueError(op["message"])
        raise AssertionError(op)

    results = []
    for op in program["operations"]:
        try:
            results.append(await execute(op))
        except (StepFailed, ChildFailed) as exc:
            if not op["caught"]:
                raise
            results.append(type(exc).__name__)
    return results


def draw(rng: random.Random, *, depth: int = 0) -> list[Operation]:
    """Operations whose outcome does not depend on who is faster.

    Names are repeated, so that steps are numbered.
    """
    kinds = ["run", "run", "sleep", "map", "parallel", "wait", "send", "send", "raise"]
    kinds += ["child", "child"] * (depth < 2)

    def operation(kind: str, number: int) -> Operation:
        op: Operation = {"kind": kind, "caught": rng.random() < 0.5}
        op["name"] = f"{kind}-{rng.choice('abc')}"
        match kind:
            case "run":
                attempts = rng.randint(1, 3)
                failures = rng.choice([0, 0, 0, 1, 2, attempts])
                final = rng.random() < 0.1
                value = rng.randint(0, 9)
                op |= {"value": value, "attempts": attempts, "failures": failures, "final": final}
            case "sleep":
                op["duration"] = rng.choice(["0s", "3ms", "20ms"])
            case "map":
                op["count"] = rng.randint(0, 4)
            case "parallel":
                chosen = rng.choices(["run", "run", "sleep", "child"], k=rng.randint(1, 4))
                op["branches"] = [operation(each, place) for place, each in enumerate(chosen)]
                for place, branch in enumerate(op["branches"]):
                    branch["name"] = f"{branch['kind']}-{number}-{place}"
                    branch["failures"] = min(branch.get("failures", 0), 1)
                    branch["attempts"] = 2
                    branch["final"] = False
                    branch["operations"] = []
            case "child":
                op["name"] = f"child-{number}"
                op |= {"async": rng.random() < 0.5, "operations": draw(rng, depth=depth + 1)}
            case "wait":
                op |= {"signal": rng.choice("xy"), "timeout": rng.choice(["1ms", "30ms"])}
                op["invalid"] = rng.choice(["skip", "fail"])
            case "send":
                op |= {"signal": rng.choice("xy"), "value": rng.choice([1, 2, "no number"])}
            case "raise":
                op["message"] = f"message {number}"
        return op

    chosen = [kind for kind in rng.choices(kinds, k=rng.randint(0, 5)) if kind != "raise"]
    if rng.random() < 0.1:
        chosen.append("raise")
    return [operation(kind, number) for number, kind in enumerate(chosen)]
