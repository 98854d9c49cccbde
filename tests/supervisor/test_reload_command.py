"""``owsuper reload``: the exit code says how a reload went."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from owsuper.cli import reload as reload_command
from owsuper.ipc import health
from owsuper.ipc.health import WorkerHealth
from tests.cli.running import Result
from tests.fixtures.processes import Program, Spawn
from tests.supervisor.worker import FLOWS, Begin, Worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="workers can be asked on Linux")

NEW = FLOWS + "\n@ow.workflow\ndef new(step):\n    return 'new'\n"
BROKEN = FLOWS + "\nraise LookupError('no such code')\n"
WAIT_FOR_IMPORT = """
from pathlib import Path
import time
Path("importing").touch()
while not Path("importable").exists():
    time.sleep(0.01)
"""

Reload = Callable[..., Program]


@pytest.fixture
def reload(spawn_owsuper: Spawn, tmp_path: Path) -> Reload:
    """Begin ``owsuper reload`` of one worker, with these options."""

    def reload(worker: Worker, *options: str) -> Program:
        return spawn_owsuper("reload", "--pid", str(worker.program.pid), *options, cwd=tmp_path)

    return reload


def end(program: Program) -> Result:
    code = program.wait()
    program.end()
    return Result(code, program.stdout.text, program.stderr.text)


def test_new_code_serves_when_the_command_ends(
    begin: Begin, reload: Reload, tmp_path: Path
) -> None:
    worker = begin()
    (tmp_path / "flows.py").write_text(NEW)
    result = end(reload(worker))
    assert result.code == 0
    assert result.stderr == f"owsuper: worker {worker.program.pid} has reloaded its code\n"
    worker.await_outcome(worker.start("new"))


def test_code_that_cannot_be_imported_is_an_error_and_the_old_code_serves_on(
    begin: Begin, reload: Reload, tmp_path: Path
) -> None:
    worker = begin()
    (tmp_path / "flows.py").write_text(BROKEN)
    result = end(reload(worker))
    assert result.is_one_error(1)
    assert "the reload failed, the old code serves on" in result.stderr
    assert "no such code" in result.stderr
    worker.await_outcome(worker.start("record", text="old"))
    (tmp_path / "flows.py").write_text(NEW)
    assert end(reload(worker)).code == 0  # the failure is over


def test_a_reload_that_takes_too_long_is_not_waited_for(
    begin: Begin, reload: Reload, tmp_path: Path
) -> None:
    worker = begin()
    (tmp_path / "flows.py").write_text(WAIT_FOR_IMPORT + NEW)
    result = end(reload(worker, "--timeout", "1s"))
    assert result.is_one_error(1)
    assert "is not done after 1 s" in result.stderr
    (tmp_path / "importable").touch()
    worker.log.wait_for("reloaded: workflows")


def test_a_worker_that_ends_meanwhile_has_not_reloaded(
    begin: Begin, reload: Reload, tmp_path: Path
) -> None:
    worker = begin()
    (tmp_path / "flows.py").write_text(WAIT_FOR_IMPORT + NEW)
    waiting = reload(worker)
    worker.log.wait_for("reloading: importing")
    worker.program.terminate()
    assert end(waiting).is_one_error(1)


def test_something_that_is_no_worker_is_not_signaled(
    reload: Reload, spawn: Spawn, tmp_path: Path, spawn_owsuper: Spawn
) -> None:
    other = spawn("sleep", "3600")
    result = end(spawn_owsuper("reload", "--pid", str(other.pid), cwd=tmp_path))
    assert result.is_one_error(1)
    assert "there is no worker with this pid" in result.stderr
    assert other.running


def test_one_of_several_must_be_chosen(begin: Begin, spawn_owsuper: Spawn, tmp_path: Path) -> None:
    workers = [begin(), begin()]
    result = end(spawn_owsuper("reload", cwd=tmp_path))
    assert result.is_one_error(2)
    assert all(str(worker.program.pid) in result.stderr for worker in workers)


def test_an_answer_of_before_the_signal_was_handled_is_not_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = WorkerHealth(1, "0/2 busy", True, 2, ("flows",), "s")
    begun = replace(before, reloads=1, reloading=True)
    ended = replace(before, reloads=1)
    answers = iter([before, begun, ended])
    monkeypatch.setattr(reload_command, "_ask", lambda pid: next(answers))
    monkeypatch.setattr(reload_command, "_PERIOD", 0.0)
    assert reload_command._await_end(1, before, timeout=3600.0) == ended


def test_the_health_of_a_worker_counts_its_reloads(
    begin: Begin, reload: Reload, tmp_path: Path
) -> None:
    worker = begin()
    for text in (NEW, BROKEN):
        (tmp_path / "flows.py").write_text(text)
        end(reload(worker))
    ((answer),) = health.ask_workers(30, worker.program.pid)
    assert answer.health is not None
    assert (answer.health.reloads, answer.health.reloading) == (2, False)
    assert "no such code" in (answer.health.reload_failure or "")
