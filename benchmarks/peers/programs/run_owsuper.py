"""owsuper, by the same rules as its peers: a client in one process, the worker as a command."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from protocol import HANG_SECONDS, SLOTS, URL, main, report

from owsuper import OpenWorkflow, Step

ow = OpenWorkflow(URL)


@ow.workflow("nothing")
def nothing(step: Step, steps: int) -> None:
    for _ in range(steps):
        step.run("nothing", _nothing)


@ow.workflow("stamp")
def stamp(step: Step, steps: int) -> None:
    step.run("stamp", report, "stamp")


@ow.workflow("hang")
def hang(step: Step, steps: int) -> None:
    step.run("hang", _hang)


def _nothing() -> None:
    pass


def _hang() -> None:
    report("hang")
    time.sleep(HANG_SECONDS)


class Owsuper:
    async def setup(self) -> None:
        os.execv(
            sys.executable, [sys.executable, "-m", "owsuper", "migrate", f"--database-url={URL}"]
        )

    async def backlog(self, count: int, steps: int) -> None:
        await ow.arun_many("nothing", [steps] * count)

    async def connect(self) -> None:
        pass

    async def start(self, job: str, steps: int) -> Any:
        return await ow.arun_workflow(job, steps)

    async def result(self, handle: Any) -> None:
        await handle.aresult(timeout=60)

    async def work(self) -> None:
        """One command, which has two processes that execute."""
        command = [sys.executable, "-m", "owsuper", f"--database-url={URL}", f"--module={__file__}"]
        command += ["--processes=2", f"--concurrency={SLOTS}", "--log-level=critical"]
        os.execv(sys.executable, command)


if __name__ == "__main__":
    main(Owsuper())
