"""The application that acceptance tests run, whose steps count their every side effect."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from tests.acceptance.witness import ask, note

ow = OpenWorkflow()

Input = dict[str, Any]


def effect(run_id: str, step: str, seconds: float = 0) -> str:
    """What most steps do: be noted, work for a while."""
    token = note(run_id, step)
    if seconds:
        time.sleep(seconds)
    return token


async def aeffect(run_id: str, step: str, seconds: float = 0) -> str:
    token = note(run_id, step)
    await asyncio.sleep(seconds)
    return token


def gated(run_id: str, step: str) -> str:
    """Be noted, then do as the test says; ``go`` is to return."""
    token = note(run_id, step)
    obey(ask(run_id, step, token))
    return token


def obey(word: str) -> None:
    match word.split():
        case ["go"]:
            pass
        case ["fail"]:
            raise RuntimeError("told to fail")
        case ["exit", code]:
            os._exit(int(code))
        case ["segfault"]:
            ctypes.string_at(0)
        case ["signal", name]:
            os.kill(os.getpid(), signal.Signals[name])
            signal.pause()
        case ["hog", seconds]:
            hog(float(seconds))
        case _:
            raise ValueError(word)


def hog(seconds: float) -> None:
    """Spend time in C without giving up the interpreter: no other thread of ours runs."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


# --- one step after the other ----------------------------------------------------------------


@ow.workflow("chain")
def chain(step: Step, input: Input) -> list[str]:
    """``steps`` steps of ``seconds`` each."""
    names = [f"link-{n}" for n in range(input["steps"])]
    return [step.run(name, effect, step.run_id, name, input.get("seconds", 0)) for name in names]


@ow.workflow("chain-async")
async def chain_async(step: AsyncStep, input: Input) -> list[str]:
    names = [f"link-{n}" for n in range(input["steps"])]
    seconds = input.get("seconds", 0)
    return [await step.run(name, aeffect, step.run_id, name, seconds) for name in names]


def link(run_id: str, step: str, after: str, seconds: float) -> str:
    token = note(run_id, step, after)
    time.sleep(seconds)
    return token


async def alink(run_id: str, step: str, after: str, seconds: float) -> str:
    token = note(run_id, step, after)
    await asyncio.sleep(seconds)
    return token


@ow.workflow("linked")
def linked(step: Step, input: Input) -> list[str]:
    """As ``chain``, and each step notes what the one before it returned.

    In the middle the run waits for ``nap`` seconds, if it is given.
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


# --- side by side ------------------------------------------------------------------------------


@ow.workflow("fan")
def fan(step: Step, input: Input) -> list[str]:
    """``width`` parallel steps, and one that follows."""
    names = [f"ray-{n}" for n in range(input["width"])]
    seconds = input.get("seconds", 0)
    rays = [step.submit(name, effect, step.run_id, name, seconds) for name in names]
    tokens = [ray.result() for ray in rays]
    return [*tokens, step.run("join", effect, step.run_id, "join")]


@ow.workflow("fan-async")
async def fan_async(step: AsyncStep, input: Input) -> list[str]:
    names = [f"ray-{n}" for n in range(input["width"])]
    seconds = input.get("seconds", 0)
    rays = [step.run(name, aeffect, step.run_id, name, seconds) for name in names]
    tokens = await asyncio.gather(*rays)
    return [*tokens, await step.run("join", aeffect, step.run_id, "join")]


# --- steps that the test holds -----------------------------------------------------------------


@ow.workflow("held")
def held(step: Step, input: Input) -> list[str]:
    retry = RetryPolicy(initial_interval=input.get("retry_after", "50ms"))
    return [
        step.run("before", effect, step.run_id, "before"),
        step.run("held", gated, step.run_id, "held", retry=retry),
        step.run("after", effect, step.run_id, "after"),
    ]


@ow.workflow("held-async")
async def held_async(step: AsyncStep, input: Input) -> list[str]:
    retry = RetryPolicy(initial_interval=input.get("retry_after", "50ms"))
    return [
        await step.run("before", aeffect, step.run_id, "before"),
        await step.run("held", gated, step.run_id, "held", retry=retry),
        await step.run("after", aeffect, step.run_id, "after"),
    ]


@ow.workflow("held-fan")
def held_fan(step: Step, input: Input) -> list[str]:
    """``width`` parallel steps that are held, and one that follows."""
    names = [f"ray-{n}" for n in range(input["width"])]
    rays = [step.submit(name, gated, step.run_id, name) for name in names]
    tokens = [ray.result() for ray in rays]
    return [*tokens, step.run("join", effect, step.run_id, "join")]


# --- waiting -----------------------------------------------------------------------------------


@ow.workflow("nap")
def nap(step: Step, input: Input) -> list[str]:
    """A durable sleep of ``seconds`` between two steps."""
    before = step.run("before", effect, step.run_id, "before")
    step.sleep("nap", input["seconds"])
    return [before, step.run("after", effect, step.run_id, "after")]


@ow.workflow("nap-async")
async def nap_async(step: AsyncStep, input: Input) -> list[str]:
    before = await step.run("before", aeffect, step.run_id, "before")
    await step.sleep("nap", input["seconds"])
    return [before, await step.run("after", aeffect, step.run_id, "after")]


@ow.workflow("restless")
def restless(step: Step, input: Input) -> list[str]:
    """Park and come back ``times`` times: always due, never new."""
    tokens = []
    for n in range(input["times"]):
        tokens.append(step.run(f"turn-{n}", effect, step.run_id, f"turn-{n}"))
        step.sleep(f"rest-{n}", 0.001)
    return tokens


# --- parents, children and signals -------------------------------------------------------------


@ow.workflow("listen")
def listen(step: Step, signal: str) -> list[str]:
    """Wait to be told a token; that, and one of its own."""
    heard = step.wait_for_signal(signal, type=str)
    assert heard is not None
    return [heard.data, step.run("hear", effect, step.run_id, "hear")]


@ow.workflow("listen-async")
async def listen_async(step: AsyncStep, signal: str) -> list[str]:
    heard = await step.wait_for_signal(signal, type=str)
    assert heard is not None
    return [heard.data, await step.run("hear", aeffect, step.run_id, "hear")]


@ow.workflow("family")
def family(step: Step, input: Input) -> list[Any]:
    """Start ``children`` with two steps each and one that listens, and tell that one a token.

    The token, what the listener returned, and what the others did.
    """
    chains = [
        step.submit_workflow(chain, {"steps": 2, "seconds": 0.003}, name=f"child-{n}")
        for n in range(input["children"])
    ]
    news = f"news for {step.run_id}"
    listener = step.submit_workflow(listen, news, name="listener")
    token = step.run("before", effect, step.run_id, "before", 0.003)
    step.send_signal(news, token, name="tell", buffer=True)
    return [token, listener.result(), *(child.result() for child in chains)]


@ow.workflow("family-async")
async def family_async(step: AsyncStep, input: Input) -> list[Any]:
    chains = [
        step.submit_workflow(chain_async, {"steps": 2, "seconds": 0.003}, name=f"child-{n}")
        for n in range(input["children"])
    ]
    news = f"news for {step.run_id}"
    listener = step.submit_workflow(listen_async, news, name="listener")
    token = await step.run("before", aeffect, step.run_id, "before", 0.003)
    await step.send_signal(news, token, name="tell", buffer=True)
    return [token, await listener, *[await child for child in chains]]
