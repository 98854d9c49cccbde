"""TTIN and TTOU: one process more, one less."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.supervisor.conftest import World
from tests.supervisor.worker import Begin, Worker


def await_title(worker: Worker, words: str) -> None:
    """Wait until the title of the supervisor contains ``words``."""
    deadline = time.monotonic() + 60
    path = Path(f"/proc/{worker.program.pid}/cmdline")
    while words not in (title := path.read_bytes().decode()):
        assert time.monotonic() < deadline, title
        time.sleep(0.02)  # a title can only be polled


def test_ttin_adds_a_process_that_takes_runs(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1")
    for _ in range(2):
        worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.signal(signal.SIGTTIN)
    worker.await_effect("waiting", 2)
    await_title(worker, "2/2 busy")
    (tmp_path / "go").touch()
    assert worker.stop() == 0


def test_after_ttou_a_process_finishes_its_run_and_leaves(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=2")
    runs = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", 2)
    worker.program.signal(signal.SIGTTOU)
    await_title(worker, "2/1 busy")
    (tmp_path / "go").touch()
    for run in runs:
        worker.await_outcome(run)
    worker.await_descendants(2)
    await_title(worker, "0/1 busy")
    worker.await_outcome(worker.start("record", text="served"))
    assert worker.crashes() == []


def test_one_process_stays(begin: Begin) -> None:
    worker = begin("--processes=1")
    worker.program.signal(signal.SIGTTOU)
    worker.log.wait_for("one process is the least")
    worker.await_outcome(worker.start("record", text="served"))
    worker.program.signal(signal.SIGTTIN)
    worker.log.wait_for("child ready", count=2)
    worker.program.signal(signal.SIGTTOU)
    worker.await_descendants(2)
    worker.await_outcome(worker.start("record", text="served"))


def test_a_process_that_was_added_is_replaced_when_it_dies(begin: Begin) -> None:
    worker = begin("--processes=1")
    worker.program.signal(signal.SIGTTIN)
    worker.log.wait_for("child ready", count=2)
    os.kill(worker.children()[1], signal.SIGKILL)
    worker.log.wait_for("child ready", count=3)
    worker.await_descendants(3)


def test_fewer_processes_in_the_middle_of_a_reload_leave_one_that_takes_runs(
    make_world: Callable[..., World],
) -> None:
    world = make_world(processes=2)
    world.begin()
    assert world.template.pid is not None
    os.kill(world.template.pid, signal.SIGSTOP)  # so that the next child is not ready
    for child in world.fleet:
        child.outdated = True
    world.fleet.fill()
    assert len(world.fleet) == 3
    world.fleet.resize(1)
    assert world.fleet.ready == 1
    os.kill(world.template.pid, signal.SIGCONT)
    world.until(lambda: [child.outdated for child in world.fleet] == [False])


@pytest.mark.slow
def test_a_reload_keeps_the_number_of_processes(begin: Begin) -> None:
    worker = begin("--processes=1")
    for count in (2, 3):
        worker.program.signal(signal.SIGTTIN)
        worker.log.wait_for("child ready", count=count)
    worker.program.signal(signal.SIGHUP)
    worker.log.wait_for(": reloaded: ")
    worker.await_descendants(4)
    assert worker.stop() == 0
