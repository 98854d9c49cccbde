"""A worker as process 1 of a pid namespace, as it is in a container."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from owsuper.ipc import health
from tests.fixtures.processes import Program, Spawn, owsuper_command
from tests.supervisor.worker import FLOWS, Begin, Worker

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")

FLOWS_OF_A_CONTAINER = """
import subprocess, sys

@ow.workflow
def leave_orphans(step, input: dict):
    def leave():
        for _ in range(20):
            subprocess.run(["sh", "-c", "sleep 0.05 &"], check=True)
    step.run("leave", leave)

@ow.workflow
def count_signals(step, input: dict):
    def count():
        counting = subprocess.Popen([sys.executable, "-c", '''
import signal, sys
from pathlib import Path
def note(number, _):
    with open("effects", "a") as effects:
        effects.write(signal.Signals(number).name + chr(10))
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, note)
with open("effects", "a") as effects:
    effects.write("counting" + chr(10))
sys.stdin.read()
'''], stdin=subprocess.PIPE)
        while not Path("go").exists():
            time.sleep(0.01)
        counting.communicate()
    step.run("count", count)
"""

WAIT_FOR_EVER = """
import time
from pathlib import Path
Path("importing").touch()
time.sleep(3600)
"""


def _namespaces_are_possible() -> bool:
    if sys.platform != "linux" or not (shutil.which("unshare") and shutil.which("nsenter")):
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(
    not _namespaces_are_possible(), reason="this user may not create a pid namespace"
)

Contain = Callable[..., Worker]


@pytest.fixture
def contain(
    spawn: Spawn, tmp_path: Path, conn: psycopg.Connection, database_url: str, schema: str
) -> Contain:
    """Start a worker of FLOWS as process 1; by default it is ready on return."""
    (tmp_path / "flows.py").write_text(FLOWS + FLOWS_OF_A_CONTAINER)

    def contain(*options: str, ready: bool = True) -> Worker:
        program = spawn(
            *(*UNSHARE, *owsuper_command(), "--module", "flows", "--log-level=debug", *options),
            env={
                "OWSUPER_DATABASE_URL": database_url,
                "OWSUPER_SCHEMA": schema,
                "OWSUPER_PROCESSES": "2",
            },
            cwd=tmp_path,
        )
        worker = Worker(program, conn, schema, tmp_path)
        if ready:
            worker.log.wait_for(r": ready: ")
        return worker

    return contain


def process_one(program: Program) -> int:
    """The pid, outside the namespace, of process 1 in it."""
    (pid,) = children_of(program.pid)
    return pid


def children_of(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def terminate(worker: Worker) -> int:
    subprocess.run(["kill", "-TERM", str(process_one(worker.program))], check=True)
    return worker.program.wait()


def test_it_executes_runs_and_stops_on_term(contain: Contain) -> None:
    worker = contain()
    assert worker.log.wait_for(r"^\S+ INFO 1 owsuper\.supervisor: ready: ")
    worker.await_outcome(worker.start("record", text="effect"))
    assert terminate(worker) == 0
    assert worker.effects() == ["effect"]
    worker.await_no_descendants()


def test_term_is_not_lost_while_the_application_is_imported(
    contain: Contain, tmp_path: Path
) -> None:
    """The kernel drops signals to process 1 for which it has no handler."""
    (tmp_path / "flows.py").write_text(WAIT_FOR_EVER)
    worker = contain(ready=False)
    while not (tmp_path / "importing").exists():
        time.sleep(0.01)  # a file can only be polled
    assert terminate(worker) == 0


def test_it_reaps_the_orphans_that_steps_leave(contain: Contain) -> None:
    worker = contain()
    worker.await_outcome(worker.start("leave_orphans"))
    one = process_one(worker.program)
    give_up_at = time.monotonic() + 60
    while len(left := children_of(one)) > 1:  # the template
        assert time.monotonic() < give_up_at, left
        time.sleep(0.01)  # other processes' children can only be polled
    assert terminate(worker) == 0


def test_it_forwards_no_signal_to_the_processes_of_steps(contain: Contain, tmp_path: Path) -> None:
    worker = contain()
    run_id = worker.start("count_signals")
    worker.await_effect("counting")
    subprocess.run(["kill", "-TERM", str(process_one(worker.program))], check=True)
    worker.log.wait_for("draining; runs to finish: 1")
    (tmp_path / "go").touch()
    worker.await_outcome(run_id)
    assert worker.program.wait() == 0
    assert worker.effects() == ["counting"]
    assert worker.log.text.count("draining") == 1
    assert "terminating" not in worker.log.text


def test_a_run_that_kills_its_process_is_executed_again(contain: Contain) -> None:
    worker = contain()
    worker.await_outcome(worker.start("die_once", how="os.kill(os.getpid(), signal.SIGKILL)"))
    assert worker.effects() == ["before", "survived"]
    assert terminate(worker) == 0


def test_what_steps_have_left_running_ends_with_it(contain: Contain) -> None:
    worker = contain()
    how = "import subprocess; subprocess.Popen(['sleep', '3600'], start_new_session=True)"
    worker.await_outcome(worker.start("die_once", how=how))
    assert terminate(worker) == 0
    worker.await_no_descendants()


def test_a_health_check_sees_the_worker_of_its_own_container_alone(
    contain: Contain, begin: Begin, spawn: Spawn, tmp_path: Path
) -> None:
    outside, inside = begin(), contain()
    target = ("--target", str(process_one(inside.program)))
    enter = ("nsenter", *target, "--pid", "--mount", "--root", "--wd")
    check = spawn(*enter, *owsuper_command(), "healthcheck", "--ready", cwd=tmp_path)
    assert check.wait() == 0
    check.end()
    assert check.stdout.text == "worker 1: ok: 0/2 busy\n"
    assert len(health.ask_workers(30, outside.program.pid)) == 1
    assert health.ask_workers(30, process_one(inside.program)) == []
    assert health.ask_workers(30, 1) == []
