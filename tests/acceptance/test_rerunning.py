"""Reruns under kills: what is kept is not executed again, and the rest is executed."""

from __future__ import annotations

import random

import pytest

from owsuper import OpenWorkflow, RunFailed
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.repaired import LINKS
from tests.acceptance.test_killed_processes import kill_children

pytestmark = pytest.mark.slow


def test_children_that_are_killed_execute_no_kept_step_again(
    deployment: Deployment, database_url: str, rng: random.Random
) -> None:
    ids = [
        run_id
        for name in ("repaired", "repaired-async")
        for run_id in deployment.start(name, *[{}] * scaled(30))
    ]
    worker = deployment.worker(
        module="tests.acceptance.repaired", processes=2, concurrency=2, max_crashes=1000
    )
    deployment.wait_until_ended(ids)
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    try:
        sources = [ow.get_run(run_id) for run_id in ids]
        for source in sources:
            with pytest.raises(RunFailed, match="bad input"):
                source.result(timeout=10)
        kept = deployment.recorded(ids)
        before = sum(map(len, deployment.journal.by_step().values()))
        again = [source.rerun("check", input={"good": True}) for source in sources]
        kill_children(deployment, worker, scaled(10), rng)
        results = [run.result(timeout=120) for run in again]
    finally:
        ow.close()
    for source, run, tokens in zip(ids, again, results, strict=True):
        first = [kept[source, f"link-{n}"] for n in range(LINKS)]
        own = deployment.recorded([run.id])
        assert tokens[:LINKS] == first
        assert tokens == [own[run.id, f"link-{n}"] for n in range(2 * LINKS)]
    executed = deployment.journal.by_step()
    assert {step for run_id, step in executed if run_id in {run.id for run in again}} == {
        f"link-{n}" for n in range(LINKS, 2 * LINKS)
    }
    assert sum(len(executed[key]) for key in executed if key[0] in set(ids)) == before
