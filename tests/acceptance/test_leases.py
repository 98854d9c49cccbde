"""Leases: kept by whoever is merely busy, lost by whoever is really away."""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance.world import World

pytestmark = pytest.mark.slow


def test_a_step_that_holds_the_interpreter_for_longer_than_the_lease_runs_once(
    world: World,
) -> None:
    busy = world.worker(processes=2, concurrency=1, lease="3s")
    ids = world.start("held", {}) + world.start("held-async", {})
    steps = world.gate.take(2)
    vulture = world.worker(processes=1, lease="3s", poll_interval="100ms")  # would take them
    for step in steps:
        step.say("hog 7")
    world.wait_until_ended(ids)
    executions = world.check(ids)
    assert {each.pid for each in executions} == {each.pid for each in steps}
    for worker in (busy, vulture):
        assert "WARNING" not in worker.log


def test_a_worker_that_was_stopped_for_longer_than_its_lease_writes_nothing_any_more(
    world: World,
) -> None:
    first = world.worker(processes=1, lease="2s")
    ids = world.start("held", {}) + world.start("held-async", {}) + world.start("held-fan", SMALL)
    late = world.gate.take(4)
    first.signal_all(signal.SIGSTOP)

    second = world.worker(processes=1, lease="2s")
    again = world.gate.take(4)
    assert {each.pid for each in again}.isdisjoint({each.pid for each in late})
    for arrival in again[:2]:  # half of it is done before the first one wakes up, half after
        arrival.say("go")
    first.signal_all(signal.SIGCONT)
    for arrival in late:
        arrival.say("go")
    for run in ids:
        first.says(f"run {run}.* taken from us")
    for arrival in again[2:]:
        arrival.say("go")
    world.wait_until_ended(ids)
    world.check(ids, repeats=4)
    second.stop()

    # It has lost its runs, not its mind.
    more = world.start("held", {})
    arrival = world.gate.next()
    assert arrival.pid in first.children()
    arrival.say("go")
    world.wait_until_ended(more)
    world.check(more)
    assert "child died" not in first.log
    first.stop()


SMALL = {"width": 2}


def test_children_keep_their_leases_while_the_supervisor_is_stopped(world: World) -> None:
    first = world.worker(processes=1, lease="2s")
    [run] = world.start("held", {})
    step = world.gate.next()
    os.kill(first.pid, signal.SIGSTOP)
    world.worker(processes=1, poll_interval="100ms")
    assert world.gate.poll(5) is None  # nobody else gets it for two leases and more
    step.say("go")
    world.wait_until_ended([run])
    world.check([run])
    os.kill(first.pid, signal.SIGCONT)
    first.stop()
