"""SIGKILL of each kind of process of a worker, at random times and under load."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.deployment import Deployment, Worker, scaled, wait_until_dead


def kill_children(deployment: Deployment, worker: Worker, times: int, rng: random.Random) -> None:
    """Kill children one after the other, each after more steps have begun: at most 39."""
    for _ in range(times):
        deployment.journal.wait_for_next(rng.randrange(5, 40))
        children = worker.children()
        if children:
            with suppress(ProcessLookupError):
                os.kill(rng.choice(children), signal.SIGKILL)


@pytest.mark.slow
@pytest.mark.parametrize("concurrency", [1, 4])
def test_children_killed_under_load_cost_no_more_than_the_steps_in_flight(
    deployment: Deployment, concurrency: int, rng: random.Random
) -> None:
    kills = scaled(12)
    shape = {"steps": 5, "seconds": 0.005}
    ids = deployment.start("chain", *[shape] * scaled(90)) + deployment.start(
        "chain-async", *[shape] * scaled(90)
    )
    worker = deployment.worker(concurrency=concurrency, max_crashes=1000)
    kill_children(deployment, worker, kills, rng)
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=kills * concurrency)
    assert "child died: signal SIGKILL" in worker.log
    worker.stop()
    assert deployment.leased() == []


@pytest.mark.slow
def test_parallel_steps_that_were_committed_do_not_run_again_with_their_siblings(
    deployment: Deployment, rng: random.Random
) -> None:
    kills, width = scaled(8), 6
    shape = {"width": width, "seconds": 0.005}
    ids = deployment.start("parallel", *[shape] * scaled(40)) + deployment.start(
        "parallel-async", *[shape] * scaled(40)
    )
    worker = deployment.worker(concurrency=2, max_crashes=1000)
    kill_children(deployment, worker, kills, rng)
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=kills * 2 * width)


@pytest.mark.slow
def test_a_killed_supervisor_leaves_no_process_and_its_runs_are_given_back(
    deployment: Deployment, rng: random.Random
) -> None:
    shape = {"steps": 5, "seconds": 0.005}
    ids = deployment.start("chain", *[shape] * scaled(100)) + deployment.start(
        "chain-async", *[shape] * scaled(100)
    )
    for _ in range(scaled(3)):
        worker = deployment.worker(lease="3s")
        deployment.journal.wait_for_next(rng.randrange(20, 100))
        descendants = worker.program.descendants()
        assert len(descendants) >= 3
        worker.kill()
        wait_until_dead(descendants)
        begun = {each.run for each in deployment.journal.executions() if each.pid in descendants}
        assert begun.isdisjoint(deployment.leased())  # see test_presence for the others
    successor = deployment.worker()
    deployment.wait_until_ended(ids)
    deployment.check(ids)  # without repeats: the children finished the steps in flight
    successor.stop()


@pytest.mark.slow
def test_a_worker_killed_as_a_whole_is_replaced_when_its_leases_have_ended(
    deployment: Deployment, rng: random.Random
) -> None:
    shape = {"steps": 4, "seconds": 0.005}
    ids = deployment.start("chain", *[shape] * scaled(60))
    worker = deployment.worker(lease="2s")
    deployment.journal.wait_for_more(rng.randrange(20, 100))
    worker.signal_all(signal.SIGKILL)
    successor = deployment.worker()
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=8)
    successor.stop()


def test_a_killed_template_is_replaced_while_its_children_keep_running(
    deployment: Deployment,
) -> None:
    worker = deployment.worker(processes=2, concurrency=1)
    [run] = deployment.start("held", {})
    busy = deployment.gate.next()
    first, first_children = worker.program.template(), worker.children()

    os.kill(first, signal.SIGKILL)
    worker.wait_for_log("the template died, starting another: signal SIGKILL")
    busy.command("go")
    deployment.wait_until_ended([run])
    assert {each.pid for each in deployment.check([run])} == {busy.pid}
    assert sorted(worker.children()) == sorted(first_children)

    # Both children of the dead template are killed, too. They are reaped and replaced.
    [idle] = set(first_children) - {busy.pid}
    os.kill(idle, signal.SIGKILL)
    again = deployment.start("held", {}, {})
    held = {each.pid: each for each in deployment.gate.take(2)}
    assert worker.program.template() != first
    os.kill(busy.pid, signal.SIGKILL)
    third = deployment.gate.next()
    held.pop(busy.pid)
    [replacement] = held
    assert {replacement, third.pid}.isdisjoint(first_children)
    held[replacement].command("go")
    third.command("go")
    deployment.wait_until_ended(again)
    deployment.check(again, repeats=1)
    assert not any(Path(f"/proc/{pid}").exists() for pid in (first, *first_children))  # no zombies
    worker.stop()


@pytest.mark.slow
def test_templates_and_children_that_are_killed_together_repeatedly_cost_only_time(
    deployment: Deployment, rng: random.Random
) -> None:
    shape = {"steps": 4, "seconds": 0.005}
    ids = deployment.start("chain", *[shape] * scaled(120))
    worker = deployment.worker(max_crashes=1000)
    rounds = scaled(3)
    for _ in range(rounds):
        deployment.journal.wait_for_next(rng.randrange(10, 40))
        for pid in worker.program.descendants():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=rounds * 8)
    worker.stop()
