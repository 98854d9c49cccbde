"""Leases: busy workers keep them, stopped workers lose them."""

from __future__ import annotations

import os
import signal

import pytest

from tests.acceptance.deployment import Deployment

pytestmark = [pytest.mark.slow, pytest.mark.once]


def test_a_step_that_holds_the_interpreter_for_longer_than_the_lease_runs_once(
    deployment: Deployment,
) -> None:
    busy = deployment.worker(processes=2, concurrency=1, lease="3s")
    ids = deployment.start("held", {}) + deployment.start("held-async", {})
    steps = deployment.gate.take(2)
    rival = deployment.worker(
        processes=1, lease="3s", poll_interval="100ms"
    )  # would claim these runs
    for step in steps:
        step.command("hog 9")
    deployment.wait_until_ended(ids)
    executions = deployment.check(ids)
    assert {each.pid for each in executions} == {each.pid for each in steps}
    for worker in (busy, rival):
        assert "WARNING" not in worker.log


def test_a_worker_that_was_stopped_for_longer_than_its_lease_writes_nothing(
    deployment: Deployment,
) -> None:
    first = deployment.worker(processes=1, lease="2s")
    ids = (
        deployment.start("held", {})
        + deployment.start("held-async", {})
        + deployment.start("held-parallel", SMALL)
    )
    late = deployment.gate.take(4)
    first.signal_all(signal.SIGSTOP)

    second = deployment.worker(processes=1)
    again = deployment.gate.take(4)
    assert {each.pid for each in again}.isdisjoint({each.pid for each in late})
    for held_step in again[:2]:  # half are done before the first worker continues, half after
        held_step.command("go")
    first.signal_all(signal.SIGCONT)
    for held_step in late:
        held_step.command("go")
    for run in ids:
        first.wait_until_run_is_lost(run)
    for held_step in again[2:]:
        held_step.command("go")
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=4)
    second.stop()

    # The worker lost its runs and works on.
    more = deployment.start("held", {})
    held_step = deployment.gate.next()
    assert held_step.pid in first.children()
    held_step.command("go")
    deployment.wait_until_ended(more)
    deployment.check(more)
    assert "child died" not in first.log
    first.stop()


SMALL = {"width": 2}


def test_children_keep_their_leases_while_the_supervisor_is_stopped(deployment: Deployment) -> None:
    first = deployment.worker(processes=1, lease="3s")
    [run] = deployment.start("held", {})
    step = deployment.gate.next()
    os.kill(first.pid, signal.SIGSTOP)
    deployment.worker(processes=1, poll_interval="100ms")
    assert deployment.gate.poll(7) is None  # no other worker gets the run for more than two leases
    step.command("go")
    deployment.wait_until_ended([run])
    deployment.check([run])
    os.kill(first.pid, signal.SIGCONT)
    first.stop()
