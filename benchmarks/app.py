"""The workflows that are measured: those of ``owsuper bench`` and more.

The workers load this module.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from dataclasses import dataclass

from owsuper import AsyncStep, Step
from owsuper.bench.app import nothing, ow, report_and_wait


@dataclass
class SleepPlan:
    """``times`` sleeps of this many ``seconds``, after ``steps`` steps."""

    seconds: float
    times: int = 1
    steps: int = 0


@ow.workflow("sleep")
def sleep(step: Step, plan: SleepPlan) -> list[float]:
    """Return when the run woke from each sleep, in seconds since the epoch."""
    for _ in range(plan.steps):
        step.run("nothing", nothing)
    woke = []
    for _ in range(plan.times):
        step.sleep("sleep", plan.seconds)
        woke.append(step.run("woke", time.time))
    return woke


@ow.workflow("await")
async def await_seconds(step: AsyncStep, seconds: float) -> None:
    """Run a step that waits, as for an answer from elsewhere."""
    await step.run("await", asyncio.sleep, seconds)


@ow.workflow("fan-out")
async def fan_out(step: AsyncStep, children: int) -> None:
    """Wait for this many child runs of one step each."""
    runs = [step.run_workflow("no-op", 1, name=f"child-{n}") for n in range(children)]
    await asyncio.gather(*runs)


@ow.workflow("wait-for-child")
def wait_for_child(step: Step) -> list[float]:
    """Return when the only child run was about to end, and when this run had its result."""
    began: float = step.run_workflow("report-time")
    return [began, time.time()]


@ow.workflow("compute")
def compute(step: Step, rounds: int) -> list[float]:
    """Return when a step that computes began and ended, by the machine's monotonic clock."""
    return step.run("compute", timed_rounds, rounds)


def timed_rounds(rounds: int) -> list[float]:
    """Compute, and return when that began and ended, by the monotonic clock."""
    began = time.monotonic()
    compute_rounds(rounds)
    return [began, time.monotonic()]


def compute_rounds(rounds: int) -> int:
    """Compute in pure Python."""
    value = 1
    for each in range(rounds):
        value = (value * 31 + each) % 1_000_003
    return value


@ow.workflow("large")
def large(step: Step, text: str) -> str:
    """Have a large input, a large result of a step and a large result of the run."""
    return step.run("echo", echo, text)


def echo(text: str) -> str:
    """Return the argument."""
    return text


@ow.workflow("break-down")
def break_down(step: Step) -> None:
    """Run a step that ends its process in the way that it is told, or never ends."""
    step.run("break-down", break_down_as_told, timeout=TIMEOUT)


TIMEOUT = 1.0
"""Seconds, of the step ``break-down``."""


def break_down_as_told() -> None:
    """Report to REPORT_SOCKET, and do as the answer says."""
    match report_and_wait():
        case "segfault":
            ctypes.string_at(0)
        case "abort":
            os.abort()
        case "exit":
            os._exit(7)
        case "spin":
            while True:
                pass
