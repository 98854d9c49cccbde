"""The primary is killed under load, its standby is promoted, and everybody finds it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

import pytest

from owsuper import OpenWorkflow
from owsuper.db.migrate import migrate
from owsuper.errors import DatabaseUnreachable
from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.world import World, scaled
from tests.fixtures.cluster import Server, Servers
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Spawn

pytestmark = pytest.mark.slow

SCHEMA = "openworkflow"
SLOTS = 2 * 4
SHAPE = {"steps": 4, "seconds": 0.003}


@dataclass
class Pair:
    """A primary, and a standby that every commit waits for."""

    primary: Server
    standby: Server
    url: str

    def fail_over(self) -> None:
        """Lose the primary, promote the standby."""
        self.primary.crash()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def repair(self) -> None:
        """Make what is left of the former primary the standby."""
        self.standby.follow(self.primary)
        self.primary.await_standby()


@pytest.fixture
def pair(servers: Servers) -> Pair:
    primary = servers.create("east")
    standby = servers.standby("west", primary)
    primary.await_standby()
    hosts = f"localhost:{primary.port},127.0.0.1:{standby.port}"
    url = f"postgresql://postgres:{servers.password}@{hosts}/postgres"
    return Pair(primary, standby, f"{url}?target_session_attrs=read-write")


@pytest.fixture
def world(pair: Pair, tmp_path: Path, worlds: list[World], spawn_owsuper: Spawn) -> World:
    """Workers that know both servers' addresses."""
    with connect(pair.url) as conn:
        migrate(conn, SCHEMA)
    worlds.append(World(pair.url, SCHEMA, spawn_owsuper, tmp_path))
    return worlds[0]


def test_a_failover_under_load_loses_no_committed_step_and_no_run(world: World, pair: Pair) -> None:
    failovers = scaled(2)
    ids = world.start("linked", *[{**SHAPE, "nap": 0.05}] * 20)
    ids += world.start("linked-async", *[{**SHAPE, "nap": 0.05}] * 20)
    with Clients(pair.url, SCHEMA, SHAPE) as clients:
        worker = world.worker()
        for number in range(failovers):
            if number:
                pair.repair()
            world.journal.wait_for_more(random.randrange(20, 80))
            pair.fail_over()
        world.journal.wait_for_more(40)
    ids += clients.started
    world.wait_until_ended(ids)
    clients.check(world)
    repeats = check_chains(world, ids)
    print(f"{failovers} failovers, {len(ids)} runs, {repeats} repeats, {clients.refusals} refusals")
    assert repeats <= failovers * SLOTS
    worker.stop()
    assert "child died" not in worker.log
    assert world.leased() == []
    assert world.crashes() == []


def test_a_server_that_refuses_writes_for_a_while_costs_time_and_no_run(
    world: World, pair: Pair
) -> None:
    """As one does that is being demoted, or not yet promoted, or has no space left."""
    ids = world.start("linked", *[{**SHAPE, "nap": 0.05}] * scaled(40))
    ids += world.start("linked-async", *[{**SHAPE, "nap": 0.05}] * scaled(40))
    worker = world.worker()
    for number in range(1, scaled(3) + 1):
        world.journal.wait_for_more(20)
        with pair.primary.connect() as conn:
            conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            conn.execute("SELECT pg_reload_conf()")
            worker.says("the claiming connection is down.*read-only", count=number)
            conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
            conn.execute("SELECT pg_reload_conf()")
        worker.says("the claiming connection is back", count=number)
    world.wait_until_ended(ids)
    assert check_chains(world, ids) == 0
    worker.stop()
    assert world.crashes() == []


def test_where_only_a_standby_answers_a_command_says_so(pair: Pair) -> None:
    pair.primary.crash()
    with pytest.raises(DatabaseUnreachable, match=r"No primary at localhost:\d+, 127\.0\.0\.1:"):
        OpenWorkflow(pair.url).run_workflow("linked")
