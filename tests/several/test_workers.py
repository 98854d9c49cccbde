"""Workers of several databases: real processes, and two databases of the test server."""

from __future__ import annotations

import os
import re
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from owsuper import OpenWorkflow
from owsuper.client.handle import RunHandle
from owsuper.db.migrate import migrate
from owsuper.several import workers
from owsuper.several.commands import WorkerCommand
from owsuper.supervisor import spawn
from tests.cli.running import port
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Program, Spawn, title
from tests.supervisor.worker import FLOWS

pytestmark = pytest.mark.slow

NEW = FLOWS + "\n@ow.workflow\ndef new(step):\n    return 'new'\n"


class Several:
    """A running ``owsuper`` with two databases, and a client for each."""

    def __init__(self, program: Program, names: Sequence[str], urls: Sequence[str]) -> None:
        self.program = program
        self.log = program.stderr
        self._names = names
        self.clients = [OpenWorkflow(url) for url in urls]

    def await_ready(self) -> None:
        self.log.wait_for(r": ready: databases=2$")

    def supervisor(self, number: int) -> int:
        """The pid of the supervisor of this database, which has been ready."""
        ready = rf"(\d+) owsuper\.supervisor: ready: .*database=\S*{self._names[number]}$"
        return int(self.log.wait_for(ready)[1])

    def start(self, number: int, workflow: str, **input: Any) -> RunHandle[Any]:
        return self.clients[number].run_workflow(workflow, input)

    def await_descendants(self, is_enough: Callable[[int], bool]) -> None:
        deadline = time.monotonic() + 60
        while not is_enough(len(self.program.descendants())):
            assert time.monotonic() < deadline, self.log.text
            time.sleep(0.01)  # processes can only be polled

    def close(self) -> None:
        for client in self.clients:
            client.close()


Begin = Callable[..., Several]


@pytest.fixture(scope="module")
def template(database_url: str) -> Iterator[str]:
    """The name of a database that has all tables, to be copied."""
    name = new_name()
    with connect(database_url) as conn:
        conn.execute(f"CREATE DATABASE {name}".encode())
        with connect(make_conninfo(database_url, dbname=name)) as made:
            migrate(made, "openworkflow")
        yield name
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def new_name() -> str:
    return f"several_{uuid4().hex[:12]}"


@pytest.fixture
def names(conn: psycopg.Connection, template: str) -> Iterator[list[str]]:
    """The names of two databases."""
    names = [new_name(), new_name()]
    for name in names:
        conn.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
    yield names
    for name in names:
        conn.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


@pytest.fixture
def urls(names: list[str], database_url: str) -> list[str]:
    """Their URLs, with a password."""
    parameters = {"password": "s3cret", **conninfo_to_dict(database_url)}
    return [make_conninfo("", **{**parameters, "dbname": name}) for name in names]


@pytest.fixture
def begin(
    names: list[str], urls: list[str], tmp_path: Path, spawn_owsuper: Spawn
) -> Iterator[Begin]:
    """Start workers of FLOWS for both databases; by default they are ready on return."""
    (tmp_path / "flows.py").write_text(FLOWS)
    begun: list[Several] = []

    def begin(*options: str, ready: bool = True, **environment: str) -> Several:
        program = spawn_owsuper(
            *("--module=flows", "--processes=1", "--log-level=debug"),
            *(f"--database-url={url}" for url in urls),
            *options,
            env=environment,
            cwd=tmp_path,
        )
        begun.append(Several(program, names, urls))
        if ready:
            begun[-1].await_ready()
        return begun[-1]

    yield begin
    for each in begun:
        each.close()


@pytest.fixture
def waiting(tmp_path: Path) -> Callable[[Several], list[RunHandle[Any]]]:
    """Start a run in each database that waits for the file "go", and wait until both do."""

    def start(several: Several) -> list[RunHandle[Any]]:
        path = str(tmp_path / "go")
        runs = [several.start(number, "wait_for_file", path=path) for number in range(2)]
        effects = tmp_path / "effects"
        deadline = time.monotonic() + 60
        while not effects.exists() or effects.read_text().count("waiting") < 2:
            assert time.monotonic() < deadline, several.log.text
            time.sleep(0.01)  # a file can only be polled
        return runs

    return start


def go(directory: Path) -> None:
    (directory / "go").touch()


