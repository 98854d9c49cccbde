"""``owsuper --foreground``: one process, which has the terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.fixtures.processes import Program, Spawn, owsuper_command
from tests.supervisor import test_exit_handlers, test_user_processes
from tests.supervisor.worker import FLOWS, IN_TERMINAL, Begin, Worker

DEBUGGED = """
def inspect():
    answer = 1
    breakpoint()
    return answer

@ow.workflow
def stop_here(step, input: dict):
    return step.run("inspect", inspect)

@ow.workflow
async def stop_there(step, input: dict):
    return await step.run("inspect", inspect)

@ow.workflow(step_timeout="100ms")
def stop_long(step, input: dict):
    return step.run("inspect", inspect)

@ow.workflow
def call_program(step, input: dict):
    import subprocess
    return [os.getpid(), step.run("call", lambda: subprocess.call(["sh", "-c", "exit 7"]))]
"""


class Terminal:
    """A pseudo-terminal; a program in it is told what a user types."""

    def __init__(self) -> None:
        self._ours, self.theirs = pty.openpty()
        self.text = ""
        threading.Thread(target=self._read, daemon=True).start()

    def await_text(self, text: str, count: int = 1) -> None:
        deadline = time.monotonic() + 60
        while self.text.count(text) < count:
            assert time.monotonic() < deadline, self.text
            time.sleep(0.01)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def close(self) -> None:
        os.close(self.theirs)

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # the other end is closed
                os.close(self._ours)
                return
            self.text += data.decode(errors="replace")


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


@pytest.fixture
def in_terminal(
    terminal: Terminal,
    spawn: Spawn,
    tmp_path: Path,
    database_url: str,
    schema: str,
    conn: psycopg.Connection,
) -> Callable[..., Worker]:
    """Starts a worker in the foreground of the terminal."""

    def start(*options: str) -> Worker:
        (tmp_path / "flows.py").write_text(FLOWS + DEBUGGED)
        command = [*owsuper_command(), "--foreground", "--module=flows", *options]
        program: Program = spawn(
            *(sys.executable, "-c", IN_TERMINAL, os.ttyname(terminal.theirs), *command),
            env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
            cwd=tmp_path,
        )
        terminal.await_text("ready: ")
        return Worker(program, conn, schema, tmp_path)

    return start


def output(worker: Worker, run: str) -> Any:
    return json.loads(worker.get(run).output or "null")


def await_end(worker: Worker, run: str) -> None:
    deadline = time.monotonic() + 60
    while worker.get(run).status not in ("completed", "failed"):
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("workflow", ["stop_here", "stop_there"])
def test_a_breakpoint_in_a_step_has_the_terminal(
    in_terminal: Callable[..., Worker], terminal: Terminal, workflow: str
) -> None:
    worker = in_terminal()
    run = worker.start(workflow)
    terminal.await_text("(Pdb) ")
    terminal.type("answer = 42\n")
    terminal.await_text("(Pdb) ", count=2)
    terminal.type("continue\n")
    await_end(worker, run)
    assert output(worker, run) == 42
    terminal.type("\x03")  # Ctrl-C
    assert worker.program.wait() == 0


def test_a_step_that_is_stopped_in_the_debugger_beyond_its_time_out_goes_on(
    in_terminal: Callable[..., Worker], terminal: Terminal
) -> None:
    worker = in_terminal("--kill-grace=100ms")
    run = worker.start("stop_long")
    terminal.await_text("(Pdb) ")
    terminal.await_text("code cannot be stopped, because")
    terminal.type("continue\n")
    await_end(worker, run)
    assert output(worker, run) == 1
    terminal.type("\x03")
    assert worker.program.wait() == 0


def test_a_second_ctrl_c_gives_back_a_run_that_is_stopped_in_the_debugger(
    in_terminal: Callable[..., Worker], terminal: Terminal
) -> None:
    worker = in_terminal()
    run = worker.start("stop_here")
    terminal.await_text("(Pdb) ")
    terminal.type("\x03")
    terminal.await_text("draining; runs to finish: 1")
    terminal.type("\x03")
    assert worker.program.wait() == 0
    row = worker.get(run)
    assert (row.status, row.worker_id) == ("running", None)
    assert worker.crashes() == []


def test_there_is_one_process_and_steps_get_the_exit_codes_of_their_programs(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + DEBUGGED)
    worker = begin("--foreground")
    run = worker.start("call_program")
    worker.await_outcome(run)
    assert output(worker, run) == [worker.program.pid, 7]
    assert worker.program.descendants() == []
    assert worker.stop() == 0


def test_a_process_that_a_step_forks_has_default_signals_and_no_descriptor_of_ours(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(test_user_processes.FLOWS)
    worker = begin("--foreground")
    run = worker.start("start", how="os.fork")
    worker.await_outcome(run)
    assert output(worker, run) == test_user_processes.DEFAULT
    worker.await_outcome(worker.start("start", how="terminate"))
    assert worker.stop() == 0


def test_exit_handlers_and_hooks_run(begin: Begin, tmp_path: Path) -> None:
    hook = "\n@ow.on_child_start\ndef hook():\n    note('hook')\n"
    (tmp_path / "flows.py").write_text(test_exit_handlers.FLOWS + hook)
    worker = begin("--foreground")
    worker.await_outcome(worker.start("act", how="register"))
    assert worker.stop() == 0
    assert worker.effects() == ["hook", "second", "first", "handler of the import"]


@pytest.mark.slow
def test_a_run_that_does_not_end_is_given_back_at_the_graceful_time_out(begin: Begin) -> None:
    worker = begin("--foreground", "--graceful-timeout=200ms")
    run = worker.start("wait_for_file", path="/nowhere")
    worker.await_effect("waiting")
    assert worker.stop() == 0
    row = worker.get(run)
    assert (row.status, row.worker_id) == ("running", None)


def test_what_ends_the_process_ends_the_worker(begin: Begin) -> None:
    worker = begin("--foreground")
    worker.start("die", how="os.kill(os.getpid(), signal.SIGKILL)")
    assert worker.program.wait() == -signal.SIGKILL


def test_several_runs_at_a_time_are_refused(begin: Begin) -> None:
    worker = begin("--foreground", "--processes=2", ready=False)
    assert worker.program.wait() == 2
    assert "--foreground executes one run at a time: leave out --processes" in worker.log.text


def test_an_application_that_cannot_be_imported_is_exit_code_3(
    begin: Begin, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text("1 / 0\n")
    worker = begin("--foreground", ready=False)
    assert worker.program.wait() == 3
    assert "ZeroDivisionError: division by zero" in worker.log.text
    assert "owsuper: error: flows cannot be imported" in worker.log.text
