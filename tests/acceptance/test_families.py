"""Parents, children and signals, while the processes that execute them are killed."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from tests.acceptance.families import check_families, start_families
from tests.acceptance.world import World, scaled, wait_until_dead

pytestmark = pytest.mark.slow


def test_nothing_is_started_or_told_twice_when_nothing_goes_wrong(world: World) -> None:
    families = start_families(world, scaled(20))
    worker = world.worker()
    assert check_families(world, families) == 0
    worker.stop()
    assert "WARNING" not in worker.log


@pytest.mark.parametrize("concurrency", [1, 4])
def test_children_killed_under_load_lose_and_double_nothing(
    world: World, concurrency: int, chance: random.Random
) -> None:
    kills = scaled(10)
    families = start_families(world, scaled(15))
    worker = world.worker(concurrency=concurrency, max_crashes=1000)
    for _ in range(kills):
        world.journal.wait_for_next(chance.randrange(2, 14))
        if victims := worker.children():
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)
    assert check_families(world, families) <= kills * concurrency
    worker.stop()
    assert world.leased() == []


def test_killed_supervisors_lose_and_double_nothing(world: World, chance: random.Random) -> None:
    families = start_families(world, scaled(15))
    for _ in range(scaled(3)):
        worker = world.worker(lease="3s")
        world.journal.wait_for_next(chance.randrange(5, 30))
        orphans = worker.program.descendants()
        worker.kill()
        wait_until_dead(orphans)
    successor = world.worker(lease="3s")
    assert check_families(world, families) == 0
    successor.stop()


def test_workers_killed_as_a_whole_lose_and_double_nothing(
    world: World, chance: random.Random
) -> None:
    families, rounds = start_families(world, scaled(15)), scaled(3)
    for _ in range(rounds):
        worker = world.worker(lease="1s")
        world.journal.wait_for_next(chance.randrange(5, 30))
        worker.signal_all(signal.SIGKILL)
    successor = world.worker(lease="1s")
    assert check_families(world, families) <= rounds * 8
    successor.stop()
