"""Workers of two versions at once: who has taken a run over does not lose it to the older one."""

from __future__ import annotations

import random

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.test_killed_processes import kill_children

pytestmark = pytest.mark.slow


def test_a_run_that_the_newer_version_has_begun_is_ended_by_it(
    deployment: Deployment,
    conn: psycopg.Connection,
    database_url: str,
    rng: random.Random,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options = {"module": "tests.acceptance.routed", "processes": 2, "concurrency": 2}
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    ids = [
        ow.run_workflow(name, {"nap": 0.02}, version=version).id
        for _ in range(scaled(25))
        for name in ("routed", "routed-async")
        for version in ("1", None)
    ]
    ow.close()
    deployment.worker(**options)  # the older version goes on serving, as in a rolling deployment
    deployment.wait_until_few_are_left(ids, len(ids) - 1)  # so it has ended one
    monkeypatch.setenv("TEST_OF_VERSIONS", "1")
    worker = deployment.worker(max_crashes=1000, **options)
    kill_children(deployment, worker, scaled(10), rng)
    deployment.wait_until_ended(ids)
    table = f'"{deployment.schema}".workflow_runs'
    versions = dict(conn.execute(f"SELECT id, version FROM {table}").fetchall())
    ended = {run_id for run_id, step in deployment.recorded(ids) if step == "end"}
    assert set(versions.values()) == {"1", "2"}
    assert ended == {run_id for run_id, version in versions.items() if version == "2"}
    assert {run.status for run in deployment.runs(ids)} == {"completed"}