def test_runs_of_both_databases_are_executed_and_the_log_says_of_which_a_line_is(
    begin: Begin, names: list[str], urls: list[str]
) -> None:
    several = begin()
    runs = [several.start(number, "record", text=name) for number, name in enumerate(names)]
    for name, run in zip(names, runs, strict=True):
        run.result(timeout=60)
        found = several.log.wait_for(rf"^.* run_id={run.id} .*outcome=completed.*$")
        assert re.search(rf" database=\S*{name} ", found[0])
    password = str(conninfo_to_dict(urls[0])["password"])
    processes = [several.program.pid, *several.program.descendants()]
    assert title(several.program.pid) == "owsuper: workers of 2 databases"
    assert [title(pid) for pid in processes if password in title(pid)] == []
    assert password not in several.log.text
    several.program.terminate()
    assert several.program.wait() == 0


def test_after_a_ctrl_c_the_runs_of_both_databases_finish(
    begin: Begin, waiting: Callable[[Several], list[RunHandle[Any]]], tmp_path: Path
) -> None:
    several = begin()
    runs = waiting(several)
    several.program.signal(signal.SIGINT)
    several.log.wait_for("draining; runs to finish: 1", count=2)
    go(tmp_path)
    assert several.program.wait() == 0
    assert [run.status() for run in runs] == ["completed", "completed"]
    several.await_descendants(lambda count: not count)


def test_when_a_supervisor_is_killed_the_other_drains_and_the_exit_code_says_so(
    begin: Begin, waiting: Callable[[Several], list[RunHandle[Any]]], tmp_path: Path
) -> None:
    several = begin()
    runs = waiting(several)
    os.kill(several.supervisor(0), signal.SIGKILL)
    several.log.wait_for("a worker has ended: signal SIGKILL")
    several.log.wait_for("draining; runs to finish: 1")
    go(tmp_path)
    assert several.program.wait() == 128 + signal.SIGKILL
    assert runs[1].status() == "completed"
    several.await_descendants(lambda count: not count)


def test_when_the_process_that_started_them_is_killed_both_drain(
    begin: Begin, waiting: Callable[[Several], list[RunHandle[Any]]], tmp_path: Path
) -> None:
    several = begin()
    runs = waiting(several)
    several.program.kill()
    several.log.wait_for("draining; runs to finish: 1", count=2)
    go(tmp_path)
    several.await_descendants(lambda count: not count)
    assert [run.status() for run in runs] == ["completed", "completed"]


def test_a_signal_that_comes_early_is_handled_by_workers_that_just_start(begin: Begin) -> None:
    several = begin(ready=False)
    several.await_descendants(lambda count: count >= 2)
    several.program.terminate()
    assert several.program.wait() == 0


def test_a_worker_starts_again_until_its_database_can_be_reached_while_the_other_serves(
    begin: Begin, names: list[str], urls: list[str], conn: psycopg.Connection
) -> None:
    conn.execute(f"ALTER DATABASE {names[0]} ALLOW_CONNECTIONS false".encode())
    several = begin(ready=False)
    several.log.wait_for(rf"its worker is started again in .* database=\S*{names[0]}$")
    assert several.start(1, "record", text="meanwhile").result(timeout=60)
    conn.execute(f"ALTER DATABASE {names[0]} ALLOW_CONNECTIONS true".encode())
    several.supervisor(0)
    assert several.start(0, "record", text="back").result(timeout=60)
    several.program.terminate()
    assert several.program.wait() == 0


def test_when_no_database_can_be_reached_at_the_start_all_ends(
    begin: Begin, urls: list[str]
) -> None:
    with port(listening=False) as number:
        urls[:] = [f"postgresql://127.0.0.1:{number}/{name}" for name in ("eu", "us")]
        several = begin(ready=False)
        assert several.program.wait() == 4
    ended = rf"a worker has ended: exit code 4 database=127\.0\.0\.1:{number}/(?:eu|us) "
    assert len(re.findall(ended, several.log.text)) >= 2


