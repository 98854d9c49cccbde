"""Functions of ``on_child_start`` and ``on_child_stop``: called once in each child."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

from tests.supervisor.worker import FLOWS, Begin

START = """
@ow.on_child_start
def first():
    main = threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGUSR1, lambda *_: note("usr1"))
    note(f"first in {os.getpid()}, main thread: {main}")

@ow.on_child_start
async def second():
    global LOOP
    LOOP = asyncio.get_running_loop()
    await asyncio.sleep(0)
    note(f"second in {os.getpid()}")

@ow.workflow
async def is_loop_of_hook(step):
    return asyncio.get_running_loop() is LOOP
"""

STOP = """
import atexit

@ow.on_child_start
async def open_client():
    global LOOP
    LOOP = asyncio.get_running_loop()
    atexit.register(note, "exit handler")

@ow.on_child_stop
async def close_client():
    await asyncio.sleep(0)
    note(f"client closed, on its loop: {asyncio.get_running_loop() is LOOP}")

@ow.on_child_stop
def close_pool():
    note(f"pool closed, main thread: {threading.current_thread() is threading.main_thread()}")
"""
CLOSED = ["pool closed, main thread: True", "client closed, on its loop: True", "exit handler"]


# --- start -------------------------------------------------------------------------------


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_each_child_calls_them_once_in_order_in_its_main_thread(
    begin: Begin, tmp_path: Path, preload: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + START)
    worker = begin(preload)
    [one, two] = worker.children()
    assert sorted(worker.effects()) == sorted(
        [f"first in {pid}, main thread: True" for pid in (one, two)]
        + [f"second in {pid}" for pid in (one, two)]
    )
    order = [line for line in worker.effects() if str(one) in line]
    assert order[0].startswith("first")
    os.kill(one, signal.SIGUSR1)
    worker.await_effect("usr1")
    assert worker.stop() == 0


@pytest.mark.parametrize("mode", ["--processes=1", "--foreground"])
def test_an_async_one_runs_on_the_loop_of_async_workflows(
    begin: Begin, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + START)
    worker = begin(mode)
    run = worker.start("is_loop_of_hook")
    worker.await_outcome(run)
    assert worker.get(run).output == "true"
    assert worker.stop() == 0


def test_a_child_that_replaces_a_dead_one_calls_them_too(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + START)
    worker = begin("--processes=1")
    worker.kill_child()
    worker.log.wait_for(r"child ready", count=2)
    assert worker.effects()[3:] == [f"second in {worker.children()[1]}"]
    assert worker.stop() == 0


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize("error", ["ValueError('no token')", "SystemExit(0)"])
@pytest.mark.parametrize("mode", ["--processes=1", "--foreground"])
def test_one_that_raises_ends_the_worker_as_an_import_does_that_fails(
    begin: Begin, tmp_path: Path, kind: str, error: str, mode: str
) -> None:
    hook = f"\n@ow.on_child_start\n{kind} fetch_token():\n    raise {error}\n"
    (tmp_path / "flows.py").write_text(FLOWS + hook)
    worker = begin(mode, ready=False)
    assert worker.program.wait() == 3
    name = error.partition("(")[0]
    assert f"flows.fetch_token, which on_child_start calls, raised {name}" in worker.log.text
    [place] = re.findall(r"Traceback .*\n  File (.*), in (.*)\n    raise ", worker.log.text)[-1:]
    assert "flows.py" in place[0]
    assert place[1] == "fetch_token"


def test_the_same_traceback_of_many_children_is_logged_once(begin: Begin, tmp_path: Path) -> None:
    hook = "\n@ow.on_child_start\ndef fetch_token():\n    raise ValueError('no token')\n"
    (tmp_path / "flows.py").write_text(FLOWS + hook)
    worker = begin("--processes=3", ready=False)
    assert worker.program.wait() == 3
    assert worker.log.text.count("the child could not start: flows.fetch_token") >= 3
    assert worker.log.text.count("Traceback") == 1
    last = (
        "owsuper: error: flows.fetch_token, which on_child_start calls, raised ValueError: no token"
    )
    assert last in worker.log.text.splitlines()


def test_one_that_raises_in_a_replacement_is_logged_with_its_traceback_until_it_works(
    begin: Begin, tmp_path: Path
) -> None:
    hook = """
