"""What happens to a database server, each fault with the same load and the same checks.

Workers and clients in the middle of everything may meet the fault: no run is lost, no committed
step is executed again, no failure is charged. test_database_crashes.py and test_failover.py kill
servers in earnest, test_outages.py cuts networks.
"""

from __future__ import annotations

import random
import re
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

import psycopg
import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.chains import check_chains
from tests.acceptance.clients import Clients
from tests.acceptance.deployment import Deployment, Worker, scaled
from tests.acceptance.parents import check_parents, start_parents
from tests.acceptance.tables import eventually
from tests.fixtures.cluster import Server, Servers
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Spawn
from tests.fixtures.proxy import Proxy

SLOW = pytest.mark.slow
SCHEMA = "openworkflow"
SLOTS = 2 * 4
SHAPE = {"steps": 4, "seconds": 0.003}
DISK = 160  # megabytes
OWN_SESSION = {"options": "-c default_transaction_read_only=off"}

Fault = Callable[[Server], AbstractContextManager[None]]


# --- the faults ----------------------------------------------------------------------------------


@contextmanager
def restarted(server: Server) -> Iterator[None]:
    """Sessions are ended, and everything is written out."""
    server.stop(signal.SIGINT)
    yield
    server.start()


@contextmanager
def restarted_at_once(server: Server) -> Iterator[None]:
    """Like a crash: what was not waited for is lost."""
    server.stop(signal.SIGQUIT)
    yield
    server.start()


@contextmanager
def out_of_connections(server: Server) -> Iterator[None]:
    """Other programs have all connections, also those that workers had."""
    with ExitStack() as taken:
        for _ in range(2):
            with suppress(psycopg.OperationalError):
                while True:
                    last = taken.enter_context(server.connect())
            last.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE application_name LIKE 'owsuper%'"
            )
        yield


@contextmanager
def read_only(server: Server) -> Iterator[None]:
    _set(server, "SET default_transaction_read_only = on")
    yield
    _set(server, "RESET default_transaction_read_only")


def _set(server: Server, change: str) -> None:
    with psycopg.connect(server.url, autocommit=True, **OWN_SESSION) as conn:
        conn.execute(f"ALTER SYSTEM {change}".encode())
        conn.execute("SELECT pg_reload_conf()")


@contextmanager
def disk_full(server: Server) -> Iterator[None]:
    """PostgreSQL refuses writes, or ends all sessions and tries to recover, as it comes."""
    filler = server.data / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"x" * (1 << 16))
    yield
    filler.unlink()
    server.revive()


# --- the tests -----------------------------------------------------------------------------------


@pytest.fixture
def small_disk(servers: Servers) -> Iterator[Path]:
    """A directory for a server on a file system of its own."""
    directory = servers.directory / "disk"
    servers.make_directory(directory)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(directory)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as refused:
        pytest.skip(f"no file system of a limited size can be mounted here: {refused}")
    servers.hand_over(directory)
    directory.chmod(0o711)
    yield directory
    servers.crash()
    subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def server(servers: Servers) -> Server:
    return migrated(servers.create("lone", max_connections="40"))


def migrated(server: Server) -> Server:
    with connect(server.url) as conn:
        migrate(conn, SCHEMA)
    return server


Deploy = Callable[[str], Deployment]


@pytest.fixture
def deploy(tmp_path: Path, deployments: list[Deployment], spawn_owsuper: Spawn) -> Deploy:
    def deploy(url: str) -> Deployment:
        deployments.append(Deployment(url, SCHEMA, spawn_owsuper, tmp_path))
        return deployments[-1]

    return deploy


def start_load(deployment: Deployment) -> tuple[list[str], list[str]]:
    ids = deployment.start("linked", *[{**SHAPE, "nap": 0.05}] * scaled(20))
    ids += deployment.start("linked-async", *[{**SHAPE, "nap": 0.05}] * scaled(20))
    return ids, start_parents(deployment, scaled(5))


