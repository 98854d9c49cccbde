"""A real child process for tests: ``python -m tests.child.application SOCK FLIGHT URL SCHEMA``."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import socket
import sys
import threading
import time
from pathlib import Path

from owsuper import AsyncStep, OpenWorkflow, Step, logs
from owsuper.child.main import serve
from owsuper.child.spec import ChildSpec
from owsuper.settings import Settings

ow = OpenWorkflow()


def hold(directory: str) -> str:
    """Say that we are here; return when told to, by files in ``directory``."""
    Path(directory, "entered").touch()
    while not Path(directory, "go").exists():
        time.sleep(0.005)
    return "held"


@ow.workflow("quick")
def quick(step: Step, input: int) -> int:
    return step.run("double", lambda: input * 2)


@ow.workflow("two-steps")
def two_steps(step: Step, input: str) -> str:
    step.run("hold", hold, input)
    step.run("after", lambda: Path(input, "after").touch())
    return "done"


@ow.workflow("async-two-steps")
async def async_two_steps(step: AsyncStep, input: str) -> str:
    await step.run("hold", hold, input)
    await step.run("after", lambda: Path(input, "after").touch())
    return "done"


@ow.workflow("endless")
async def endless(step: AsyncStep, input: str) -> None:
    await step.run("wait", wait_for_ever, input)


@ow.workflow("endless-fan")
async def endless_fan(step: AsyncStep, input: str) -> None:
    step.submit("wait", wait_for_ever, input)  # and returns


@ow.workflow("endless-within")
def endless_within(step: Step, input: str) -> None:
    step.run("wait", wait_for_ever, input)


async def wait_for_ever(directory: str) -> None:
    Path(directory, "entered").touch()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        Path(directory, "cancelled").touch()
        raise


@ow.workflow("exit")
def exit_(step: Step) -> None:
    step.run("leave", os._exit, 7)


@ow.workflow("threads")
def threads(step: Step, input: bool) -> None:
    """Let the system give this process threads again, or no more threads."""
    step.run("threads", threading.stack_size, 0 if input else 1 << 46)


@ow.workflow("parallel")
def parallel(step: Step, input: int) -> list[int]:
    return step.parallel(lambda: input, lambda: input * 2)


@ow.workflow("async-quick")
async def async_quick(step: AsyncStep, input: int) -> int:
    return await step.run("double", lambda: input * 2)


@ow.workflow("nap-twice")
def nap_twice(step: Step) -> str:
    step.sleep("nap", 0.05)
    step.sleep("nap", 0.05)
    return "done"


@ow.workflow("async-nap-twice")
async def async_nap_twice(step: AsyncStep) -> str:
    await step.sleep("nap", 0.05)
    await step.sleep("nap", 0.05)
    return "done"


@ow.workflow("leak-descriptors")
def leak_descriptors(step: Step, input: str) -> str:
    return step.run("leak", leak, input)


@ow.workflow("async-leak-descriptors")
async def async_leak_descriptors(step: AsyncStep, input: str) -> str:
    return await step.run("leak", leak, input)


def leak(directory: str) -> str:
    """Open all descriptors that this process may have, and report each call."""
    with Path(directory, "calls").open("a") as calls:
        calls.write("called\n")
    resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
    with contextlib.suppress(OSError):
        while True:
            os.dup(1)
    return "leaked"


@ow.workflow("break-the-loop")
async def break_the_loop(step: AsyncStep) -> None:
    async def close() -> None:
        loop = asyncio.get_running_loop()
        loop._selector.close()
        await asyncio.sleep(60)

    await step.run("break", close)


if __name__ == "__main__":
    sock_fd, flight_fd, url, schema, lease = sys.argv[1:]
    logs.configure("warning")
    settings = Settings(
        database_url=url,
        schema=schema,
        concurrency=2,
        lease=float(lease),
        graceful_timeout=float(os.environ.get("GRACEFUL", "20")),
    )
    sock = socket.socket(fileno=int(sock_fd))
    serve(ChildSpec(1, sock, int(flight_fd), settings, ow.registry))
