"""What a step writes in its transaction is there exactly once, whatever is killed or lost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import psycopg
import pytest

from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.test_killed_processes import kill_children
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

STEPS = 4
WORKFLOWS = ("ledger", "ledger-async")


@pytest.fixture(autouse=True)
def table(conn: psycopg.Connection, schema: str) -> None:
    conn.execute(f'CREATE TABLE "{schema}".ledger (run_id text, step text)')


def start(deployment: Deployment, count: int) -> list[str]:
    shapes = [{"schema": deployment.schema}] * count
    return [run_id for name in WORKFLOWS for run_id in deployment.start(name, *shapes)]


def check_ledger(deployment: Deployment, conn: psycopg.Connection, ids: Sequence[str]) -> None:
    """The runs are completed, and each step has written one line."""
    rows = conn.execute(f'SELECT run_id, step FROM "{deployment.schema}".ledger').fetchall()
    assert [run.status for run in deployment.runs(ids)] == ["completed"] * len(ids)
    expected = {(run_id, f"link-{n}") for run_id in ids for n in range(STEPS)}
    assert Counter(rows) == dict.fromkeys(expected, 1)


def test_children_that_are_killed_at_any_moment_write_once(
    deployment: Deployment, conn: psycopg.Connection, rng: random.Random
) -> None:
    ids = start(deployment, scaled(60))
    worker = deployment.worker(
        module="tests.acceptance.ledger", processes=2, concurrency=2, max_crashes=1000
    )
    kill_children(deployment, worker, scaled(12), rng)
    deployment.wait_until_ended(ids)
    check_ledger(deployment, conn, ids)


def test_requests_and_answers_that_are_lost_write_once(
    deployment: Deployment, conn: psycopg.Connection, proxy: Proxy
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    deployment.url = proxy.url
    workers = [
        deployment.worker(module="tests.acceptance.ledger", processes=2, concurrency=2)
        for _ in range(2)
    ]
    proxy.misbehave(0.05, random.Random(seed))
    ids: list[str] = []
    while sum(proxy.lost.values()) < scaled(100):
        ids += start(deployment, 5)
        deployment.wait_until_few_are_left(ids, 5)
    proxy.misbehave(0, random.Random())
    deployment.wait_until_ended(ids)
    print(f"{proxy.lost}, {len(ids)} runs")
    check_ledger(deployment, conn, ids)
    for worker in workers:
        worker.stop()
        assert "child died" not in worker.log
    assert deployment.crashes() == []
