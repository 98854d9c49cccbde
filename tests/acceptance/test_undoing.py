"""Undos are executed by workers: after failures and cancellations, in order, whatever is killed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from owsuper import OpenWorkflow
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.tables import eventually
from tests.acceptance.test_killed_processes import kill_children
from tests.acceptance.undone import names

MODULE = "tests.acceptance.undone"
WORKFLOWS = ("undone", "undone-async")
CANCEL = """UPDATE {schema}.workflow_runs
    SET status = 'canceled', worker_id = NULL, available_at = NULL, finished_at = now()
    WHERE id = $1"""


def start(deployment: Deployment, count: int, *, fails: bool) -> list[str]:
    inputs = [{"fails": fails}] * count
    return [run_id for name in WORKFLOWS for run_id in deployment.start(name, *inputs)]


def undoing(deployment: Deployment, ids: Sequence[str]) -> list[str]:
    """The ids of the runs that undo these."""
    rows = deployment.query(
        """SELECT context ->> 'undoneBy' FROM {schema}.workflow_runs
        WHERE id = ANY ($1) AND context ->> 'undoneBy' IS NOT NULL""",
        list(ids),
    )
    return [run_id for (run_id,) in rows]


def is_parked(deployment: Deployment, run_id: str) -> bool:
    query = "SELECT worker_id FROM {schema}.workflow_runs WHERE id = $1 AND status = 'running'"
    return deployment.query(query, run_id) == [(None,)]


def check_undone(deployment: Deployment, ids: Sequence[str], *, repeats: int = 0) -> None:
    """All steps of these runs are undone, in order, and none again once that was committed."""
    others = undoing(deployment, ids)
    assert len(others) == len(ids)
    deployment.wait_until_ended(others)
    assert {run.status for run in deployment.runs(others)} == {"completed"}
    expected = [f"undo {name}" for name in reversed(names())]
    again = 0
    for run_id in ids:
        undos = [
            each.step
            for each in deployment.journal.executions()
            if each.run == run_id and each.step.startswith("undo ")
        ]
        assert list(dict.fromkeys(undos)) == expected
        assert undos == sorted(undos, key=expected.index)
        again += len(undos) - len(expected)
    assert again <= repeats
    recorded = deployment.query(
        """SELECT workflow_run_id, array_agg(step_name ORDER BY finished_at)
        FROM {schema}.step_attempts WHERE workflow_run_id = ANY ($1) AND status = 'completed'
        GROUP BY workflow_run_id""",
        others,
    )
    assert [steps for _, steps in recorded] == [expected] * len(others)


def test_a_worker_undoes_what_fails_and_what_is_canceled_by_sql(deployment: Deployment) -> None:
    worker = deployment.worker(module=MODULE)
    failing, parked = start(deployment, 1, fails=True), start(deployment, 1, fails=False)
    deployment.wait_until_ended(failing)
    for run_id in parked:
        eventually("it is parked", lambda run_id=run_id: is_parked(deployment, run_id))
        deployment.query(CANCEL, run_id)
    check_undone(deployment, [*failing, *parked])
    worker.stop()
    successor = deployment.worker(module=MODULE)  # it knows from the table
    (run_id, *_) = start(deployment, 1, fails=True)
    deployment.wait_until_ended([run_id])
    check_undone(deployment, [run_id])
    successor.stop()


def test_a_worker_with_burst_undoes_before_it_stops(deployment: Deployment) -> None:
    ids = start(deployment, 1, fails=True)
    worker = deployment.worker("--burst", wait=False, module=MODULE)
    assert worker.program.wait() == 0
    check_undone(deployment, ids)


@pytest.mark.slow
@pytest.mark.once
def test_undos_are_paused_by_their_own_name(deployment: Deployment, database_url: str) -> None:
    ids = start(deployment, 1, fails=True)
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    try:
        paused = [f"undo:{name}" for name in WORKFLOWS]
        for name in paused:
            ow.pause_workflow(name)
        assert deployment.worker("--burst", wait=False, module=MODULE).program.wait() == 0
        assert {run.status for run in deployment.runs(ids)} == {"failed"}
        assert {run.status for run in deployment.runs(undoing(deployment, ids))} == {"pending"}
        for name in paused:
            ow.resume_workflow(name)
    finally:
        ow.close()
    assert deployment.worker("--burst", wait=False, module=MODULE).program.wait() == 0
    check_undone(deployment, ids)


@pytest.mark.slow
def test_children_that_are_killed_repeat_no_undo_that_was_committed(
    deployment: Deployment, rng: random.Random
) -> None:
    kills = scaled(12)
    ids = start(deployment, scaled(30), fails=True)
    worker = deployment.worker(module=MODULE, processes=2, concurrency=2, max_crashes=1000)
    kill_children(deployment, worker, kills, rng)
    deployment.wait_until_ended(ids)
    check_undone(deployment, ids, repeats=kills * 2)
