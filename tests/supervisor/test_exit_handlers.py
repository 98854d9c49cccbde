"""The end of a child: exit handlers of the application run, for a time; leftovers are named."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.supervisor.worker import Begin, Worker

FLOWS = """
import atexit, multiprocessing, os, subprocess, sys, threading, time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from owsuper import OpenWorkflow

ow = OpenWorkflow()
kept = []

def note(text):
    with open("effects", "a") as effects:
        effects.write(f"{text}\\n")

atexit.register(note, "handler of the import")

@ow.workflow("act")
def act(step, input: dict):
    step.run("act", ACTIONS[input["how"]])

def register():
    atexit.register(note, "first")
    atexit.register(note, "second")

def raise_in_handler():
    atexit.register(note, "other")
    def fail():
        raise ValueError("in the handler")
    atexit.register(fail)

def hang_in_handler():
    def hang():
        note("hanging")
        time.sleep(600)
    atexit.register(hang)

def start_thread_that_stays():
    register()
    threading.Thread(target=time.sleep, args=(600,)).start()

def submit_to_thread_that_stays():
    register()
    kept.append(ThreadPoolExecutor(1))
    kept[-1].submit(time.sleep, 600)

def keep_process_pool():
    pool = ProcessPoolExecutor(2, multiprocessing.get_context("fork"))
    kept.append(pool)
    note(f"worker {pool.submit(os.getpid).result()}")

def keep_multiprocessing_pool(method="fork"):
    pool = multiprocessing.get_context(method).Pool(2)
    kept.append(pool)
    note(f"worker {pool.apply(os.getpid)}")
    pool.apply_async(time.sleep, (600,))

def leave_program():
    program = subprocess.Popen(["sleep", "600"], stdout=-3, stderr=-3, start_new_session=True)
    note(f"program {program.pid}")

ACTIONS = {f.__name__: f for f in (
    register, raise_in_handler, hang_in_handler, start_thread_that_stays, keep_process_pool,
    submit_to_thread_that_stays, keep_multiprocessing_pool, leave_program,
)}
ACTIONS["keep_multiprocessing_pool_spawn"] = lambda: keep_multiprocessing_pool("spawn")
"""

Act = Callable[..., Worker]


@pytest.fixture
def act(begin: Begin, tmp_path: Path) -> Act:
    """A worker that has executed a run which did ``how``."""

    def act(how: str, *options: str) -> Worker:
        (tmp_path / "flows.py").write_text(FLOWS)
        worker = begin("--processes=1", *options)
        worker.await_outcome(worker.start("act", how=how))
        return worker

    return act


def pid_of(worker: Worker) -> int:
    [line] = [each for each in worker.effects() if each.startswith(("worker ", "program "))]
    return int(line.split()[1])


def gone(pid: int) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.01)  # processes of others can only be polled
    return False


def test_handlers_that_a_step_registers_run_when_the_worker_stops(act: Act) -> None:
    worker = act("register")
    assert worker.stop() == 0
    # That of the import belongs to the template, which runs it once for all its children.
    assert worker.effects() == ["second", "first", "handler of the import"]


def test_without_preload_the_handlers_of_the_import_run_in_the_child(act: Act) -> None:
    worker = act("register", "--no-preload")
    assert worker.stop() == 0
    assert worker.effects()[:3] == ["second", "first", "handler of the import"]


def test_they_run_when_the_child_alone_is_told_to_stop(act: Act) -> None:
    worker = act("register")
    os.kill(worker.children()[0], signal.SIGTERM)
    worker.await_effect("first")
    worker.stop()
    assert worker.crashes() == []


def test_they_run_when_the_supervisor_dies(act: Act) -> None:
    worker = act("register")
    worker.program.kill()
    worker.await_effect("first")
    worker.await_no_descendants()


def test_a_handler_that_raises_is_shown_and_the_others_run(act: Act) -> None:
    worker = act("raise_in_handler")
    assert worker.stop() == 0
    assert "other" in worker.effects()
    worker.log.wait_for("ValueError: in the handler")


@pytest.mark.slow
def test_a_handler_that_hangs_does_not_hold_up_the_worker(act: Act) -> None:
    worker = act("hang_in_handler", "--graceful-timeout=1h")
    assert worker.stop() == 0
    assert "hanging" in worker.effects()
    assert "exit handlers of the application took longer than 5 s" in worker.log.text
    assert worker.program.descendants() == []


@pytest.mark.slow
@pytest.mark.parametrize("how", ["start_thread_that_stays", "submit_to_thread_that_stays"])
def test_threads_that_never_end_do_not_keep_handlers_from_running(act: Act, how: str) -> None:
    worker = act(how)
    assert worker.stop() == 0
    assert worker.effects()[:2] == ["second", "first"]


@pytest.mark.parametrize(
    "how",
    [
        "keep_process_pool",
        "keep_multiprocessing_pool",
        pytest.param("keep_multiprocessing_pool_spawn", marks=pytest.mark.slow),
    ],
)
def test_pools_that_a_step_keeps_end_with_the_worker(act: Act, how: str) -> None:
    worker = act(how)
    assert worker.stop() == 0
    assert gone(pid_of(worker))
    assert "are left" not in worker.log.text


@pytest.fixture
def killed_at_the_end() -> Iterator[list[int]]:
    pids: list[int] = []
    yield pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")
def test_a_program_that_a_step_leaves_behind_is_named_when_the_worker_stops(
    act: Act, killed_at_the_end: list[int]
) -> None:
    worker = act("leave_program")
    killed_at_the_end.append(pid_of(worker))
    assert worker.stop() == 0
    assert f"processes that steps started are left: {pid_of(worker)} (sleep 600)" in worker.log.text
