"""The application of the acceptance tests. Its steps report every execution."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from tests.acceptance.commands import execute_command, hog
from tests.acceptance.step_reports import report_execution, wait_for_command

ow = OpenWorkflow()

Input = dict[str, Any]


def report(run_id: str, step: str, seconds: float = 0) -> str:
    """Report the execution, then work for a while."""
    token = report_execution(run_id, step)
    if seconds:
        time.sleep(seconds)
    return token


async def areport(run_id: str, step: str, seconds: float = 0) -> str:
    token = report_execution(run_id, step)
    await asyncio.sleep(seconds)
    return token


def report_and_wait(run_id: str, step: str) -> str:
    """Report the execution, then execute the test's command; ``go`` means to return."""
    token = report_execution(run_id, step)
    execute_command(wait_for_command(run_id, step, token))
    return token


def report_and_hog(run_id: str, step: str, seconds: float) -> str:
    """Report the execution, then let no other thread of the process run."""
    token = report_execution(run_id, step)
    hog(seconds)
    return token


@ow.workflow("leaky")
def leaky(step: Step, input: Input) -> list[str]:
    """Leave memory behind in the process, at once."""
    leaked.append(b"x" * (input["megabytes"] << 20))
    return [step.run("only", report, step.run_id, "only")]


leaked: list[bytes] = []


# --- one step after the other ----------------------------------------------------------------


@ow.workflow("chain")
def chain(step: Step, input: Input) -> list[str]:
    """Run ``steps`` steps of ``seconds`` each."""
    names = [f"link-{n}" for n in range(input["steps"])]
    return [step.run(name, report, step.run_id, name, input.get("seconds", 0)) for name in names]


@ow.workflow("chain-async")
async def chain_async(step: AsyncStep, input: Input) -> list[str]:
    names = [f"link-{n}" for n in range(input["steps"])]
    seconds = input.get("seconds", 0)
    return [await step.run(name, areport, step.run_id, name, seconds) for name in names]


def link(run_id: str, step: str, after: str, seconds: float) -> str:
    token = report_execution(run_id, step, after)
    time.sleep(seconds)
    return token


async def alink(run_id: str, step: str, after: str, seconds: float) -> str:
    token = report_execution(run_id, step, after)
    await asyncio.sleep(seconds)
    return token


@ow.workflow("linked")
def linked(step: Step, input: Input) -> list[str]:
    """Like ``chain``; each step also reports the result of the step before.

    In the middle, the run sleeps for ``nap`` seconds, if given.
    """
    tokens = [""]
    for n in range(input["steps"]):
        name = f"link-{n}"
        if n == input["steps"] // 2 and "nap" in input:
            step.sleep("nap", input["nap"])
        tokens.append(step.run(name, link, step.run_id, name, tokens[-1], input["seconds"]))
    return tokens[1:]


@ow.workflow("linked-async")
async def linked_async(step: AsyncStep, input: Input) -> list[str]:
    tokens = [""]
    for n in range(input["steps"]):
        name = f"link-{n}"
        if n == input["steps"] // 2 and "nap" in input:
            await step.sleep("nap", input["nap"])
        tokens.append(await step.run(name, alink, step.run_id, name, tokens[-1], input["seconds"]))
    return tokens[1:]


@ow.workflow("hog")
def hogging(step: Step, input: Input) -> list[str]:
    """Hold the interpreter lock for ``seconds``, from the beginning of the first step."""
    return [step.run("hog", report_and_hog, step.run_id, "hog", input["seconds"])]


# --- parallel steps ------------------------------------------------------------------------------


@ow.workflow("parallel")
def parallel(step: Step, input: Input) -> list[str]:
    """Run ``width`` parallel steps, and then one more."""
    names = [f"branch-{n}" for n in range(input["width"])]
    seconds = input.get("seconds", 0)
    branches = [step.submit(name, report, step.run_id, name, seconds) for name in names]
    tokens = [branch.result() for branch in branches]
    return [*tokens, step.run("after-branches", report, step.run_id, "after-branches")]


@ow.workflow("parallel-async")
async def parallel_async(step: AsyncStep, input: Input) -> list[str]:
    names = [f"branch-{n}" for n in range(input["width"])]
    seconds = input.get("seconds", 0)
    branches = [step.run(name, areport, step.run_id, name, seconds) for name in names]
    tokens = await asyncio.gather(*branches)
    return [*tokens, await step.run("after-branches", areport, step.run_id, "after-branches")]


# --- steps that the test holds -----------------------------------------------------------------


@ow.workflow("held")
def held(step: Step, input: Input) -> list[str]:
    retry = RetryPolicy(initial_interval=input.get("retry_after", "50ms"))
    timeout = input.get("timeout")
    return [
        step.run("before", report, step.run_id, "before"),
        step.run("held", report_and_wait, step.run_id, "held", retry=retry, timeout=timeout),
        step.run("after", report, step.run_id, "after"),
    ]


@ow.workflow("held-async")
async def held_async(step: AsyncStep, input: Input) -> list[str]:
    retry = RetryPolicy(initial_interval=input.get("retry_after", "50ms"))
    timeout = input.get("timeout")
    return [
        await step.run("before", areport, step.run_id, "before"),
        await step.run("held", report_and_wait, step.run_id, "held", retry=retry, timeout=timeout),
        await step.run("after", areport, step.run_id, "after"),
    ]