def check(
    deployment: Deployment, worker: Worker, ids: list[str], parents: list[str], *, repeats: int
) -> None:
    deployment.wait_until_ended([*ids, *parents])
    assert check_chains(deployment, ids) + check_parents(deployment, parents) <= repeats
    worker.stop()
    assert "child died" not in worker.log
    assert deployment.leased() == []
    assert deployment.crashes() == []


@pytest.mark.parametrize(
    ("fault", "repeats"),
    [
        (restarted, 0),
        pytest.param(restarted_at_once, SLOTS, marks=SLOW),
        pytest.param(out_of_connections, 0, marks=SLOW),
        pytest.param(read_only, 0, marks=SLOW),
    ],
)
def test_a_fault_of_the_server_costs_time_and_at_most_the_steps_in_flight(
    deploy: Deploy, server: Server, rng: random.Random, fault: Fault, repeats: int
) -> None:
    deployment = deploy(server.url)
    ids, parents = start_load(deployment)
    faults = scaled(2)
    with Clients(server.url, SCHEMA, SHAPE) as clients:
        worker = deployment.worker()
        for number in range(1, faults + 1):
            deployment.journal.wait_for_more(rng.randrange(5, 40))
            with fault(server):
                worker.wait_for_log("the claiming connection is down", count=number)
            worker.wait_for_log("the claiming connection is back", count=number)
        deployment.journal.wait_for_more(20)
    clients.check(deployment)
    check(deployment, worker, ids + clients.started, parents, repeats=repeats * faults)


@SLOW
def test_a_full_disk_costs_time_and_at_most_the_steps_in_flight(
    deploy: Deploy, servers: Servers, small_disk: Path, rng: random.Random
) -> None:
    limits = {"max_wal_size": "32MB", "min_wal_size": "32MB", "wal_keep_size": "0"}
    server = migrated(servers.create("disk/full", **limits))
    deployment = deploy(server.url)
    ids, parents = start_load(deployment)
    worker = deployment.worker()
    faults = scaled(2)
    for number in range(faults):
        deployment.journal.wait_for_more(rng.randrange(5, 40))
        with disk_full(server):
            fill(server)
            # Small writes may find room that the server has kept, so perhaps no worker notices.
            eventually(
                "a worker notices, or all runs have ended",
                partial(noticed_or_ended, deployment, worker, [*ids, *parents], number + 1),
            )
        more, others = start_load(deployment)
        ids, parents = ids + more, parents + others
    check(deployment, worker, ids, parents, repeats=faults * SLOTS)


def noticed_or_ended(deployment: Deployment, worker: Worker, ids: list[str], count: int) -> bool:
    if len(re.findall("No space left on device|connection is down", worker.log)) >= count:
        return True
    with suppress(psycopg.Error):
        return all(run.status == "completed" for run in deployment.runs(ids))
    return False


def fill(server: Server) -> None:
    """Write until the server has used up the space that it has kept for itself."""
    with suppress(psycopg.Error), server.connect() as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS ballast (text text)")
        while True:
            conn.execute(
                "INSERT INTO ballast SELECT repeat(md5(random()::text), 50)"
                " FROM generate_series(1, 1000)"
            )


@SLOW
def test_connections_that_break_anywhere_in_a_request_or_an_answer_cost_no_step(
    deploy: Deploy, server: Server, rng: random.Random
) -> None:
    deployment = deploy(server.url)
    with Proxy(server.url) as proxy:
        deployment.url = proxy.url
        ids, parents = start_load(deployment)
        with Clients(proxy.url, SCHEMA, SHAPE) as clients:
            worker = deployment.worker()
            for number in range(scaled(30)):
                drop = proxy.drop_after if number % 2 else proxy.drop_answer_after
                drop(rng.randrange(1, 5_000))
                proxy.wait_for_drop(30)
        clients.check(deployment)
        check(deployment, worker, ids + clients.started, parents, repeats=0)
