"""The database goes away underneath, in the middle of everything, and comes back."""

from __future__ import annotations

import os
import random
import signal

import pytest

from tests.acceptance.tables import eventually
from tests.acceptance.world import Worker, World, scaled, wait_until_dead
from tests.fixtures.proxy import Proxy

pytestmark = pytest.mark.slow

SHAPE = {"steps": 4, "seconds": 0.005}


def busy_worker(world: World) -> tuple[Worker, list[str]]:
    """A worker in the middle of some hundred runs of all kinds."""
    count = scaled(60)
    ids = [
        *world.start("chain", *[SHAPE] * count),
        *world.start("chain-async", *[SHAPE] * count),
        *world.start("fan", *[{"width": 3, "seconds": 0.005}] * (count // 3)),
        *world.start("nap", *[{"seconds": 0.3}] * (count // 6)),
    ]
    worker = world.worker()
    world.journal.wait_for_more(40)
    return worker, ids


def go_on(world: World, ids: list[str]) -> None:
    """See that the work goes on, if there is any left."""
    if len(world.journal.executions()) < 0.8 * len(ids):
        world.journal.wait_for_more(20)


def test_a_network_that_is_cut_costs_time_and_no_step(world: World, proxy: Proxy) -> None:
    world.url = proxy.url
    worker, ids = busy_worker(world)
    for cuts in range(1, scaled(4) + 1):
        proxy.cut()
        worker.says("the claiming connection is down", count=cuts)
        proxy.restore()
        worker.says("the claiming connection is back", count=cuts)
        go_on(world, ids)
    world.wait_until_ended(ids)
    world.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_a_network_that_is_silent_costs_time_and_no_step(world: World, proxy: Proxy) -> None:
    world.url = proxy.url
    worker, ids = busy_worker(world)
    proxy.stall()
    proxy.wait_until_held(2)
    proxy.restore()
    go_on(world, ids)
    proxy.stall()
    proxy.wait_until_held(2)
    proxy.reset_connections()  # the data that was held back is lost
    proxy.restore()
    world.wait_until_ended(ids)
    world.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_connections_that_break_in_the_middle_of_a_statement_cost_no_step(
    world: World, proxy: Proxy
) -> None:
    world.url = proxy.url
    worker, ids = busy_worker(world)
    for number in range(scaled(10)):
        if number % 2:
            proxy.drop_after(random.randrange(1, 10_000))
        else:
            proxy.lose_answer(b'"complete"')  # the server has done it, and nobody hears of it
        proxy.wait_for_drop(30)
    world.wait_until_ended(ids)
    world.check(ids)
    worker.stop()
    assert "child died" not in worker.log


def test_a_worker_cut_off_for_longer_than_its_lease_is_replaced_and_cannot_interfere(
    world: World, proxy: Proxy
) -> None:
    ids = world.start("chain", *[SHAPE] * scaled(100))
    held = world.start("held", {}) + world.start("held-async", {})
    direct, world.url = world.url, proxy.url
    cut_off = world.worker(lease="3s")
    late = world.gate.take(2)
    proxy.cut()
    world.url = direct
    world.worker(lease="3s")
    again = world.gate.take(2)
    assert {each.run for each in again} == {each.run for each in late} == set(held)
    for arrival in again:
        arrival.say("go")
    world.wait_until_ended(held)
    proxy.restore()
    for arrival in late:
        arrival.say("go")
    world.wait_until_ended(ids)
    world.check([*ids, *held], repeats=8)
    for run in held:
        cut_off.says(f"run {run}.* taken from us")
    assert "child died" not in cut_off.log


def test_a_claim_whose_answer_is_lost_does_not_wait_for_its_lease(
    world: World, proxy: Proxy
) -> None:
    world.url = proxy.url
    worker = world.worker(lease="1h", poll_interval="1h")
    for _ in range(20):  # the first claim to come by may be one that brings nothing
        proxy.lose_answer(b"claim:")  # as the prepared statement is called
        ids = world.start("chain", {"steps": 1, "seconds": 0})
        world.wait_until_ended(ids)
        proxy.wait_for_drop()
        if "released claims whose answers were lost" in worker.log:
            break
    else:
        raise AssertionError(worker.log)
    world.check(ids)
    worker.stop()


def test_a_database_server_that_crashes_costs_at_most_the_steps_in_flight(
    fragile_world: World,
) -> None:
    """What had not been flushed is gone: claims, say. So these steps may run a second time."""
    world = fragile_world
    worker, ids = busy_worker(world)
    crashes = scaled(2)
    for _ in range(crashes):
        backend = a_backend_of_our_children(world)
        os.kill(backend, signal.SIGKILL)  # for PostgreSQL, reason enough to start all over
        wait_until_dead([backend])
        go_on(world, ids)
    world.wait_until_ended(ids)
    world.check(ids, repeats=crashes * 8 * 3)
    worker.stop()
    assert "child died" not in worker.log


def a_backend_of_our_children(world: World) -> int:
    """The server's process for one of their connections."""
    select = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'owsuper child %'"
    eventually("the children are connected", lambda: bool(world.query(select)))
    return int(world.query(select)[0][0])
