"""What is due is taken up at once: by the bell, by timers, and behind them by polling."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.tables import Tables
from tests.acceptance.world import World

pytestmark = pytest.mark.slow

# So long that only the bell and the timers can be why anything happens.
NEVER = "1h"
SOON = 10.0  # seconds; an hour is not soon
# When things are due is said by the wall clock, and it is measured here by the monotonic one,
# which an adjustment of the former does not move.
CLOCKS = 0.01  # seconds


def test_a_run_inserted_by_others_is_picked_up_by_the_bell(world: World) -> None:
    world.worker(poll_interval=NEVER)
    for _ in range(20):
        world.wait_until_begun(world.start("chain", {"steps": 1}), timeout=SOON)
    ids = world.start("chain", *[{"steps": 2}] * 50)
    world.wait_until_ended(ids, timeout=SOON)
    world.check(ids)


def test_of_runs_that_are_inserted_all_at_once_none_is_left_lying(world: World) -> None:
    """Most of these transactions do not ring the bell, because another one is just doing it."""
    world.worker(poll_interval=NEVER)

    def insert(count: int) -> list[str]:
        with Tables(world.url, world.schema) as tables:
            return [run for _ in range(count) for run in tables.start("chain", {"steps": 1})]

    with ThreadPoolExecutor(8) as clients:
        ids = [run for each in clients.map(insert, [50] * 8) for run in each]
    world.wait_until_ended(ids, timeout=SOON)
    world.check(ids)


def test_without_notifications_runs_are_found_by_polling(world: World) -> None:
    worker = world.worker("--no-listen", poll_interval="50ms")
    ids = world.start("chain", {"steps": 2}) + world.start("nap", {"seconds": 0.1})
    world.wait_until_ended(ids, timeout=SOON)
    world.check(ids)
    worker.stop()


def test_scheduled_runs_begin_when_they_are_due_and_not_before(world: World) -> None:
    world.worker(poll_interval=NEVER)
    began = time.monotonic()
    later = world.start("chain", {"steps": 1}, due_in=1.5)
    sooner = world.start("chain", {"steps": 1}, due_in=0.5)
    world.wait_until_ended([*sooner, *later], timeout=SOON)
    at = {each.run: each.at - began for each in world.check([*sooner, *later])}
    assert at[sooner[0]] >= 0.5 - CLOCKS
    assert at[later[0]] >= 1.5 - CLOCKS


def test_runs_that_were_scheduled_before_the_worker_started_begin_on_time(world: World) -> None:
    began = time.monotonic()
    ids = world.start("chain", {"steps": 1}, due_in=3)
    world.worker(poll_interval=NEVER)
    world.wait_until_ended(ids, timeout=SOON)
    [execution] = world.check(ids)
    assert execution.at - began >= 3 - CLOCKS


@pytest.mark.parametrize("workflow", ["nap", "nap-async"])
def test_sleeps_end_on_time_without_polling(world: World, workflow: str) -> None:
    world.worker(poll_interval=NEVER)
    ids = world.start(workflow, *[{"seconds": 1}] * 10)
    world.wait_until_ended(ids, timeout=SOON)
    executions = world.check(ids)
    for run in ids:
        before, after = sorted(each.at for each in executions if each.run == run)
        assert after - before >= 1 - CLOCKS


def test_a_retry_comes_when_it_is_due_without_polling(world: World) -> None:
    world.worker(poll_interval=NEVER)
    ids = world.start("held", {"retry_after": "500ms"}) + world.start(
        "held-async", {"retry_after": "500ms"}
    )
    for arrival in world.gate.take(2):
        arrival.say("fail")
    for arrival in (world.gate.next(SOON), world.gate.next(SOON)):
        arrival.say("go")
    world.wait_until_ended(ids)
    world.check(ids, repeats=2)
    held = [each for each in world.journal.executions() if each.step == "held"]
    for run in ids:
        first, second = (each.at for each in held if each.run == run)
        assert second - first >= 0.5 - CLOCKS
