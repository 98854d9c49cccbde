"""``kill -USR1``: the worker logs the stacks of its children, which go on with their work."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from owsuper import OpenWorkflow
from tests.client.sync_and_async import Call, sync_and_async
from tests.fixtures.processes import Spawn
from tests.supervisor.worker import FLOWS, Begin, Worker

STUCK = """
@ow.workflow
def hold_the_gil_for_long(step):
    def hold():
        note("holding")
        re.match("(a*)*b", "a" * 50)  # in C, holding the GIL
    step.run("hold", hold)

@ow.workflow
def caught_in_fork(step):
    def fork():
        reader, writer = os.pipe()
        if not os.fork():
            status = dict(line.split(":", 1) for line in open("/proc/self/status"))
            os.write(writer, status["SigCgt"].strip().encode())
            os._exit(0)
        os.close(writer)
        with os.fdopen(reader) as answer:
            return answer.read()
    return step.run("fork", fork)
"""
SYNC = r"thread owsuper-slot.*:\n(  .*\n)*  File .*flows.py.*, in wait\n"
ASYNC = r"task .*:\n  File .*flows.py.*, in wait_for_ever\n(  .*\n)*  File .*flows.py.*, in wait\n"


@pytest.mark.parametrize("level", ["info", "error"])
def test_the_stacks_of_all_children_are_logged_and_their_runs_go_on(
    begin: Begin, tmp_path: Path, level: str
) -> None:
    worker = begin(f"--log-level={level}", "--concurrency=2", ready=False)
    runs = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", count=2)
    runs += [worker.start("wait_for_ever") for _ in range(2)]
    worker.await_effect("waiting", count=4)
    worker.program.signal(signal.SIGUSR1)
    worker.log.wait_for("stacks of child processes: 2")
    for run in runs:
        worker.log.wait_for(rf"^run {run} wait_for_\w+: wait$")
    worker.log.wait_for(r"stacks of child \d \(pid \d+\):", count=2)
    worker.log.wait_for(SYNC)
    worker.log.wait_for(ASYNC)
    (tmp_path / "go").touch()
    worker.await_effect("after", count=2)
    assert worker.crashes() == []
    worker.program.signal(signal.SIGQUIT)
    assert worker.program.wait() == 0


def test_without_runs_nothing_but_idle_threads_is_shown(begin: Begin) -> None:
    worker = begin("--processes=1")
    worker.program.signal(signal.SIGUSR1)
    worker.log.wait_for(r"thread owsuper-slot.*:\n  waits in ")
    assert worker.stop() == 0


def test_in_the_foreground_it_does_the_same(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--foreground")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.signal(signal.SIGUSR1)
    worker.log.wait_for(
        rf"stacks of child 1 \(pid \d+\):\nrun {run} wait_for_file: wait\n(.*\n)*{SYNC}"
    )
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_child_whose_step_holds_the_gil_is_shown_by_a_handler_in_c(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STUCK)
    worker = begin("--processes=1")
    run = worker.start("hold_the_gil_for_long")
    worker.await_effect("holding")
    worker.program.signal(signal.SIGUSR1)
    worker.log.wait_for(
        rf"child 1 \(pid \d+\) does not answer.*:\nrun {run} hold_the_gil_for_long: hold"
    )
    worker.log.wait_for(r'  File ".*flows.py", line \d+ in hold\n')
    assert worker.program.running
    assert "child died" not in worker.log.text
    worker.program.signal(signal.SIGQUIT)
    assert worker.program.wait() == 0


@pytest.fixture
def ow(database_url: str, schema: str) -> Iterator[OpenWorkflow]:
    with closing(OpenWorkflow(database_url, schema=schema)) as ow:
        yield ow


@sync_and_async
def test_programs_get_the_stacks_of_all_workers_and_the_runs_go_on(
    begin: Begin, ow: OpenWorkflow, call: Call, tmp_path: Path
) -> None:
    workers = [begin("--processes=1") for _ in range(2)]
    run = workers[0].start("wait_for_file", path=str(tmp_path / "go"))
    workers[0].await_effect("waiting")
    listed = call(ow, "list_workers", stacks=True)
    processes = [process for worker in listed for process in worker.processes]
    assert len(processes) == 2
    [busy] = [process for process in processes if process.runs]
    assert busy.runs[0].run_id == run
    assert re.search(SYNC, busy.stacks or "")
    assert all("thread owsuper-slot" in (process.stacks or "") for process in processes)
    assert "stacks of child" not in "".join(worker.log.text for worker in workers)
    (tmp_path / "go").touch()
    for worker in workers:
        assert worker.stop() == 0


def test_people_see_them_below_the_table(
    begin: Begin, spawn_owsuper: Spawn, tmp_path: Path, database_url: str, schema: str
) -> None:
    worker = begin("--processes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn_owsuper("ps", "--stacks", env=env, cwd=tmp_path)
    assert program.wait() == 0
    program.end()
    [child] = worker.children()
    head = rf"^\S+: child 1 \(pid {child}\):\nrun {run} wait_for_file: wait\n"
    assert re.search(rf"{head}(.*\n)*{SYNC}", program.stdout.text, re.M)
    (tmp_path / "go").touch()
    assert worker.stop() == 0


@pytest.mark.slow
def test_whoever_asks_learns_that_a_child_does_not_answer(
    begin: Begin, ow: OpenWorkflow, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STUCK)
    worker = begin("--processes=1")
    worker.start("hold_the_gil_for_long")
    worker.await_effect("holding")
    [listed] = ow.list_workers(stacks=True)
    assert "holds the GIL. Its stacks are in the worker's log" in (listed.processes[0].stacks or "")
    worker.log.wait_for(r'  File ".*flows.py", line \d+ in hold\n')
    worker.program.signal(signal.SIGQUIT)
    assert worker.program.wait() == 0


def test_a_name_that_is_no_text_disturbs_nobody(
    begin: Begin, ow: OpenWorkflow, tmp_path: Path
) -> None:
    named = "    def wait():\n        threading.current_thread().name = os.fsdecode(b'caf\\xe9')\n"
    (tmp_path / "flows.py").write_text(FLOWS.replace("    def wait():\n", named))
    worker = begin("--processes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    [listed] = ow.list_workers(stacks=True)
    assert "thread caf\\udce9" in (listed.processes[0].stacks or "")
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    assert worker.crashes() == []
    assert worker.stop() == 0


@pytest.mark.slow
def test_a_worker_that_hears_no_question_is_listed_without(begin: Begin, ow: OpenWorkflow) -> None:
    worker = begin("--processes=1", "--no-listen")
    [listed] = ow.list_workers(stacks=True)
    assert [process.stacks for process in listed.processes] == [None]
    assert worker.stop() == 0


def test_a_signal_to_every_process_of_the_worker_harms_none(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1")
    run = worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    for pid in (worker.program.pid, worker.program.template(), worker.children()[0]):
        os.kill(pid, signal.SIGUSR1)
    worker.log.wait_for(SYNC, count=2)
    worker.log.wait_for(r"owsuper\.child: stacks of child 1:\n")  # by itself
    (tmp_path / "go").touch()
    worker.await_outcome(run)
    worker.kill_child()
    worker.log.wait_for("child ready", count=2)  # forked by the same template
    assert "template died" not in worker.log.text
    assert worker.stop() == 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_that_a_step_forks_does_not_handle_these_signals(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STUCK)
    worker = begin("--processes=1")
    run = worker.start("caught_in_fork")
    worker.await_outcome(run)
    assert caught(worker, run).isdisjoint({signal.SIGUSR1, signal.SIGURG})
    assert worker.stop() == 0


def caught(worker: Worker, run: str) -> set[int]:
    mask = int(re.sub(r"\W", "", worker.get(run).output or ""), 16)
    return {number for number in signal.valid_signals() if mask & 1 << number - 1}
