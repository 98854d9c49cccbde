"""The time of a test stands still while code is executed."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy
from owsuper.testing import InProcessWorker


def test_short_pauses_of_parallel_steps_do_not_end_while_time_stands_still() -> None:
    policy = RetryPolicy(maximum_attempts=3, initial_interval="1ms")
    ow = OpenWorkflow()

    def fail() -> None:
        raise ValueError("no")

    async def main(step: AsyncStep) -> list[Any]:
        calls = [step.run("a", fail, retry=policy), step.run("b", fail, retry=policy)]
        return [str(error) for error in await asyncio.gather(*calls, return_exceptions=True)]

    looks = 0

    def now() -> datetime:
        nonlocal looks
        looks += 1
        return worker.now

    workflow = ow.workflow("main")(main)
    with InProcessWorker(ow) as worker:
        worker.plan.now = now
        run_id = worker.start(workflow)
        worker.finish(run_id)
        assert worker.read(workflow, run_id).result == ["no", "no"]
    assert looks < 200
