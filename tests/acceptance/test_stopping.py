"""Told to stop, a worker finishes what runs, gives back the rest, and leaves nothing behind."""

from __future__ import annotations

import signal
import time

import pytest

from tests.acceptance.world import World, scaled, wait_until_dead

pytestmark = pytest.mark.slow

POLITE = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", POLITE)
def test_a_signal_lets_runs_finish_and_takes_no_new_ones(
    world: World, number: signal.Signals
) -> None:
    worker = world.worker(processes=2, concurrency=2)
    everybody = worker.processes()
    busy = world.start("held", {}, {}) + world.start("held-async", {}, {})
    arrived = world.gate.take(4)
    backlog = world.start("chain", *[{"steps": 1}] * 50)

    worker.program.signal(number)
    worker.says("draining")
    for arrival in arrived:
        arrival.say("go")
    assert worker.program.wait() == 0
    wait_until_dead(everybody)

    world.check(busy)
    assert {(run.status, run.worker_id, run.attempts) for run in world.runs(backlog)} == {
        ("pending", None, 0)
    }


def test_draining_under_load_gives_back_whatever_was_claimed(world: World) -> None:
    ids = world.start("chain", *[{"steps": 2, "seconds": 0.002}] * scaled(400))
    for number in POLITE:
        worker = world.worker()
        world.journal.wait_for_next(50)
        worker.stop(number)
        assert world.leased() == []
    # Some were in hand: they have been claimed, and are due again without having begun.
    world.worker()
    world.wait_until_ended(ids)
    world.check(ids)


@pytest.mark.parametrize("signals", [["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"], ["SIGQUIT"]])
def test_a_second_interrupt_or_quit_stops_at_once(world: World, signals: list[str]) -> None:
    worker = world.worker(processes=2, concurrency=1, graceful_timeout="1h")
    everybody = worker.processes()
    ids = world.start("held", {}) + world.start("held-async", {})
    arrived = world.gate.take(2)
    asked = time.monotonic()
    for number, name in enumerate(signals):
        if number:
            worker.says("draining")
        worker.program.signal(signal.Signals[name])
    assert worker.program.wait() == 0
    assert time.monotonic() - asked < 10  # the steps would never have ended
    wait_until_dead(everybody)
    for arrival in arrived:
        arrival.wait_until_gone()
    assert world.leased() == []
    assert world.crashes() == []  # nobody is charged

    world.worker(processes=1)
    world.gate.answer(until=world.ended(ids))
    world.check(ids, repeats=2)


def test_runs_that_are_stopped_between_steps_keep_what_they_have(world: World) -> None:
    worker = world.worker(processes=1, graceful_timeout="200ms")
    [long] = world.start("chain", {"steps": 30, "seconds": 0.05})
    world.journal.wait_for(lambda each: each.run == long, count=5)
    worker.stop()
    assert "stopping at the next step" in worker.log
    run = world.run(long)
    assert (run.status, run.worker_id) == ("running", None)
    world.worker(processes=1)
    world.wait_until_ended([long])
    world.check([long])


def test_the_graceful_timeout_bounds_the_stop(world: World) -> None:
    worker = world.worker(processes=2, concurrency=1, graceful_timeout="500ms")
    ids = world.start("held", {}) + world.start("held-async", {})
    world.gate.take(2)
    asked = time.monotonic()
    worker.stop()
    took = time.monotonic() - asked
    assert 0.5 <= took < 10  # and not for as long as the steps would have waited
    assert world.leased() == []
    assert world.crashes() == []
    world.worker(processes=2)
    world.gate.answer(until=world.ended(ids))
    world.check(ids, repeats=2)


def test_an_idle_worker_stops_at_once(world: World) -> None:
    worker = world.worker(graceful_timeout="1h")
    asked = time.monotonic()
    worker.stop()
    assert time.monotonic() - asked < 10
