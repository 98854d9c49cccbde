"""``--hang-timeout``: a child that gives no sign of life is replaced, and its run is charged."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.supervisor.test_stacks import STUCK
from tests.supervisor.worker import FLOWS, Begin

CAUSE = "killed: no sign of life for 2 s"


@pytest.mark.slow
def test_a_step_that_holds_the_gil_ends_with_its_process_and_its_stack_is_logged(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STUCK)
    worker = begin("--processes=1", "--hang-timeout=2s")
    run = worker.start("hold_the_gil_for_long")
    worker.log.wait_for("child has given no sign of life for 2 s", timeout=60)
    worker.log.wait_for(r'  File ".*flows.py", line \d+ in hold\n')
    worker.log.wait_for(f"child died: {CAUSE}")
    worker.log.wait_for("run released after a crash")
    crash = worker.crashes()[0]
    assert (crash["run"], crash["step"], crash["cause"]) == (run, "hold", CAUSE)
    death, *_ = worker.post_mortems()  # soon there is another
    assert " in hold\n" in death["trace"]
    worker.program.signal(signal.SIGQUIT)
    assert worker.program.wait() == 0


@pytest.mark.slow
def test_a_child_that_is_stopped_is_replaced_with_a_run_and_without(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--hang-timeout=2s")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    for pid in worker.children():
        os.kill(pid, signal.SIGSTOP)
    worker.log.wait_for(f"child died: {CAUSE}", count=2, timeout=60)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_pause_of_the_supervisor_is_no_hang_of_its_children(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--hang-timeout=5s", "--concurrency=2")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.signal(signal.SIGSTOP)
    time.sleep(6)  # longer than the time-out
    worker.program.signal(signal.SIGCONT)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    worker.await_outcome(worker.start("record", text="served"))
    assert "no sign of life" not in worker.log.text
    assert worker.stop() == 0
