"""A real child process for tests: ``python -m tests.child.application SOCK FLIGHT URL SCHEMA``."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from pathlib import Path

from owsuper import AsyncStep, OpenWorkflow, Step
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


if __name__ == "__main__":
    sock_fd, flight_fd, url, schema, lease = sys.argv[1:]
    settings = Settings(
        database_url=url,
        schema=schema,
        concurrency=2,
        lease=float(lease),
        graceful_timeout=float(os.environ.get("GRACEFUL", "20")),
    )
    sock = socket.socket(fileno=int(sock_fd))
    serve(ChildSpec(1, sock, int(flight_fd), settings, ow.registry))
