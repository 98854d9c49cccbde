"""Several hosts and a database host, with network links that are cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.deployment import Deployment, Worker
from tests.acceptance.executions import HeldStep
from tests.acceptance.tables import eventually
from tests.fixtures.network import Host, Network
from tests.fixtures.postgres import HBA, connect, running_server
from tests.fixtures.processes import Program, Spawn, owsuper_command

pytestmark = [pytest.mark.slow, pytest.mark.once]

WORKERS = 3
SLOTS = 4  # of each
SHAPE = {"steps": 10, "seconds": 0.03}
TRUSTING = f"{HBA}host all all 10.231.0.0/24 trust\n"

Cut = Callable[[Host], None]


class HostDeployment(Deployment):
    """A database host, and hosts with a worker each. The test connects by the socket."""

    def __init__(self, socket_url: str, database: Host, spawn: Spawn, directory: Path) -> None:
        super().__init__(socket_url, "openworkflow", self._spawn_on_host, directory)
        self.url = f"postgresql://postgres@{database.address}/postgres"
        self._start_program = spawn
        self._host = database

    def start_on(self, host: Host) -> Worker:
        """Start a worker on ``host``."""
        self._host = host
        return self.worker(
            wait=False, processes=1, concurrency=SLOTS, lease="3s", poll_interval="200ms"
        )

    def wait_until_at_work(self, worker: Worker) -> None:
        """Wait until the worker has executed a step."""
        worker.wait_until_ready()
        children = worker.children()
        self.journal.wait_for(lambda each: each.pid in children)

    def _spawn_on_host(
        self,
        *argv: str | os.PathLike[str],
        env: Mapping[str, str | None] | None = None,
        cwd: Path | None = None,
    ) -> Program:
        command = [*self._host.prefix, *owsuper_command(), *argv]
        return self._start_program(*command, env=env, cwd=cwd)


@pytest.fixture
def database(network: Network, request: pytest.FixtureRequest) -> Iterator[tuple[Host, str]]:
    """A host with a server, and the URL of the server's socket."""
    host = network.host()
    given = request.config.getoption("--postgres")
    binaries = Path(given) if given not in (None, "embedded") else None
    server = running_server(binaries, hba=TRUSTING, listen_addresses=host.address)
    with ExitStack() as stack:
        url = host.run(lambda: stack.enter_context(server))
        with connect(url) as conn:
            migrate(conn, "openworkflow")
        yield host, url


@pytest.fixture
def deployment(
    database: tuple[Host, str], tmp_path: Path, deployments: list[Deployment], spawn: Spawn
) -> HostDeployment:
    host, url = database
    deployment = HostDeployment(url, host, spawn, tmp_path)
    deployments.append(deployment)
    return deployment


@pytest.mark.parametrize("cut", [Host.unplug, Host.silence])
def test_a_host_that_is_cut_off_loses_its_runs_and_after_the_cut_its_late_writes(
    deployment: HostDeployment, network: Network, cut: Cut
) -> None:
    hosts = [network.host() for _ in range(WORKERS)]
    workers = [deployment.start_on(host) for host in hosts]
    for worker in workers:
        worker.wait_until_ready()
    cut_off_host, cut_off = hosts[0], workers[0]

    # All workers share the runs. When one is cut off, the others execute all.
    ids = deployment.start("chain", *[SHAPE] * 60) + deployment.start("chain-async", *[SHAPE] * 30)
    for worker in workers:
        deployment.wait_until_at_work(worker)
    cut(cut_off_host)
    deployment.wait_until_ended(ids)
    cut_off_host.heal()
    deployment.check(ids, repeats=SLOTS)

    # The worker lost its runs and works on.
    held = deployment.start("held", *[{}] * SLOTS * WORKERS)
    held_steps = deployment.gate.take(len(held))
    late = [each for each in held_steps if each.pid in cut_off.children()]
    assert len(late) == SLOTS

    # The worker is cut off during its steps. The others get these runs, and finish half of them.
    cut(cut_off_host)
    release(each for each in held_steps if each not in late)
    again = deployment.gate.take(SLOTS)
    assert {each.run for each in again} == {each.run for each in late}
    assert {each.pid for each in again}.isdisjoint(cut_off.children())
    release(again[:2])
    deployment.wait_until_ended([each.run for each in again[:2]])
    release(late[:2])  # their writes get no answer, and are retried
    cut_off_host.heal()
    release(late[2:])
    for each in late:
        cut_off.wait_until_run_is_lost(each.run)
    release(again[2:])
    deployment.wait_until_ended(held)
    deployment.check(held, repeats=SLOTS)

    more = deployment.start("held", *[{}] * SLOTS * WORKERS)
    held_steps = deployment.gate.take(len(more))
    assert {each.pid for each in held_steps}.issuperset(cut_off.children())
    release(held_steps)
    deployment.wait_until_ended(more)
    deployment.check(more)
    for worker in workers:
        worker.stop()
        assert "child died" not in worker.log


def release(held_steps: Iterator[HeldStep] | list[HeldStep]) -> None:
    for each in held_steps:
        each.command("go")


CLIENT = """
import select, sys, psycopg
from owsuper.db import connect
conn = connect.connect(sys.argv[1], application_name="vanished")
conn.execute("BEGIN")
conn.execute("SELECT pg_advisory_xact_lock(1)")
print("locked", flush=True)
select.select([conn], [], [])
try:
    conn.execute("SELECT 1")
except psycopg.OperationalError:
    print("lost", flush=True)
"""


def test_both_ends_notice_a_peer_that_vanished_silently(
    deployment: HostDeployment, network: Network, spawn: Spawn
) -> None:
    """By keepalives alone: no data is in flight, and no packet reports an error."""
    host = network.host()
    client = spawn(*host.prefix, sys.executable, "-c", CLIENT, deployment.url)
    client.stdout.wait_for("locked")
    backends = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vanished'"
    assert deployment.query(backends)
    host.silence()
    client.stdout.wait_for("lost", timeout=60)
    eventually("the server has released the lock", lambda: not deployment.query(backends))
