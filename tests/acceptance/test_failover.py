"""The primary is killed under load, its standby is promoted, and workers and clients find it."""

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
from tests.acceptance.deployment import Deployment, scaled
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
        """Crash the primary and promote the standby."""
        self.primary.crash()
        self.standby.promote()
        self.primary, self.standby = self.standby, self.primary

    def repair(self) -> None:
        """Make the former primary the standby."""
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
def deployment(
    pair: Pair, tmp_path: Path, deployments: list[Deployment], spawn_owsuper: Spawn
) -> Deployment:
    """Workers with both servers' addresses."""
    with connect(pair.url) as conn:
        migrate(conn, SCHEMA)
    deployments.append(Deployment(pair.url, SCHEMA, spawn_owsuper, tmp_path))
    return deployments[0]


def test_a_failover_under_load_loses_no_committed_step_and_no_run(
    deployment: Deployment, pair: Pair
) -> None:
    failovers = scaled(2)
    ids = deployment.start("linked", *[{**SHAPE, "nap": 0.05}] * 20)
    ids += deployment.start("linked-async", *[{**SHAPE, "nap": 0.05}] * 20)
    with Clients(pair.url, SCHEMA, SHAPE) as clients:
        worker = deployment.worker()
        for number in range(failovers):
            if number:
                pair.repair()
            deployment.journal.wait_for_more(random.randrange(20, 80))
            pair.fail_over()
        deployment.journal.wait_for_more(40)
    ids += clients.started
    deployment.wait_until_ended(ids)
    clients.check(deployment)
    repeats = check_chains(deployment, ids)
    print(f"{failovers} failovers, {len(ids)} runs, {repeats} repeats, {clients.refusals} refusals")
    assert repeats <= failovers * SLOTS
    worker.stop()
    assert "child died" not in worker.log
    assert deployment.leased() == []
    assert deployment.crashes() == []


def test_a_server_that_refuses_writes_for_a_while_costs_time_and_no_run(
    deployment: Deployment, pair: Pair
) -> None:
    """Like a server that is demoted, is not yet promoted, or has no space left."""
    ids = []
    worker = deployment.worker()
    for number in range(1, scaled(3) + 1):
        for workflow in ("linked", "linked-async"):
            ids += deployment.start(workflow, *[{**SHAPE, "nap": 0.05}] * scaled(20))
        deployment.journal.wait_for_more(20)
        with pair.primary.connect() as conn:
            conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
            conn.execute("SELECT pg_reload_conf()")
            worker.wait_for_log("the claiming connection is down.*read-only", count=number)
            conn.execute("ALTER SYSTEM RESET default_transaction_read_only")
            conn.execute("SELECT pg_reload_conf()")
        worker.wait_for_log("the claiming connection is back", count=number)
    deployment.wait_until_ended(ids)
    assert check_chains(deployment, ids) == 0
    worker.stop()
    assert deployment.crashes() == []


def test_where_only_a_standby_answers_a_command_says_so(pair: Pair) -> None:
    pair.primary.crash()
    with pytest.raises(DatabaseUnreachable, match=r"No primary at localhost:\d+, 127\.0\.0\.1:"):
        OpenWorkflow(pair.url).run_workflow("linked")
