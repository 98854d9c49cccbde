"""The network loses requests and answers at random, for workers and clients.

After a lost answer, a caller does not know whether the statement was executed, and must find out.
Nothing may be done twice, no completed work may be lost, and no failure may be charged to a run.
"""

from __future__ import annotations

import random

import pytest

from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.parents import check_parents, start_parents
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

SHAPE = {"steps": 4, "seconds": 0.003}


def test_hundreds_of_lost_requests_and_answers_repeat_no_step_and_lose_no_run(
    deployment: Deployment, proxy: Proxy
) -> None:
    losses = scaled(100)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    deployment.url = proxy.url
    ids: list[str] = []
    parents: list[str] = []
    with Clients(proxy.url, deployment.schema, SHAPE) as clients:
        workers = [deployment.worker(processes=2, concurrency=2) for _ in range(2)]
        proxy.misbehave(0.05, random.Random(seed))
        while sum(proxy.lost.values()) < losses:
            ids += deployment.start("linked", *[{**SHAPE, "nap": 0.02}] * 5)
            ids += deployment.start("linked-async", *[{**SHAPE, "nap": 0.02}] * 5)
            parents += start_parents(deployment, 2)
            deployment.wait_until_few_are_left(ids + parents, 5)
        proxy.misbehave(0, random.Random())
    ids += clients.started
    deployment.wait_until_ended(ids)
    clients.check(deployment)
    print(f"{proxy.lost}, {len(ids)} runs, {clients.refusals} refusals")
    assert check_chains(deployment, ids) == 0
    assert check_parents(deployment, parents) == 0
    for worker in workers:
        worker.stop()
        assert "child died" not in worker.log
    assert deployment.leased() == []
    assert deployment.crashes() == []
