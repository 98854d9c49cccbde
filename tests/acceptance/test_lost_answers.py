"""The network loses requests and answers, at random, from everybody who talks to the database.

Whoever loses an answer does not know whether it was done. They must find out: nothing may be
done twice, nothing be given up that was done, and nobody be charged with a failure.
"""

from __future__ import annotations

import random

import pytest

from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.families import check_families, start_families
from tests.acceptance.world import World, scaled
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

SHAPE = {"steps": 4, "seconds": 0.003}


def test_hundreds_of_lost_requests_and_answers_repeat_no_step_and_lose_no_run(
    world: World, proxy: Proxy
) -> None:
    losses = scaled(100)
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    world.url = proxy.url
    ids: list[str] = []
    families: list[str] = []
    with Clients(proxy.url, world.schema, SHAPE) as clients:
        workers = [world.worker(processes=2, concurrency=2) for _ in range(2)]
        proxy.misbehave(0.05, random.Random(seed))
        while sum(proxy.lost.values()) < losses:
            ids += world.start("linked", *[{**SHAPE, "nap": 0.02}] * 5)
            ids += world.start("linked-async", *[{**SHAPE, "nap": 0.02}] * 5)
            families += start_families(world, 2)
            world.wait_until_few_are_left(ids + families, 5)
        proxy.misbehave(0, random.Random())
    ids += clients.started
    world.wait_until_ended(ids)
    clients.check(world)
    print(f"{proxy.lost}, {len(ids)} runs, {clients.refusals} refusals")
    assert check_chains(world, ids) == 0
    assert check_families(world, families) == 0
    for worker in workers:
        worker.stop()
        assert "child died" not in worker.log
    assert world.leased() == []
    assert world.crashes() == []
