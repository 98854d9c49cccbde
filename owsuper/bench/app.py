"""The workflows that are measured. The worker serves this module."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from dataclasses import dataclass

from owsuper import AsyncStep, OpenWorkflow, Step

REPORTS = "BENCH_REPORTS"
"""Environment variable: path of the Unix socket to which ``hang`` reports."""

ow = OpenWorkflow()


@ow.workflow("stamp")
def stamp(step: Step) -> float:
    """When its user code began: seconds since the epoch."""
    return step.run("stamp", time.time)


@ow.workflow("no-op")
def no_op(step: Step, steps: int) -> None:
    """So many steps, one after the other, that do nothing."""
    for _ in range(steps):
        step.run("nothing", nothing)


def nothing() -> None:
    pass


@dataclass
class Dozing:
    """``times`` sleeps of so many ``seconds``, after ``steps`` steps."""

    seconds: float
    times: int = 1
    steps: int = 0


@ow.workflow("doze")
def doze(step: Step, plan: Dozing) -> list[float]:
    """When it woke from each sleep: seconds since the epoch."""
    for _ in range(plan.steps):
        step.run("nothing", nothing)
    woke = []
    for _ in range(plan.times):
        step.sleep("doze", plan.seconds)
        woke.append(step.run("woke", time.time))
    return woke


@ow.workflow("wait")
async def wait(step: AsyncStep, seconds: float) -> None:
    """A step that waits, as for an answer from somewhere."""
    await step.run("wait", asyncio.sleep, seconds)


@ow.workflow("burn")
def burn(step: Step, rounds: int) -> list[float]:
    """When a step that computes began and ended, by the machine's monotonic clock."""
    return step.run("burn", burn_for, rounds)


def burn_for(rounds: int) -> list[float]:
    began = time.monotonic()
    compute(rounds)
    return [began, time.monotonic()]


def compute(rounds: int) -> int:
    """Pure Python."""
    value = 1
    for each in range(rounds):
        value = (value * 31 + each) % 1_000_003
    return value


@ow.workflow("large")
def large(step: Step, text: str) -> str:
    """A large input, a large result of a step and a large result of the run."""
    return step.run("echo", echo, text)


def echo(text: str) -> str:
    return text


@ow.workflow("hang")
def hang(step: Step) -> None:
    """A step that lasts until it is told to go, or its process is killed."""
    step.run("hang", report)


def report() -> None:
    """Say when and where we run, and wait for the answer."""
    began = time.monotonic()
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(os.environ[REPORTS])
        line.sendall(f"{began!r} {os.getpid()}\n".encode())
        line.recv(16)