@ow.workflow("held-on-loop")
async def held_on_loop(step: AsyncStep, input: Input) -> list[str]:
    """Like ``held-async``, but what the step does blocks the event loop."""
    retry = RetryPolicy(initial_interval="50ms")
    held = partial(areport_and_wait, step.run_id, "held")
    return [
        await step.run("before", areport, step.run_id, "before"),
        await step.run("held", held, retry=retry, timeout=input.get("timeout")),
        await step.run("after", areport, step.run_id, "after"),
    ]


async def areport_and_wait(run_id: str, step: str) -> str:
    token = report_execution(run_id, step)
    word = await asyncio.to_thread(wait_for_command, run_id, step, token)
    execute_command(word)
    return token


@ow.workflow("held-parallel")
def held_parallel(step: Step, input: Input) -> list[str]:
    """Run ``width`` parallel steps that are held, and then one more."""
    names = [f"branch-{n}" for n in range(input["width"])]
    branches = [step.submit(name, report_and_wait, step.run_id, name) for name in names]
    tokens = [branch.result() for branch in branches]
    return [*tokens, step.run("after-branches", report, step.run_id, "after-branches")]


# --- code that gets in the way ------------------------------------------------------------------


@ow.workflow("stubborn")
def stubborn(step: Step, input: Input) -> list[str]:
    """Catch everything, also what ends the execution, and try again for ever."""
    while True:
        try:
            before = step.run("before", report, step.run_id, "before")
            step.sleep("nap", input["seconds"])
            return [before]
        except BaseException:
            continue


@ow.workflow("stubborn-async")
async def stubborn_async(step: AsyncStep, input: Input) -> list[str]:
    while True:
        try:
            before = await step.run("before", areport, step.run_id, "before")
            await step.sleep("nap", input["seconds"])
            return [before]
        except BaseException:
            continue


@ow.workflow("careless")
def careless(step: Step, input: Input) -> list[str]:
    """Catch everything around each step, and go on with the next."""
    tokens = []
    for n in range(input["steps"]):
        try:
            step.sleep(f"nap-{n}", input["seconds"])
            tokens.append(step.run(f"link-{n}", report, step.run_id, f"link-{n}"))
        except:  # noqa: E722 -- what users write
            continue
    return tokens


@ow.workflow("heavy")
def heavy(step: Step, input: Input) -> Input:
    """Return the input, which may be large, through a step."""
    step.run("begin", report, step.run_id, "begin")
    return step.run("echo", lambda: {"text": input["text"]})


# --- waiting -----------------------------------------------------------------------------------


@ow.workflow("nap")
def nap(step: Step, input: Input) -> list[str]:
    """Sleep durably for ``seconds`` between two steps."""
    before = step.run("before", report, step.run_id, "before")
    step.sleep("nap", input["seconds"])
    return [before, step.run("after", report, step.run_id, "after")]


@ow.workflow("nap-async")
async def nap_async(step: AsyncStep, input: Input) -> list[str]:
    before = await step.run("before", areport, step.run_id, "before")
    await step.sleep("nap", input["seconds"])
    return [before, await step.run("after", areport, step.run_id, "after")]


@ow.workflow("always-due")
def always_due(step: Step, input: Input) -> list[str]:
    """Park ``times`` times for a millisecond, so that the run is always due and never new."""
    tokens = []
    for n in range(input["times"]):
        tokens.append(step.run(f"turn-{n}", report, step.run_id, f"turn-{n}"))
        step.sleep(f"rest-{n}", 0.001)
    return tokens


# --- parents, children and signals -------------------------------------------------------------


@ow.workflow("listen")
def listen(step: Step, signal: str) -> list[str]:
    """Wait for a signal with a token. Returns that and a token of its own."""
    received = step.wait_for_signal(signal, type=str)
    assert received is not None
    return [received.data, step.run("receive", report, step.run_id, "receive")]


@ow.workflow("listen-async")
async def listen_async(step: AsyncStep, signal: str) -> list[str]:
    received = await step.wait_for_signal(signal, type=str)
    assert received is not None
    return [received.data, await step.run("receive", areport, step.run_id, "receive")]


@ow.workflow("parent")
def parent(step: Step, input: Input) -> list[Any]:
    """Start ``children`` child runs of two steps and one that listens, and signal a token to it.

    Returns the token, the listener's result, and the results of the others.
    """
    chains = [
        step.submit_workflow(chain, {"steps": 2, "seconds": 0.003}, name=f"child-{n}")
        for n in range(input["children"])
    ]
    signal_name = f"signal_name for {step.run_id}"
    listener = step.submit_workflow(listen, signal_name, name="listener")
    token = step.run("before", report, step.run_id, "before", 0.003)
    step.send_signal(signal_name, token, name="tell", buffer=True)
    return [token, listener.result(), *(child.result() for child in chains)]


@ow.workflow("parent-async")
async def parent_async(step: AsyncStep, input: Input) -> list[Any]:
    chains = [
        step.submit_workflow(chain_async, {"steps": 2, "seconds": 0.003}, name=f"child-{n}")
        for n in range(input["children"])
    ]
    signal_name = f"signal_name for {step.run_id}"
    listener = step.submit_workflow(listen_async, signal_name, name="listener")
    token = await step.run("before", areport, step.run_id, "before", 0.003)
    await step.send_signal(signal_name, token, name="tell", buffer=True)
    return [token, await listener, *[await child for child in chains]]
