"""Several hosts and a database host, with real links between them that are cut."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from owsuper.db.migrate import migrate
from tests.acceptance.evidence import Arrival
from tests.acceptance.tables import eventually
from tests.acceptance.world import Worker, World
from tests.fixtures.network import Host, Network
from tests.fixtures.postgres import HBA, connect, running_server
from tests.fixtures.processes import Program, Spawn, owsuper_command

pytestmark = pytest.mark.slow

WORKERS = 3
SLOTS = 4  # of each
SHAPE = {"steps": 10, "seconds": 0.03}
TRUSTING = f"{HBA}host all all 10.231.0.0/24 trust\n"

Cut = Callable[[Host], None]


class Land(World):
    """A database host, and hosts with a worker each. The test itself comes in by the socket."""

    def __init__(self, socket_url: str, database: Host, spawn: Spawn, directory: Path) -> None:
        super().__init__(socket_url, "openworkflow", self._spawn_on_host, directory)
        self.url = f"postgresql://postgres@{database.address}/postgres"
        self._start_program = spawn
        self._host = database

    def settle(self, host: Host) -> Worker:
        """Start a worker on ``host``."""
        self._host = host
        return self.worker(
            wait=False, processes=1, concurrency=SLOTS, lease="2s", poll_interval="200ms"
        )

    def wait_until_at_work(self, worker: Worker) -> None:
        """Wait until it has executed something."""
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
    """A host with a server, and that server's URL by its socket."""
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
def land(database: tuple[Host, str], tmp_path: Path, worlds: list[World], spawn: Spawn) -> Land:
    host, url = database
    land = Land(url, host, spawn, tmp_path)
    worlds.append(land)
    return land


@pytest.mark.parametrize("cut", [Host.unplug, Host.silence])
def test_a_host_that_is_cut_off_loses_its_runs_and_after_the_cut_its_late_writes(
    land: Land, network: Network, cut: Cut
) -> None:
    hosts = [network.host() for _ in range(WORKERS)]
    workers = [land.settle(host) for host in hosts]
    for worker in workers:
        worker.wait_until_ready()
    lost, lonely = hosts[0], workers[0]

    # All share the work; when one is gone, the others do it all.
    ids = land.start("chain", *[SHAPE] * 60) + land.start("chain-async", *[SHAPE] * 30)
    for worker in workers:
        land.wait_until_at_work(worker)
    cut(lost)
    land.wait_until_ended(ids)
    lost.heal()
    land.check(ids, repeats=SLOTS)

    # It has lost its runs, not its mind.
    held = land.start("held", *[{}] * SLOTS * WORKERS)
    arrivals = land.gate.take(len(held))
    late = [each for each in arrivals if each.pid in lonely.children()]
    assert len(late) == SLOTS

    # It is cut off in mid-step. The others get these runs, and finish half of them.
    cut(lost)
    say_go(each for each in arrivals if each not in late)
    again = land.gate.take(SLOTS)
    assert {each.run for each in again} == {each.run for each in late}
    assert {each.pid for each in again}.isdisjoint(lonely.children())
    say_go(again[:2])
    land.wait_until_ended([each.run for each in again[:2]])
    say_go(late[:2])  # these write into the silence, and try again
    lost.heal()
    say_go(late[2:])
    for each in late:
        lonely.says(f"run {each.run}.* taken from us")
    say_go(again[2:])
    land.wait_until_ended(held)
    land.check(held, repeats=SLOTS)

    more = land.start("held", *[{}] * SLOTS * WORKERS)
    arrivals = land.gate.take(len(more))
    assert {each.pid for each in arrivals}.issuperset(lonely.children())
    say_go(arrivals)
    land.wait_until_ended(more)
    land.check(more)
    for worker in workers:
        worker.stop()
        assert "child died" not in worker.log


def say_go(arrivals: Iterator[Arrival] | list[Arrival]) -> None:
    for each in arrivals:
        each.say("go")


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


def test_both_ends_notice_when_the_other_vanished_without_a_word(
    land: Land, network: Network, spawn: Spawn
) -> None:
    """By keepalives alone: nothing is on its way, and no packet says that anything is wrong."""
    host = network.host()
    client = spawn(*host.prefix, sys.executable, "-c", CLIENT, land.url)
    client.stdout.wait_for("locked")
    backends = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'vanished'"
    assert land.query(backends)
    host.silence()
    client.stdout.wait_for("lost", timeout=60)
    eventually("the server has let go of the lock", lambda: not land.query(backends))
