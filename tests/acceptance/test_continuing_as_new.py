"""A run that continues as new has one successor, whatever is killed or lost: never none or two."""

from __future__ import annotations

import random
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.test_killed_processes import kill_children
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

LINKS = 6
WORKFLOWS = ("endless", "endless-async", "endless-child")


def start(deployment: Deployment, count: int) -> list[str]:
    shapes = [{"left": LINKS - 1}] * count
    return [run_id for name in WORKFLOWS for run_id in deployment.start(name, *shapes)]


def wait_until_ended(deployment: Deployment, database_url: str, ids: list[str]) -> list[Any]:
    """The results at the ends of the chains."""
    ow = OpenWorkflow(database_url, schema=deployment.schema)
    try:
        return [ow.get_run(run_id).result(timeout=120) for run_id in ids]
    finally:
        ow.close()


def check_chains(
    deployment: Deployment, conn: psycopg.Connection, ids: list[str], results: list[Any]
) -> None:
    """Each chain has its runs once, and each run has ticked into the result once."""
    rows = conn.execute(
        "SELECT id, status, context ->> 'continuedFrom', context ->> 'continuedAs'"
        f' FROM "{deployment.schema}".workflow_runs'
    ).fetchall()
    assert {status for _, status, *_ in rows} == {"completed"}
    parents = len(ids) // len(WORKFLOWS)
    assert len(rows) == len(ids) * LINKS + parents
    forward = {before: after for before, _, _, after in rows if after}
    back = {after: before for after, _, before, _ in rows if before}
    assert {after: before for before, after in forward.items()} == back
    assert len(forward) == len(ids) * (LINKS - 1)
    assert [len(set(tokens)) for tokens in results] == [LINKS] * len(ids)


def test_children_that_are_killed_at_any_moment_leave_one_successor(
    deployment: Deployment, conn: psycopg.Connection, database_url: str, rng: random.Random
) -> None:
    ids = start(deployment, scaled(30))
    worker = deployment.worker(
        module="tests.acceptance.endless", processes=2, concurrency=2, max_crashes=1000
    )
    kill_children(deployment, worker, scaled(13), rng)
    results = wait_until_ended(deployment, database_url, ids)
    check_chains(deployment, conn, ids, results)


def test_requests_and_answers_that_are_lost_leave_one_successor(
    deployment: Deployment, conn: psycopg.Connection, database_url: str, proxy: Proxy
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    deployment.url = proxy.url
    worker = deployment.worker(module="tests.acceptance.endless", processes=2, concurrency=2)
    proxy.misbehave(0.05, random.Random(seed))
    ids: list[str] = []
    results: list[Any] = []
    while sum(proxy.lost.values()) < scaled(60):
        new = start(deployment, 3)
        results += wait_until_ended(deployment, database_url, new)
        ids += new
    proxy.misbehave(0, random.Random())
    check_chains(deployment, conn, ids, results)
    worker.stop()
    assert "child died" not in worker.log
