"""What every program of a peer does, whichever library it measures.

``python run_X.py setup|backlog|worker|client``, with PEER_URL, PEER_REPORTS and PEER_SLOTS in the
environment. A client reads commands from its standard input, one a line, and answers each with a
line of JSON; it ends with its input. This runs in the peer's own environment, so it imports
nothing but the standard library.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

URL = os.environ["PEER_URL"]
SLOTS = int(os.environ.get("PEER_SLOTS", "16"))
CALLERS = 16
HANG_SECONDS = 3600.0

_REPORTS = ("127.0.0.1", int(os.environ.get("PEER_REPORTS", "0")))
_line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


class Program(Protocol):
    """``job`` is ``nothing`` (so many steps), ``stamp`` or ``hang`` (one step)."""

    async def setup(self) -> None:
        """Create the tables and queues."""

    async def backlog(self, count: int, steps: int) -> None:
        """So many runs of ``nothing``, in whatever way is fastest."""

    async def connect(self) -> None:
        """Be ready to start runs, by up to CALLERS callers at once."""

    async def start(self, job: str, steps: int) -> Any:
        """Start one run; what it returns is what ``result`` wants."""

    async def result(self, handle: Any) -> None:
        """Wait until the run has ended."""

    async def work(self) -> None:
        """Execute runs, SLOTS at once, until killed."""


def report(job: str) -> None:
    """Tell the driver that ``job`` has begun here; the first line of user code."""
    began = time.time()
    _line.sendto(f"{job} {began!r} {os.getpid()}".encode(), _REPORTS)


def main(program: Program) -> None:
    asyncio.run(_main(program, sys.argv[1], [int(each) for each in sys.argv[2:]]))


async def _main(program: Program, command: str, numbers: list[int]) -> None:
    # For libraries whose asynchronous calls are blocking ones in the loop's threads.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(2 * CALLERS))
    if command == "setup":
        await program.setup()
    elif command == "backlog":
        await program.backlog(*numbers)
    elif command == "worker":
        await program.work()
    elif command == "client":
        await program.connect()
        await _serve(program)
    sys.stdout.flush()
    os._exit(0)  # without waiting for whatever threads and pools the library has


async def _serve(program: Program) -> None:
    lines = ThreadPoolExecutor(1)
    loop = asyncio.get_running_loop()
    print(json.dumps({"ready": True}), flush=True)
    while line := await loop.run_in_executor(lines, sys.stdin.readline):
        command, *arguments = line.split()
        print(json.dumps(await _answer(program, command, arguments)), flush=True)


async def _answer(program: Program, command: str, arguments: list[str]) -> dict[str, float]:
    if command == "start":
        called = time.time()
        await program.start(arguments[0], 1)
        return {"called": called}
    if command == "roundtrip":
        called = time.perf_counter()
        await program.result(await program.start("nothing", 1))
        return {"seconds": time.perf_counter() - called}
    if command == "enqueue":
        return await _enqueue(program, float(arguments[0]))
    raise ValueError(command)


async def _enqueue(program: Program, seconds: float) -> dict[str, float]:
    """CALLERS at once, each of which has made a call before any of them counts."""
    await asyncio.gather(*(program.start("nothing", 1) for _ in range(CALLERS)))
    began = time.perf_counter()
    counts = await asyncio.gather(*(_call(program, began + seconds) for _ in range(CALLERS)))
    return {"count": sum(counts), "seconds": time.perf_counter() - began}


async def _call(program: Program, until: float) -> int:
    count = 0
    while time.perf_counter() < until:
        await program.start("nothing", 1)
        count += 1
    return count