@ow.on_child_start
def fetch_token():
    if Path("no-token").exists():
        raise ValueError("no token")
"""
    (tmp_path / "flows.py").write_text(FLOWS + hook)
    worker = begin("--processes=1")
    (tmp_path / "no-token").touch()
    worker.kill_child()
    worker.log.wait_for(
        r"the child could not start: flows.fetch_token, which on_child_start calls, raised"
        r" ValueError: no token.*\nTraceback .*\n  File .*flows.py.*, in fetch_token\n",
    )
    (tmp_path / "no-token").unlink()
    worker.await_outcome(worker.start("record", text="served"))
    assert worker.effects() == ["served"]
    assert worker.stop() == 0


# --- stop --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["--processes=1", "--foreground"])
def test_after_the_last_run_they_are_called_in_reverse_order_before_exit_handlers(
    begin: Begin, tmp_path: Path, mode: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STOP)
    worker = begin(mode)
    worker.start("wait_for_file", path=str(tmp_path / "go"))
    worker.await_effect("waiting")
    worker.program.terminate()
    worker.log.wait_for("draining")
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0
    assert worker.effects() == ["waiting", "after", *CLOSED]


def test_they_are_called_when_the_child_alone_is_told_to_stop(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STOP)
    worker = begin("--processes=1")
    os.kill(worker.children()[0], signal.SIGTERM)
    worker.await_effect("exit handler")
    assert worker.effects() == CLOSED
    worker.log.wait_for("child ready", count=2)
    assert worker.stop() == 0


def test_they_are_called_when_the_supervisor_dies(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + STOP)
    worker = begin("--processes=1")
    worker.program.kill()
    worker.await_effect("exit handler")
    worker.await_no_descendants()
    assert worker.effects() == CLOSED


def test_what_one_raises_is_logged_and_the_others_are_called(begin: Begin, tmp_path: Path) -> None:
    failing = """
@ow.on_child_stop
def flush():
    raise SystemExit("no buffer")

@ow.on_child_stop
async def publish():
    raise ValueError("no broker")
"""
    (tmp_path / "flows.py").write_text(FLOWS + STOP + failing)
    worker = begin("--processes=1")
    assert worker.stop() == 0
    assert worker.effects() == CLOSED
    for function, error in (("publish", "ValueError: no broker"), ("flush", "SystemExit: no buf")):
        worker.log.wait_for(
            rf"ERROR .*: flows.{function}, which on_child_stop calls, raised {error}.*\n"
            rf"Traceback .*\n  File .*flows.py.*, in {function}\n"
        )


@pytest.mark.slow
@pytest.mark.parametrize("hang", ["def", "async def"])
@pytest.mark.parametrize("mode", ["--processes=1", "--foreground"])
def test_one_that_hangs_does_not_hold_up_the_worker_nor_the_exit_handlers(
    begin: Begin, tmp_path: Path, hang: str, mode: str
) -> None:
    sleep = "time.sleep(600)" if hang == "def" else "await asyncio.sleep(600)"
    hook = f"\n@ow.on_child_stop\n{hang} hang():\n    note('hanging')\n    {sleep}\n"
    (tmp_path / "flows.py").write_text(FLOWS + STOP + hook)
    worker = begin(mode, "--graceful-timeout=1h")
    assert worker.stop() == 0
    assert worker.effects() == ["hanging", "exit handler"]
    assert (
        "flows.hang, which on_child_stop calls, was not done 5 s after the last run; exiting"
        in worker.log.text
    )
    assert worker.program.descendants() == []
