"""The database becomes unreachable while runs are executed, and comes back."""

from __future__ import annotations

import os
import random
import signal
from contextlib import closing

import pytest

from tests.acceptance.deployment import Deployment, Worker, scaled, wait_until_dead
from tests.fixtures.postgres import connect
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

SHAPE = {"steps": 4, "seconds": 0.005}


def worker_under_load(deployment: Deployment) -> tuple[Worker, list[str]]:
    """A worker that executes some hundred runs of all kinds."""
    count = scaled(60)
    ids = [
        *deployment.start("chain", *[SHAPE] * count),
        *deployment.start("chain-async", *[SHAPE] * count),
        *deployment.start("parallel", *[{"width": 3, "seconds": 0.005}] * (count // 3)),
        *deployment.start("nap", *[{"seconds": 0.3}] * (count // 6)),
    ]
    worker = deployment.worker()
    deployment.journal.wait_for_more(40)
    return worker, ids


def wait_until_work_continues(deployment: Deployment, ids: list[str]) -> None:
    """Wait until more steps are executed, if any are left."""
    if len(deployment.journal.executions()) < 0.8 * len(ids):
        deployment.journal.wait_for_more(20)


def test_a_network_that_is_cut_costs_time_and_no_step(deployment: Deployment, proxy: Proxy) -> None:
    deployment.url = proxy.url
    worker, ids = worker_under_load(deployment)
    for cuts in range(1, scaled(4) + 1):
        proxy.cut()
        worker.wait_for_log("the claiming connection is down", count=cuts)
        proxy.restore()
        worker.wait_for_log("the claiming connection is back", count=cuts)
        wait_until_work_continues(deployment, ids)
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_a_network_that_is_silent_costs_time_and_no_step(
    deployment: Deployment, proxy: Proxy
) -> None:
    deployment.url = proxy.url
    worker, ids = worker_under_load(deployment)
    proxy.stall()
    proxy.wait_until_held(2)
    proxy.restore()
    wait_until_work_continues(deployment, ids)
    proxy.stall()
    proxy.wait_until_held(2)
    proxy.reset_connections()  # the data that was held back is lost
    proxy.restore()
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_connections_that_break_in_the_middle_of_a_statement_cost_no_step(
    deployment: Deployment, proxy: Proxy
) -> None:
    deployment.url = proxy.url
    worker, ids = worker_under_load(deployment)
    for number in range(scaled(10)):
        if number % 2:
            proxy.drop_after(random.randrange(1, 10_000))
        else:
            proxy.lose_answer(
                b'"complete"'
            )  # the server executes the statement, and its answer is lost
        proxy.wait_for_drop(30)
    deployment.wait_until_ended(ids)
    deployment.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_a_worker_cut_off_for_longer_than_its_lease_is_replaced_and_cannot_interfere(
    deployment: Deployment, proxy: Proxy
) -> None:
    ids = deployment.start("chain", *[SHAPE] * scaled(100))
    held = deployment.start("held", {}) + deployment.start("held-async", {})
    direct, deployment.url = deployment.url, proxy.url
    cut_off = deployment.worker(lease="3s")
    late = deployment.gate.take(2)
    proxy.cut()
    deployment.url = direct
    deployment.worker(lease="3s")
    again = deployment.gate.take(2)
    assert {each.run for each in again} == {each.run for each in late} == set(held)
    for held_step in again:
        held_step.command("go")
    deployment.wait_until_ended(held)
    proxy.restore()
    for held_step in late:
        held_step.command("go")
    deployment.wait_until_ended(ids)
    deployment.check([*ids, *held], repeats=8)
    for run in held:
        cut_off.wait_until_run_is_lost(run)
    assert "child died" not in cut_off.log


def test_a_claim_whose_answer_is_lost_does_not_wait_for_its_lease(
    deployment: Deployment, proxy: Proxy
) -> None:
    deployment.url = proxy.url
    worker = deployment.worker(lease="1h", poll_interval="1h")
    for _ in range(20):  # the first claim may be one that finds nothing
        proxy.lose_answer(b"claim:")  # the name of the prepared statement
        ids = deployment.start("chain", {"steps": 1, "seconds": 0})
        deployment.wait_until_ended(ids)
        proxy.wait_for_drop()
        if "released claims whose answers were lost" in worker.log:
            break
    else:
        raise AssertionError(worker.log)
    deployment.check(ids)
    worker.stop()


def test_a_database_server_that_crashes_costs_at_most_the_steps_in_flight(
    crashable_deployment: Deployment,
) -> None:
    """Unflushed commits are lost, such as claims. So steps may run a second time."""
    deployment = crashable_deployment
    worker, ids = worker_under_load(deployment)
    crashes = scaled(2)
    for _ in range(crashes):
        with closing(connect(deployment.url)) as victim:
            backend = victim.info.backend_pid
            os.kill(backend, signal.SIGKILL)  # then PostgreSQL ends all sessions and recovers
            wait_until_dead([backend])
        wait_until_work_continues(deployment, ids)
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=crashes * 8 * 3, claims_lost=True)
    worker.stop()
    assert "child died" not in worker.log
