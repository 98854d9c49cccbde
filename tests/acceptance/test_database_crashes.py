"""PostgreSQL is killed repeatedly under load, and recovers.

Claims, renewals and running rows are committed without waiting for the disk, so a crash may
lose them: docs/guarantees.md describes the cost. Everything else is flushed.
"""

from __future__ import annotations

import os
import random
import signal
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.deployment import Deployment, scaled, wait_until_dead
from tests.acceptance.parents import check_parents, start_parents
from tests.fixtures.cluster import Server, Servers
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Spawn

pytestmark = pytest.mark.slow

SCHEMA = "openworkflow"
SLOTS = 2 * 4
SHAPE = {"steps": 4, "seconds": 0.003}
DELAYED_WAL = {"wal_writer_delay": "10s", "autovacuum": "off"}
"""Only commits that wait for the disk are flushed, so that a crash loses more."""


@pytest.fixture
def server(servers: Servers) -> Server:
    server = servers.create("lone", **DELAYED_WAL)
    with connect(server.url) as conn:
        migrate(conn, SCHEMA)
    return server


@pytest.fixture
def deployment(
    server: Server, tmp_path: Path, deployments: list[Deployment], spawn_owsuper: Spawn
) -> Deployment:
    """Workers on a server that may be killed."""
    deployments.append(Deployment(server.url, SCHEMA, spawn_owsuper, tmp_path))
    return deployments[0]


def restart_server(server: Server) -> None:
    server.crash()
    server.start()


def kill_a_backend(server: Server) -> None:
    """Kill a backend, after which PostgreSQL ends all others and recovers."""
    with server.connect() as conn, closing(server.connect()) as victim:
        backend = victim.info.backend_pid  # of our own: those of others may end at any moment
        os.kill(backend, signal.SIGKILL)
        wait_until_dead([backend])
        with pytest.raises(psycopg.OperationalError):
            conn.execute("SELECT pg_sleep(60)")  # until PostgreSQL ends this session


@pytest.mark.parametrize("durable", [False, True], ids=["claims lost", "durable claims"])
def test_repeated_crashes_repeat_at_most_the_steps_in_flight(
    deployment: Deployment, server: Server, rng: random.Random, durable: bool
) -> None:
    kills = scaled(5 if durable else 10)
    ids = deployment.start("linked", *[{**SHAPE, "nap": 0.05}] * 20)
    ids += deployment.start("linked-async", *[{**SHAPE, "nap": 0.05}] * 20)
    parents = start_parents(deployment, 10)
    with Clients(server.url, SCHEMA, SHAPE) as clients:
        worker = deployment.worker(*["--durable-claims"] * durable)
        for number in range(kills):
            deployment.journal.wait_for_more(rng.randrange(5, 60))
            if number % 2:
                kill_a_backend(server)
            else:
                restart_server(server)
        deployment.journal.wait_for_more(20)
    ids += clients.started
    deployment.wait_until_ended(ids)
    clients.check(deployment)
    lost = not durable
    repeats = check_chains(deployment, ids, claims_lost=lost)
    repeats += check_parents(deployment, parents, claims_lost=lost)
    print(f"{kills} crashes, {len(ids)} runs, {repeats} repeats, {clients.refusals} refusals")
    assert repeats <= (0 if durable else kills * SLOTS)
    worker.stop()
    assert "child died" not in worker.log
    assert deployment.leased() == []
    assert deployment.crashes() == []


def test_a_step_whose_claim_was_lost_is_called_twice_and_its_first_result_is_refused(
    deployment: Deployment, server: Server
) -> None:
    worker = deployment.worker(processes=4)
    for crashes in range(1, 11):  # sometimes another commit flushes the claim before the crash
        [run] = deployment.start("held-parallel", {"width": 1})
        first = deployment.gate.next()
        restart_server(server)
        worker.wait_for_log("the claiming connection is back", count=crashes)
        if (second := deployment.gate.poll(5)) is not None:
            break
        first.command("go")
    else:
        raise AssertionError("PostgreSQL lost no claim in any crash")
    second.command("go")
    deployment.wait_until_ended([run])
    first.command("go")
    worker.wait_until_run_is_lost(run)
    deployment.check([run], repeats=1)
    assert deployment.recorded([run])[run, "branch-0"] == second.token
    worker.stop()


def test_a_durable_claim_survives_a_crash_and_the_step_is_called_once(
    deployment: Deployment, server: Server
) -> None:
    worker = deployment.worker("--durable-claims")
    runs = deployment.start("held-parallel", {"width": 1}, {"width": 1})
    first, other = deployment.gate.take(2)
    owners = {each.id: each.worker_id for each in deployment.runs(runs)}
    restart_server(server)
    worker.wait_for_log("the claiming connection is back")
    assert {each.id: each.worker_id for each in deployment.runs(runs)} == owners
    for held_step in (first, other):
        held_step.command("go")
    deployment.wait_until_ended(runs)
    deployment.check(runs)
    worker.stop()
