"""SIGKILL, at random points and under load, of each kind of process that a worker consists of."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.world import Worker, World, scaled, wait_until_dead


def kill_children(world: World, worker: Worker, times: int, chance: random.Random) -> None:
    """One after the other, each when some more steps have begun, so that there is work to lose."""
    for _ in range(times):
        world.journal.wait_for_next(chance.randrange(5, 40))
        victims = worker.children()
        if victims:
            with suppress(ProcessLookupError):
                os.kill(chance.choice(victims), signal.SIGKILL)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_children_killed_under_load_cost_no_more_than_the_steps_in_flight(
    world: World, concurrency: int, chance: random.Random
) -> None:
    kills = scaled(12)
    shape = {"steps": 5, "seconds": 0.005}
    ids = world.start("chain", *[shape] * scaled(90)) + world.start(
        "chain-async", *[shape] * scaled(90)
    )
    worker = world.worker(concurrency=concurrency, max_crashes=1000)
    kill_children(world, worker, kills, chance)
    world.wait_until_ended(ids)
    world.check(ids, repeats=kills * concurrency)
    assert "child died: signal SIGKILL" in worker.log
    worker.stop()
    assert world.leased() == []


def test_parallel_steps_that_were_committed_do_not_run_again_with_their_siblings(
    world: World, chance: random.Random
) -> None:
    kills, width = scaled(8), 6
    shape = {"width": width, "seconds": 0.005}
    ids = world.start("fan", *[shape] * scaled(40)) + world.start(
        "fan-async", *[shape] * scaled(40)
    )
    worker = world.worker(concurrency=2, max_crashes=1000)
    kill_children(world, worker, kills, chance)
    world.wait_until_ended(ids)
    world.check(ids, repeats=kills * 2 * width)


def test_a_killed_supervisor_leaves_no_process_and_its_runs_are_given_back(
    world: World, chance: random.Random
) -> None:
    shape = {"steps": 5, "seconds": 0.005}
    ids = world.start("chain", *[shape] * scaled(100)) + world.start(
        "chain-async", *[shape] * scaled(100)
    )
    for _ in range(scaled(3)):
        worker = world.worker(lease="3s")
        world.journal.wait_for_next(chance.randrange(20, 100))
        orphans = worker.program.descendants()
        assert len(orphans) >= 3
        worker.kill()
        wait_until_dead(orphans)
        # What waited in the supervisor's hand is due when its lease ends; what children had, now.
        begun = {each.run for each in world.journal.executions() if each.pid in orphans}
        assert begun.isdisjoint(world.leased())
    successor = world.worker()
    world.wait_until_ended(ids)
    world.check(ids)  # not one repeat: the children finished the steps in flight
    successor.stop()


def test_a_worker_killed_as_a_whole_is_replaced_when_its_leases_have_ended(
    world: World, chance: random.Random
) -> None:
    shape = {"steps": 4, "seconds": 0.005}
    ids = world.start("chain", *[shape] * scaled(60))
    worker = world.worker(lease="2s")
    world.journal.wait_for_more(chance.randrange(20, 100))
    worker.signal_all(signal.SIGKILL)
    successor = world.worker(lease="2s")
    world.wait_until_ended(ids)
    world.check(ids, repeats=8)
    successor.stop()


def test_a_killed_template_is_replaced_while_its_children_serve_on(world: World) -> None:
    worker = world.worker(processes=2, concurrency=1)
    [run] = world.start("held", {})
    busy = world.gate.next()
    first, elders = worker.template(), worker.children()

    os.kill(first, signal.SIGKILL)
    worker.says("the template died, starting another: signal SIGKILL")
    busy.say("go")
    world.wait_until_ended([run])
    assert {each.pid for each in world.check([run])} == {busy.pid}
    assert sorted(worker.children()) == sorted(elders)

    # Both children of the dead template die, too, idle or not: they are reaped and replaced.
    [idle] = set(elders) - {busy.pid}
    os.kill(idle, signal.SIGKILL)
    again = world.start("held", {}, {})
    held = {each.pid: each for each in world.gate.take(2)}
    assert worker.template() != first
    os.kill(busy.pid, signal.SIGKILL)
    third = world.gate.next()
    held.pop(busy.pid)
    [born] = held
    assert {born, third.pid}.isdisjoint(elders)
    held[born].say("go")
    third.say("go")
    world.wait_until_ended(again)
    world.check(again, repeats=1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in (first, *elders))  # no zombies
    worker.stop()


def test_templates_and_children_killed_together_again_and_again_cost_only_time(
    world: World, chance: random.Random
) -> None:
    shape = {"steps": 4, "seconds": 0.005}
    ids = world.start("chain", *[shape] * scaled(120))
    worker = world.worker(max_crashes=1000)
    rounds = scaled(3)
    for _ in range(rounds):
        world.journal.wait_for_next(chance.randrange(10, 40))
        for pid in worker.program.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    world.wait_until_ended(ids)
    world.check(ids, repeats=rounds * 8)
    worker.stop()
