"""PostgreSQL itself is killed under load, again and again, and recovers.

Claims, renewals and running rows are committed without waiting for the disk, so a crash may
forget them: docs/guarantees.md says what that may cost. All else is flushed.
"""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import psycopg
import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.families import check_families, start_families
from tests.acceptance.world import World, scaled, wait_until_dead
from tests.fixtures.cluster import Server, Servers
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Spawn

pytestmark = pytest.mark.slow

SCHEMA = "openworkflow"
SLOTS = 2 * 4
SHAPE = {"steps": 4, "seconds": 0.003}
FORGETFUL = {"wal_writer_delay": "10s", "autovacuum": "off"}
"""Nothing is flushed to disk unless somebody waits for it: more is forgotten in a crash."""


@pytest.fixture
def server(servers: Servers) -> Server:
    server = servers.create("lone", **FORGETFUL)
    with connect(server.url) as conn:
        migrate(conn, SCHEMA)
    return server


@pytest.fixture
def world(server: Server, tmp_path: Path, worlds: list[World], spawn_owsuper: Spawn) -> World:
    """Workers of a server that may be killed."""
    worlds.append(World(server.url, SCHEMA, spawn_owsuper, tmp_path))
    return worlds[0]


def kill_everything(server: Server) -> None:
    server.crash()
    server.start()


def kill_a_backend(server: Server, chance: random.Random) -> None:
    """For PostgreSQL that is reason enough to end all others and start all over."""
    with server.connect() as conn:
        rows = conn.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ).fetchall()
        victim = int(str(chance.choice(rows)[0]))
        os.kill(victim, signal.SIGKILL)
        wait_until_dead([victim])
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT pg_sleep(60)")  # until the others are told


@pytest.mark.parametrize("durable", [False, True], ids=["claims forgotten", "durable claims"])
def test_killed_again_and_again_it_costs_at_most_the_steps_in_flight(
    world: World, server: Server, chance: random.Random, durable: bool
) -> None:
    kills = scaled(5 if durable else 10)
    ids = world.start("linked", *[{**SHAPE, "nap": 0.05}] * 20)
    ids += world.start("linked-async", *[{**SHAPE, "nap": 0.05}] * 20)
    families = start_families(world, 10)
    with Clients(server.url, SCHEMA, SHAPE) as clients:
        worker = world.worker(*["--durable-claims"] * durable)
        for number in range(kills):
            world.journal.wait_for_more(chance.randrange(5, 60))
            if number % 2:
                kill_a_backend(server, chance)
            else:
                kill_everything(server)
        world.journal.wait_for_more(20)
    ids += clients.started
    world.wait_until_ended(ids)
    clients.check(world)
    repeats = check_chains(world, ids) + check_families(world, families)
    print(f"{kills} crashes, {len(ids)} runs, {repeats} repeats, {clients.refusals} refusals")
    assert repeats <= (0 if durable else kills * SLOTS)
    worker.stop()
    assert "child died" not in worker.log
    assert world.leased() == []
    assert world.crashes() == []


def test_a_claim_that_was_forgotten_costs_a_second_call_whose_twin_is_refused(
    world: World, server: Server
) -> None:
    worker = world.worker(processes=4)
    for crashes in range(1, 11):  # now and then something else flushes the claim before the crash
        [run] = world.start("held-fan", {"width": 1})
        first = world.gate.next()
        kill_everything(server)
        worker.says("the claiming connection is back", count=crashes)
        if (second := world.gate.poll(2)) is not None:
            break
        first.say("go")
    else:
        raise AssertionError("no crash made PostgreSQL forget a claim")
    second.say("go")
    world.wait_until_ended([run])
    first.say("go")
    worker.says(f"run {run}.* taken from us")
    world.check([run], repeats=1)
    assert world.recorded([run])[run, "ray-0"] == second.token
    worker.stop()


def test_a_durable_claim_outlives_a_crash_so_the_step_is_called_once(
    world: World, server: Server
) -> None:
    worker = world.worker("--durable-claims")
    runs = world.start("held-fan", {"width": 1}, {"width": 1})
    first, other = world.gate.take(2)
    owners = {each.id: each.worker_id for each in world.runs(runs)}
    kill_everything(server)
    worker.says("the claiming connection is back")
    assert {each.id: each.worker_id for each in world.runs(runs)} == owners
    for arrival in (first, other):
        arrival.say("go")
    world.wait_until_ended(runs)
    world.check(runs)
    worker.stop()
