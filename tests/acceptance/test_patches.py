"""A run takes one branch of a patch from its beginning to its end, whatever is killed."""

from __future__ import annotations

import random

import psycopg
import pytest

from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.test_killed_processes import kill_children

pytestmark = pytest.mark.slow

WORKFLOWS = ("patched", "patched-async")


def start(deployment: Deployment, count: int) -> list[str]:
    return [
        run_id for name in WORKFLOWS for run_id in deployment.start(name, *[{"nap": 0.02}] * count)
    ]


def test_runs_in_progress_take_the_old_branch_and_new_runs_the_new_one(
    deployment: Deployment,
    conn: psycopg.Connection,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, size = "tests.acceptance.patched", {"processes": 2, "concurrency": 2}
    old_worker = deployment.worker(module=module, **size)
    before = start(deployment, scaled(20))
    deployment.wait_until_begun(before, timeout=60)
    old_worker.stop()
    monkeypatch.setenv("TEST_OF_PATCHES", "1")
    worker = deployment.worker(module=module, max_crashes=1000, **size)
    after = start(deployment, scaled(40))
    kill_children(deployment, worker, scaled(10), rng)
    deployment.wait_until_ended([*before, *after])
    steps: dict[str, set[str]] = {}
    for run_id, name in conn.execute(
        f'SELECT workflow_run_id, step_name FROM "{deployment.schema}".step_attempts'
        " WHERE status = 'completed'"
    ):
        steps.setdefault(run_id, set()).add(name)
    markers = dict(
        conn.execute(
            f'SELECT workflow_run_id, output FROM "{deployment.schema}".step_attempts'
            " WHERE step_name = 'patched:tax'"
        ).fetchall()
    )
    ended_before = set(before) - markers.keys()
    new_branch = {run_id for run_id, answer in markers.items() if answer is True}
    assert set(after) <= new_branch
    assert ended_before | {run_id for run_id, answer in markers.items() if answer is False}
    for run_id, names in steps.items():
        both = {"tax", "tax-report"} & names
        assert both == ({"tax", "tax-report"} if run_id in new_branch else set())
    assert [run.status for run in deployment.runs([*before, *after])] == ["completed"] * len(
        [*before, *after]
    )