def test_a_worker_that_finds_no_database_while_all_stop_is_no_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(_module: str, arguments: Sequence[str], **_options: object) -> int:
        end = arguments[0]
        tells = "os.kill(os.getppid(), signal.SIGTERM);" if end == "4" else ""
        code = f"import os, signal, sys; {tells} signal.sigwait([signal.SIGTERM]); sys.exit({end})"
        return os.posix_spawn(
            sys.executable, [sys.executable, "-c", code], os.environ, setsigmask=[signal.SIGTERM]
        )

    monkeypatch.setattr(spawn, "run_module", start)
    started = workers.Workers([WorkerCommand(end, [end], {}) for end in ("0", "4")], burst=False)
    try:
        assert started.run() == 0
    finally:
        started.close()


def test_bursts_end_one_by_one_and_serve_no_database_that_the_application_names(
    begin: Begin, urls: list[str], tmp_path: Path
) -> None:
    own = "OpenWorkflow('postgresql://nowhere.invalid/')"
    (tmp_path / "flows.py").write_text(FLOWS.replace("OpenWorkflow()", own))
    clients = [OpenWorkflow(url) for url in urls]
    runs = [client.run_workflow("record", {"text": "due"}) for client in clients]
    several = begin("--burst", ready=False)
    assert several.program.wait() == 0
    assert [run.status() for run in runs] == ["completed", "completed"]
    assert "stopping the workers" not in several.log.text
    assert several.log.text.count("the application names another database") == 2
    for client in clients:
        client.close()


@pytest.mark.skipif(sys.platform != "linux", reason="workers can be asked on Linux")
def test_all_reload_and_are_asked_by_the_pid_of_the_process_that_started_them(
    begin: Begin, tmp_path: Path, spawn_owsuper: Spawn
) -> None:
    several = begin()
    pids = {several.supervisor(0), several.supervisor(1)}
    (tmp_path / "flows.py").write_text(NEW)
    reload = spawn_owsuper("reload", "--pid", str(several.program.pid), cwd=tmp_path)
    assert reload.wait() == 0
    reload.end()
    said = re.findall(r"worker (\d+) has reloaded its code", reload.stderr.text)
    assert {int(pid) for pid in said} == pids
    for number in range(2):
        assert several.start(number, "new").result(timeout=60) == "new"
    check = spawn_owsuper("healthcheck", "--ready", "--pid", str(several.program.pid), cwd=tmp_path)
    assert check.wait() == 0
    check.end()
    assert {int(pid) for pid in re.findall(r"worker (\d+): ok", check.stdout.text)} == pids
    several.program.signal(signal.SIGHUP)
    several.log.wait_for("reloaded: workflows", count=4)


@pytest.mark.skipif(sys.platform != "linux", reason="systemd is Linux's")
def test_systemd_hears_of_one_service(begin: Begin, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(60)
        several = begin(NOTIFY_SOCKET=listener.getsockname(), WATCHDOG_USEC="100000", ready=False)
        received = await_text(listener, "READY=1")
        assert several.log.text.count(": ready: workflows") == 2
        assert any(re.fullmatch(r"STATUS=\S+: .+; \S+: .+", each) for each in received)
        await_text(listener, "WATCHDOG=1")
        os.kill(several.supervisor(0), signal.SIGSTOP)
        while "WATCHDOG=1" in within_half_a_second(listener):
            pass  # what was on its way
        os.kill(several.supervisor(0), signal.SIGCONT)
        await_text(listener, "WATCHDOG=1")
        several.program.terminate()
        await_text(listener, "STOPPING=1")
        assert several.program.wait() == 0


def await_text(listener: socket.socket, text: str) -> list[str]:
    """Receive until ``text`` has come, and return all that came."""
    received = [""]
    while received[-1] != text:
        received.append(listener.recv(4096).decode())
    return received


def within_half_a_second(listener: socket.socket) -> list[str]:
    """Return what comes until nothing has come for half a second, or the watchdog is fed."""
    received: list[str] = []
    while "WATCHDOG=1" not in received and select.select([listener], [], [], 0.5)[0]:
        received.append(listener.recv(4096).decode())
    return received


MODULES = """
import sys
import owsuper.cli.worker, owsuper.several.workers
print(sorted({"psycopg", "asyncio", "owsuper.supervisor.supervisor"} & set(sys.modules)))
"""


def test_the_process_that_starts_them_loads_neither_driver_nor_supervisor(spawn: Spawn) -> None:
    program = spawn(sys.executable, "-c", MODULES)
    assert program.wait() == 0
    program.end()
    assert program.stdout.text == "[]\n"
