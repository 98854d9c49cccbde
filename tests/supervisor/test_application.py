"""A worker whose application is hard to load."""

from __future__ import annotations

from pathlib import Path

import pytest

from owsuper.supervisor.exit_status import ExitCode
from tests.supervisor.worker import FLOWS, Begin


@pytest.mark.slow
@pytest.mark.once
@pytest.mark.parametrize(
    ("code", "words", "with_traceback"),
    [
        ("1 / 0", "ZeroDivisionError: division by zero", True),
        ("x = 1", "No OpenWorkflow is defined in flows", False),
        (FLOWS + "\n@ow.workflow\ndef record(step): ...\n", "already registered", False),
        (FLOWS + "\n@ow.workflow\ndef ask(step) -> 'Answer': ...\n", "Answer", False),
        ("import os\nos._exit(3)", "exit code 3", False),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV", False),
    ],
    ids=["raises", "empty", "twins", "annotation", "exits", "crashes"],
)
@pytest.mark.parametrize("preload", ["true", "false"])
def test_an_application_that_cannot_be_loaded_is_exit_code_3(
    begin: Begin, tmp_path: Path, code: str, words: str, with_traceback: bool, preload: str
) -> None:
    (tmp_path / "flows.py").write_text(code)
    worker = begin(ready=False, OWSUPER_PRELOAD=preload)
    assert worker.program.wait() == 3
    assert words in worker.log.text
    assert ("Traceback" in worker.log.text) == with_traceback


@pytest.mark.slow
@pytest.mark.once
def test_an_application_that_leaves_threads_behind_is_loaded_by_each_child(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "threaded.py").write_text(
        FLOWS.replace(
            "ow = ",
            "threading.Thread(target=time.sleep, args=(9999,), daemon=True,"
            " name='flusher').start()\now = ",
        )
    )
    (tmp_path / "flows.py").write_text("from threaded import *\n")
    worker = begin()
    worker.log.wait_for(r"left behind what cannot be forked: thread flusher")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


def test_without_preload_runs_are_executed(begin: Begin) -> None:
    worker = begin("--no-preload")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


def test_a_module_of_the_application_may_have_the_name_of_a_standard_module(
    begin: Begin, tmp_path: Path
) -> None:
    for name in ("queue", "types", "logging", "selectors"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not for you')\n")
    worker = begin()
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


def test_a_stop_while_the_application_is_imported_is_clean(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(
        "import sys, time\nsys.stderr.write('importing\\n'); sys.stderr.flush()\ntime.sleep(60)\n"
    )
    worker = begin(ready=False)
    worker.log.wait_for("importing")
    worker.program.terminate()
    assert worker.program.wait() == 0
    assert worker.program.descendants() == []


def test_children_that_cannot_start_end_the_worker_with_the_evidence(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(
        FLOWS + "\nos.register_at_fork(after_in_child=lambda: os._exit(9))\n"
    )
    worker = begin(ready=False)
    assert worker.program.wait() == ExitCode.CHILDREN_FAILED
    assert "3 child processes died before they could take a run" in worker.log.text
    assert "exit code 9" in worker.log.text
