"""``--watch``: code is reloaded when its files change."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.fixtures.processes import Program, Spawn
from tests.supervisor.test_reloading import said, write
from tests.supervisor.worker import Begin


def await_watch(worker: Program) -> None:
    """Wait until the kernel tells a process of the worker about changed files."""
    deadline = time.monotonic() + 60
    while not any(map(watches, worker.descendants())):
        assert time.monotonic() < deadline, worker.stderr.text
        time.sleep(0.01)  # only the processes themselves know


def watches(pid: int) -> bool:
    """Whether the process has an inotify instance that watches something."""
    try:
        infos = [info.read_text() for info in Path(f"/proc/{pid}/fdinfo").iterdir()]
    except OSError:  # the process or the descriptor is gone
        return False
    return any("inotify wd:" in info for info in infos)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_change_of_a_python_file_reloads_the_code(begin: Begin, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    write(tmp_path, "old")
    worker = begin("--watch")
    await_watch(worker.program)
    write(tmp_path, "newer")
    worker.log.wait_for(": changed: .*flows.py")
    worker.log.wait_for(": reloaded: ")
    assert said(worker) == "newer"
    write(tmp_path, "broken", "\n1 / 0\n")
    worker.log.wait_for(": the reload failed, ")
    assert said(worker) == "newer"
    write(tmp_path, "mended")
    worker.log.wait_for(": reloaded: ", count=2)
    assert said(worker) == "mended"
    assert worker.stop() == 0
    assert "are left" not in worker.log.text


def test_the_watching_process_ends_with_a_supervisor_that_is_killed(begin: Begin) -> None:
    pytest.importorskip("watchfiles")
    worker = begin("--watch")
    worker.program.kill()
    worker.await_no_descendants()


def test_without_the_library_the_message_says_what_to_install(spawn: Spawn, tmp_path: Path) -> None:
    without = "import sys; sys.modules['watchfiles'] = None; import owsuper.cli as cli;"
    code = without + "sys.exit(cli.main(['--module', 'flows', '--watch']))"
    program = spawn(sys.executable, "-c", code, cwd=tmp_path)
    assert program.wait() == 2
    program.end()
    assert "pip install 'owsuper[watch]'" in program.stderr.text


def test_the_foreground_cannot_be_watched(spawn_owsuper: Spawn, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    program = spawn_owsuper("--module", "flows", "--watch", "--foreground", cwd=tmp_path)
    assert program.wait() == 2
    program.end()
    assert "leave out --watch" in program.stderr.text
