"""A standing backlog: neither new runs nor those that were begun keep the others waiting."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World, scaled

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("concurrency", [1, 4])
def test_runs_that_wake_up_get_through_a_backlog_of_new_ones(
    world: World, concurrency: int
) -> None:
    naps = world.start("nap", *[{"seconds": 0.1}] * 5)
    backlog = world.start("chain", *[{"steps": 1, "seconds": 0.002}] * scaled(1500))
    world.worker(processes=1, concurrency=concurrency)
    world.wait_until_ended([*naps, *backlog])
    executions = world.check([*naps, *backlog])
    woken = [each.at for each in executions if each.step == "after"]
    still_to_come = [each for each in executions if each.run in set(backlog)]
    left = sum(each.at > max(woken) for each in still_to_come)
    assert left > len(backlog) // 3, f"the last one came through with {left} of the backlog left"


def test_new_runs_get_through_runs_that_are_always_due_again(world: World) -> None:
    world.worker(processes=1, concurrency=2)
    restless = world.start("restless", *[{"times": scaled(40)}] * 10)
    world.journal.wait_for_more(50)
    new = world.start("chain", *[{"steps": 1}] * 20)
    world.wait_until_ended(new)
    assert not world.ended(restless)()
    world.wait_until_ended(restless)
    world.check([*new, *restless])
