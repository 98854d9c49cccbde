"""Runs that are woken by hand while their processes are killed end as if time had passed."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from owsuper import OpenWorkflow
from owsuper.errors import RunNotWakeable
from tests.acceptance.deployment import Deployment, scaled

pytestmark = pytest.mark.slow


def test_each_step_is_executed_once_around_sleeps_that_are_ended(
    deployment: Deployment, database_url: str, rng: random.Random
) -> None:
    shapes = [{"seconds": 3600}] * scaled(30)
    ids = [*deployment.start("nap", *shapes), *deployment.start("nap-async", *shapes)]
    worker = deployment.worker(max_crashes=1000)
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    kills, left = 0, set(ids)
    until_kill = rng.randrange(len(ids))
    try:
        while left:
            for run_id in sorted(left):
                handle = ow.get_run(run_id)
                with suppress(RunNotWakeable):  # it is being executed
                    handle.wake()
                until_kill -= 1
                if until_kill < 0 and (children := worker.children()):
                    with suppress(ProcessLookupError):
                        os.kill(rng.choice(children), signal.SIGKILL)
                        kills += 1
                        until_kill = rng.randrange(40)
            left = {run.id for run in deployment.runs(ids) if run.status != "completed"}
    finally:
        ow.close()
    assert kills
    deployment.check(ids, repeats=2 * 8 * kills)
