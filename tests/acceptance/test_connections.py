"""How many connections a worker has open, in each state: the server counts them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.acceptance.tables import eventually
from tests.acceptance.world import World, scaled

pytestmark = pytest.mark.slow

SUPERVISOR = {"owsuper supervisor", "owsuper listener"}
SHAPE = {"steps": 6, "seconds": 0.02}


def connections(world: World) -> Counter[str]:
    """By who has them open. Each test has workers with a name space of their own."""
    rows = world.query(
        """
        SELECT application_name FROM pg_stat_activity
        WHERE application_name IN ('owsuper supervisor', 'owsuper listener')
            OR application_name LIKE 'owsuper child %'
        """
    )
    return Counter(name for (name,) in rows)


def most(world: World, ids: list[str]) -> Counter[str]:
    """The most that each has open at any time while these runs are worked on."""
    seen: Counter[str] = Counter()

    def look() -> bool:
        nonlocal seen
        ended = world.ended(ids)()
        seen |= connections(world)
        return ended

    eventually("all runs ended", look)
    return seen


def test_a_worker_has_two_connections_and_each_busy_child_two_and_an_idle_one_none(
    fragile_world: World,
) -> None:
    world = fragile_world  # a server of its own, or others would be counted
    worker = world.worker(processes=2, concurrency=8, lease="3s")
    assert connections(world).keys() == SUPERVISOR
    ids = [
        *world.start("chain", *[SHAPE] * scaled(60)),
        *world.start("fan", *[{"width": 4, "seconds": 0.08}] * scaled(10)),
        *world.start("nap", *[{"seconds": 0.3}] * scaled(30)),
    ]
    seen = most(world, ids)
    assert {seen[name] for name in SUPERVISOR} == {1}
    children = {name: count for name, count in seen.items() if name not in SUPERVISOR}
    assert children.keys() == {"owsuper child 1", "owsuper child 2"}
    assert max(children.values()) <= 2

    eventually("idle children hang up", lambda: connections(world).keys() == SUPERVISOR)
    [run] = world.start("held", {})
    arrival = world.gate.next()
    assert connections(world).total() <= 2 + 2
    arrival.say("go")
    world.wait_until_ended([run])  # it connects again when it is needed
    worker.stop()
    assert connections(world).total() == 0
    assert "WARNING" not in worker.log


def test_awaiting_runs_share_the_two_connections_of_their_child(fragile_world: World) -> None:
    world = fragile_world
    worker = world.worker("--no-listen", processes=1, concurrency=100, poll_interval="100ms")
    ids = [
        *world.start("chain-async", *[SHAPE] * scaled(100)),
        *world.start("nap-async", *[{"seconds": 0.3}] * scaled(100)),
    ]
    seen = most(world, ids)
    assert seen.pop("owsuper supervisor") == 1  # and without listening, no other
    assert seen.keys() == {"owsuper child 1"}
    assert seen["owsuper child 1"] <= 2
    worker.stop()
    assert "WARNING" not in worker.log
