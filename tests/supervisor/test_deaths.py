"""A worker whose children and template die."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import pytest

from tests.supervisor.worker import Begin


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", "signal SIGKILL"),
        ("import ctypes; ctypes.string_at(0)", "signal SIGSEGV"),
        ("os._exit(7)", "exit code 7"),
    ],
)
def test_a_run_whose_process_dies_continues_elsewhere_long_before_lease_or_poll(
    begin: Begin, how: str, words: str
) -> None:
    worker = begin("--poll-interval=1h", "--lease=1h")
    run = worker.start("die_once", how=how)
    worker.await_outcome(run)
    assert worker.effects() == ["before", "survived"]
    worker.log.wait_for(f"child died: {words}")
    lost = worker.log.wait_for(rf"^.*run lost its process.*run_id={run}.*$")[0]
    assert "step=die " in lost
    row = worker.get(run)
    assert (row.status, row.attempts) == ("completed", 2)
    worker.log.wait_for(r"child ready", count=3)
    assert len(worker.children()) == 3


def test_a_run_that_keeps_killing_its_process_fails_with_the_evidence(begin: Begin) -> None:
    worker = begin("--max-crashes=3")
    run = worker.start("die", how="import ctypes; ctypes.string_at(0)")
    worker.log.wait_for(rf"it keeps killing its process run_id={run}.* crashes=3")
    row = worker.get(run)
    assert row.status == "failed"
    assert worker.effects() == ["dying"] * 3
    error = json.loads(row.error or "")
    assert "SIGSEGV" in error["message"]
    assert "die" in error["message"]


def test_runs_that_only_shared_the_process_are_not_charged(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--concurrency=3", "--max-crashes=2")
    bystanders = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", 2)
    culprit = worker.start("die", how="os._exit(3)")
    worker.log.wait_for(r"run released after a crash", count=3)
    # From here each runs alone, in any order: a bystander that waits would keep the only process.
    (tmp_path / "go").touch()
    worker.log.wait_for(rf"it keeps killing its process run_id={culprit}")
    for run in bystanders:
        worker.await_outcome(run)
    assert worker.get(culprit).status == "failed"


def test_a_child_that_dies_idle_is_replaced(begin: Begin) -> None:
    worker = begin()
    worker.kill_child()
    worker.log.wait_for(r"child died: signal SIGKILL")
    worker.log.wait_for(r"child ready", count=3)
    assert worker.crashes() == []


@pytest.mark.skipif(sys.platform != "linux", reason="subreapers exist on Linux only")
def test_a_dead_template_is_replaced_and_runs_continue(begin: Begin, tmp_path: Path) -> None:
    worker = begin()
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    os.kill(worker.program.template(), signal.SIGKILL)
    worker.log.wait_for(r"the template died")
    worker.kill_child()
    worker.kill_child(1)
    worker.log.wait_for(r"child died: signal SIGKILL", count=2)
    worker.log.wait_for(r"child ready", count=4)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_step_that_holds_the_gil_keeps_its_lease(begin: Begin) -> None:
    worker = begin("--lease=3s")
    run = worker.start("hold_the_gil", seconds=7.5)
    worker.await_outcome(run)
    assert worker.effects() == ["holding"]
    assert worker.get(run).attempts == 1


@pytest.mark.slow
def test_a_template_that_is_stopped_is_replaced(begin: Begin) -> None:
    worker = begin("--processes=1")
    os.kill(worker.program.template(), signal.SIGSTOP)
    worker.kill_child()
    worker.log.wait_for("the template does not answer")
    worker.log.wait_for("child ready", count=2)
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


def test_runs_of_a_child_that_is_sent_term_are_not_charged(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--concurrency=2", "--max-crashes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    os.kill(worker.children()[0], signal.SIGTERM)
    late = [worker.start("record", text="late") for _ in range(3)]
    (tmp_path / "go").touch()
    worker.log.wait_for("child stopped: exit code 0")
    for each in (run, *late):
        worker.await_outcome(each)
    assert worker.crashes() == []
