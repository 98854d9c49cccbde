"""What a real worker keeps of the deaths of its children."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures.processes import Program
from tests.supervisor.worker import FLOWS, Begin, Worker

SEGFAULT = "import ctypes; ctypes.string_at(0)"


def traced(worker: Worker) -> None:
    worker.log.wait_for(r"stacks of child \d+, process \d+:\nFatal Python error: ")


def test_a_run_that_survived_a_segmentation_fault_keeps_all_that_is_known(begin: Begin) -> None:
    worker = begin("--processes=1")
    how = "print('last words', file=__import__('sys').stderr);" + SEGFAULT
    run = worker.start("die_once", how=how)
    worker.await_outcome(run)
    [death] = worker.post_mortems()
    assert worker.crashes() == [], "the count is forgotten when the run ends"
    known = {name: death[name] for name in ("workflow_run_id", "cause", "signal", "exitCode")}
    assert known == {
        "workflow_run_id": run,
        "cause": "signal SIGSEGV",
        "signal": "SIGSEGV",
        "exitCode": None,
    }
    assert (death["step"], death["pid"], death["sharedWith"]) == ("die", worker.children()[0], 0)
    assert (death["counted"], death["given_up"]) == (True, False)
    assert death["stderr"].splitlines()[-1] == "last words"
    assert death["trace"].startswith("Fatal Python error: Segmentation fault\n")
    assert "<string>" in death["trace"], "where the code of the step was"
    assert 0 <= death["stepSeconds"] <= death["runSeconds"] <= death["processSeconds"] < 60
    assert 0 < death["cpuSeconds"] < 60
    assert death["maxRssKb"] > 10_000


def test_standard_error_and_stacks_still_reach_the_log(begin: Begin) -> None:
    worker = begin("--processes=1")
    worker.start(
        "die_once",
        how="os.write(2, b'from C\\n'); print('hello', file=__import__('sys').stderr); os.abort()",
    )
    worker.log.wait_for(r"^from C$")
    worker.log.wait_for(r"^hello$")
    traced(worker)
    assert "Fatal Python error: Aborted" in worker.log.text


def test_lines_of_the_log_and_of_logging_are_in_the_post_mortem(
    begin: Begin, tmp_path: Path
) -> None:
    setup = "import logging\nlogging.basicConfig(format='app: %(message)s')\n"
    (tmp_path / "flows.py").write_text(setup + FLOWS)
    worker = begin("--processes=1")
    how = "import logging; logging.getLogger('shop').warning('out of stock'); os._exit(7)"
    worker.await_outcome(worker.start("die_once", how=how))
    [death] = worker.post_mortems()
    assert (death["cause"], death["exitCode"], death["trace"]) == ("exit code 7", 7, None)
    assert "app: out of stock\n" in death["stderr"]


def test_whatever_a_process_writes_is_kept_and_commands_no_terminal(
    begin: Begin, spawn_owsuper: Any, database_url: str, schema: str, tmp_path: Path
) -> None:
    worker = begin("--processes=1")
    how = (
        "import sys; write = sys.stderr.buffer.write\n"
        "left = b'x' * 3_000_000 + b'\\n'\n"
        "while left: left = left[write(left):]\n"  # a stopped process writes less at a time
        "write(b'NUL \\0 bytes \\xff\\xfe surrogate \\xed\\xa0\\x80 clear \\x1b[2J\\n')\n"
        "sys.stderr.buffer.flush(); print('lone \\ud800', file=sys.stderr); os._exit(9)"
    )
    run = worker.start("die_once", how=how)
    worker.await_outcome(run)
    [death] = worker.post_mortems()
    *_, first, second = death["stderr"].splitlines()
    assert first.startswith("NUL \ufffd bytes \ufffd\ufffd surrogate \ufffd")
    assert first.endswith("clear \x1b[2J")
    assert second == "lone \\ud800"
    assert len(death["stderr"].encode()) < 9000
    program: Program = spawn_owsuper(
        *("runs", "show", run, "--full"),
        env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        cwd=tmp_path,
    )
    assert program.wait() == 0
    assert "clear \\x1b[2J\n" in program.stdout.text
    assert "\x1b" not in program.stdout.text


def test_a_process_that_a_step_forked_is_not_the_child(begin: Begin) -> None:
    worker = begin("--processes=1")
    how = (
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    print('of the fork', file=__import__('sys').stderr)\n"
        "    os.abort()\n"
        "os.waitpid(pid, 0)\n"
        "print('of the child', file=__import__('sys').stderr)\n"
        "os._exit(7)\n"
    )
    worker.await_outcome(worker.start("die_once", how=how))
    [death] = worker.post_mortems()
    assert death["trace"] is None
    assert death["stderr"].endswith("of the child\n")
    assert "of the fork" not in death["stderr"]
    worker.log.wait_for(r"^of the fork$")
    worker.log.wait_for(r"^Fatal Python error: Aborted$")


@pytest.mark.slow
def test_children_that_import_for_themselves_leave_the_same(begin: Begin) -> None:
    worker = begin("--processes=1", "--no-preload")
    how = "print('last words', file=__import__('sys').stderr);" + SEGFAULT
    worker.await_outcome(worker.start("die_once", how=how))
    [death] = worker.post_mortems()
    assert death["stderr"].endswith("last words\n")
    assert "Segmentation fault" in death["trace"]


@pytest.mark.slow
def test_a_run_whose_process_the_worker_kills_at_its_end_keeps_it_uncounted(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--processes=1", "--graceful-timeout=0.1s")
    run = worker.start("wait_for_file", path=str(tmp_path / "never"))
    worker.await_effect("waiting")
    assert worker.stop() == 0
    [death] = worker.post_mortems()
    assert (death["workflow_run_id"], death["counted"]) == (run, False)
    assert (death["signal"], death["outOfMemory"]) == ("SIGKILL", False)
    assert death["cause"] == "signal SIGKILL, as the worker stopped"
    assert death["step"] == "wait"
    assert worker.crashes() == []


def test_a_worker_that_writes_nothing_keeps_nothing(begin: Begin) -> None:
    worker = begin("--processes=1", "--log-level=error", ready=False)
    worker.start("die_once", how="os._exit(7)")
    worker.log.wait_for("run lost its process")
    worker.await_effect("survived")
    [death] = worker.post_mortems()
    assert death["stderr"] is None


@pytest.mark.slow
def test_a_run_that_was_given_up_is_listed_shown_retried_and_no_longer_listed(
    begin: Begin, spawn_owsuper: Any, database_url: str, schema: str, tmp_path: Path
) -> None:
    def owsuper(*argv: str) -> str:
        env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
        program: Program = spawn_owsuper(*argv, env=env, cwd=tmp_path)
        assert program.wait() == 0
        program.end()
        return program.stdout.text

    worker = begin("--max-crashes=2")
    how = "if os.path.exists('mended'): raise SystemExit\n" + SEGFAULT
    crashing = worker.start("die", how=how)
    worker.await_outcome(worker.start("record", text="fine"))
    worker.log.wait_for(rf"it keeps killing its process run_id={crashing}")

    def listed() -> list[str]:
        return [
            run["id"] for run in json.loads(owsuper("runs", "list", "--crashed", "--json"))["runs"]
        ]

    assert listed() == [crashing]
    shown = owsuper("runs", "show", crashing)
    assert shown.count("signal SIGSEGV in step 'die'") >= 2
    assert "Fatal Python error: Segmentation fault" in shown
    owsuper("runs", "retry", crashing)
    worker.log.wait_for(rf"it keeps killing its process run_id={crashing}", count=2)
    assert listed() == [crashing], "it was given up again"
    document = json.loads(owsuper("runs", "show", crashing, "--json"))
    assert [death["signal"] for death in document["post_mortems"]] == ["SIGSEGV"] * 4
    assert [death["counted"] for death in document["post_mortems"]] == [True] * 4


def test_a_child_that_is_killed_from_outside_leaves_what_it_wrote(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--processes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    os.kill(worker.children()[0], signal.SIGKILL)
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    [death] = worker.post_mortems()
    assert (death["signal"], death["trace"], death["counted"]) == ("SIGKILL", None, True)
    assert death["outOfMemory"] in (False, None)


def test_the_stacks_of_a_child_that_outlives_the_supervisor_reach_the_log(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--processes=1", "--graceful-timeout=1m")
    wait = "note('waits')\nwhile not os.path.exists('go'): time.sleep(0.01)\n"
    worker.start("die", how=wait + SEGFAULT)
    worker.await_effect("waits")
    worker.program.signal(signal.SIGKILL)
    worker.log.wait_for("the supervisor has exited")
    (tmp_path / "go").touch()
    worker.log.wait_for(r"stacks of process \d+:\nFatal Python error: Segmentation fault")
    worker.await_no_descendants()
