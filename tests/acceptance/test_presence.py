"""Supervisors that disappear: what they held does not wait for its lease of ten minutes.

What their children still execute stays theirs.
"""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.acceptance.deployment import Deployment, scaled, wait_until_dead
from tests.acceptance.tables import eventually
from tests.fixtures.proxy import Proxy

LONG = {"lease": "10m"}
SHAPE = {"steps": 5, "seconds": 0.005}


def supervisors(deployment: Deployment) -> int:
    [[count]] = deployment.query("SELECT count(*) FROM {schema}.owsuper_supervisors")
    return int(count)


@pytest.mark.slow
@pytest.mark.once
def test_runs_that_a_killed_supervisor_had_not_handed_out_are_due_at_once(
    deployment: Deployment, rng: random.Random
) -> None:
    ids = deployment.start("chain", *[SHAPE] * scaled(100)) + deployment.start(
        "chain-async", *[SHAPE] * scaled(100)
    )
    for _ in range(scaled(3)):
        worker = deployment.worker(**LONG)
        deployment.journal.wait_for_next(rng.randrange(20, 100))
        descendants = worker.program.descendants()
        worker.kill()
        wait_until_dead(descendants)
        assert deployment.leased() == []  # with no other worker in sight
    successor = deployment.worker()
    deployment.wait_until_ended(ids)
    deployment.check(ids)  # without repeats: the children finished the steps in flight
    successor.stop()


@pytest.mark.slow
@pytest.mark.once
def test_runs_that_no_child_had_begun_do_not_wait_for_the_lease_of_a_worker_killed_as_a_whole(
    deployment: Deployment, rng: random.Random
) -> None:
    ids = deployment.start("chain", *[SHAPE] * scaled(100))
    worker = deployment.worker(**LONG)
    deployment.journal.wait_for_more(rng.randrange(20, 100))
    worker.signal_all(signal.SIGKILL)
    wait_until_dead(worker.processes())
    begun = {each.run for each in deployment.journal.executions()}
    successor = deployment.worker(**LONG)
    eventually(
        "only runs that were begun are leased by the dead worker",
        lambda: supervisors(deployment) == 1 and set(deployment.leased()) <= begun,
    )
    deployment.wait_until_ended(sorted(set(ids) - begun))
    successor.stop()


@pytest.mark.slow
@pytest.mark.once
def test_a_step_that_holds_the_interpreter_lock_stays_with_the_child_of_a_dead_supervisor(
    deployment: Deployment,
) -> None:
    workers = [deployment.worker(processes=1, concurrency=1) for _ in range(2)]
    [run] = deployment.start("hog", {"seconds": 12})
    [begun] = deployment.journal.wait_for(lambda each: each.run == run)
    [owner] = [worker for worker in workers if begun.pid in worker.children()]
    descendants = owner.program.descendants()
    owner.kill()  # and the child cannot speak for itself
    wait_until_dead(descendants)
    deployment.wait_until_ended([run])
    deployment.check([run])


@pytest.mark.slow
@pytest.mark.once
def test_a_child_that_dies_after_its_supervisor_gives_its_runs_back(
    deployment: Deployment,
) -> None:
    worker = deployment.worker(processes=1, concurrency=1, **LONG)
    [run] = deployment.start("held", {})
    step = deployment.gate.next()
    worker.kill()
    os.kill(step.pid, signal.SIGKILL)
    successor = deployment.worker(**LONG)
    deployment.gate.next().command("go")
    deployment.wait_until_ended([run])
    deployment.check([run], repeats=1)
    successor.stop()


@pytest.mark.slow
@pytest.mark.once
def test_a_worker_that_is_cut_off_keeps_the_runs_that_its_children_execute(
    deployment: Deployment, proxy: Proxy
) -> None:
    direct, deployment.url = deployment.url, proxy.url
    worker = deployment.worker()
    [run] = deployment.start("held", {})
    step = deployment.gate.next()
    eventually("the step is shown as running", lambda: bool(running_steps(deployment)))
    deployment.url = direct
    other = deployment.worker()
    proxy.cut()
    eventually("the worker is missing", lambda: supervisors(deployment) == 1)
    assert deployment.leased() == [run]
    proxy.restore()
    eventually("the worker is back", lambda: supervisors(deployment) == 2)
    step.command("go")
    deployment.wait_until_ended([run])
    deployment.check([run])
    other.stop()
    worker.stop()


def running_steps(deployment: Deployment) -> list[tuple[str]]:
    return deployment.query("SELECT id FROM {schema}.step_attempts WHERE status = 'running'")


def test_a_worker_that_stops_leaves_nothing_to_its_template(deployment: Deployment) -> None:
    query = "SELECT pid FROM pg_stat_activity WHERE application_name = 'owsuper template'"
    of_others = set(deployment.query(query))  # a server ends a session after its client has died
    worker = deployment.worker()
    ids = deployment.start("chain", SHAPE, SHAPE)
    deployment.wait_until_ended(ids)
    worker.stop()
    assert set(deployment.query(query)) <= of_others
    assert "dead supervisor" not in worker.log
