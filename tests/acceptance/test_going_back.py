"""Runs that go back to a step under kills: what stands is not executed again, and the rest is."""

from __future__ import annotations

import random

import pytest

from owsuper import OpenWorkflow
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.repaired import LINKS
from tests.acceptance.test_killed_processes import kill_children

pytestmark = [pytest.mark.slow, pytest.mark.once]


def test_children_that_are_killed_execute_no_step_again_that_stands(
    deployment: Deployment, database_url: str, rng: random.Random
) -> None:
    ids = [
        run_id
        for name in ("repaired", "repaired-async")
        for run_id in deployment.start(name, *[{"good": True}] * scaled(20))
    ]
    worker = deployment.worker(
        module="tests.acceptance.repaired", processes=2, concurrency=2, max_crashes=1000
    )
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    try:
        runs = [ow.get_run(run_id) for run_id in ids]
        before = [run.result(timeout=120) for run in runs]
        executed = {key: len(each) for key, each in deployment.journal.by_step().items()}
        for run in runs:
            run.retry(f"link-{LINKS}")
        kill_children(deployment, worker, scaled(6), rng)
        after = [run.result(timeout=120) for run in runs]
        assert [len(ow.list_retries(run_id)) for run_id in ids] == [1] * len(ids)
    finally:
        ow.close()
    for old, new in zip(before, after, strict=True):
        assert new[:LINKS] == old[:LINKS]
        assert not {*new[LINKS:]} & {*old[LINKS:]}
    counts = {key: len(each) for key, each in deployment.journal.by_step().items()}
    again = {key for key in counts if counts[key] > executed.get(key, 0)}
    steps = [f"link-{n}" for n in range(LINKS, 2 * LINKS)]
    assert again == {(run_id, step) for run_id in ids for step in steps}
