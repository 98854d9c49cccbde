"""Functions of ``on_process_start``: called once in each child, before it takes runs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.supervisor.worker import FLOWS, Begin

HOOKS = """
@ow.on_process_start
def first():
    main = threading.current_thread() is threading.main_thread()
    signal.signal(signal.SIGUSR1, lambda *_: note("usr1"))
    note(f"first in {os.getpid()}, main thread: {main}")

@ow.on_process_start
def second():
    note(f"second in {os.getpid()}")
"""


@pytest.mark.parametrize("preload", ["--preload", "--no-preload"])
def test_each_child_calls_them_once_in_order_in_its_main_thread(
    begin: Begin, tmp_path: Path, preload: str
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + HOOKS)
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


def test_a_child_that_replaces_a_dead_one_calls_them_too(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text(FLOWS + HOOKS)
    worker = begin("--processes=1")
    worker.kill_child()
    worker.log.wait_for(r"child ready", count=2)
    assert worker.effects()[3:] == [f"second in {worker.children()[1]}"]
    assert worker.stop() == 0


@pytest.mark.slow
@pytest.mark.parametrize("error", ["ValueError('no token')", "SystemExit(0)"])
def test_one_that_raises_ends_the_worker_as_an_import_does_that_fails(
    begin: Begin, tmp_path: Path, error: str
) -> None:
    hook = f"\n@ow.on_process_start\ndef fetch_token():\n    raise {error}\n"
    (tmp_path / "flows.py").write_text(FLOWS + hook)
    worker = begin(ready=False)
    assert worker.program.wait() == 3
    name = error.partition("(")[0]
    assert f"flows.fetch_token, which on_process_start calls, raised {name}" in worker.log.text
    assert 'flows.py", line' in worker.log.text
