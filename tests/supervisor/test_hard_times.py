"""A whole worker that lacks processes or descriptors, or that was started in an odd way."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import Begin, Worker

LimitProcesses = Callable[[Worker, "int | None"], None]


@pytest.fixture
def limit_processes() -> Iterator[LimitProcesses]:
    """Limit the number of processes and threads of a worker, None for no limit (a cgroup)."""
    mounts = (Path("/sys/fs/cgroup/pids"), Path("/sys/fs/cgroup"))
    group = next((mount for mount in mounts if mount.is_dir()), mounts[0]) / f"owsuper-{uuid4()}"
    try:
        group.mkdir()
    except OSError as exc:
        pytest.skip(f"cannot make a cgroup: {exc}")
    if not (group / "pids.max").exists():
        group.rmdir()
        pytest.skip("the controller of processes is not enabled")
    worker_pids: set[int] = set()

    def limit(worker: Worker, count: int | None) -> None:
        for pid in (worker.program.pid, *worker.program.descendants()):
            worker_pids.add(pid)
            (group / "cgroup.procs").write_text(str(pid))
        (group / "pids.max").write_text("max" if count is None else str(count))

    yield limit
    for pid in (group / "cgroup.procs").read_text().split():
        (group.parent / "cgroup.procs").write_text(pid)
    group.rmdir()


def test_a_worker_without_processes_serves_on_and_is_whole_again_later(
    begin: Begin, limit_processes: LimitProcesses, tmp_path: Path
) -> None:
    worker = begin("--processes=2", "--concurrency=1")
    runs = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", 2)
    (tmp_path / "go").touch()
    for run in runs:  # now both children have their threads and connections
        worker.await_outcome(run)
    template = worker.template()
    limit_processes(worker, 1)
    worker.kill_child()
    worker.log.wait_for(r"child processes cannot be started; .* serving with 1 of 2")
    os.kill(template, signal.SIGKILL)
    worker.log.wait_for(r"the template cannot be started; trying again", count=2)
    worker.await_outcome(worker.start("record", text="meanwhile"))
    limit_processes(worker, None)
    worker.log.wait_for(r"all child processes are ready again")
    worker.await_outcome(worker.start("record", text="after"))
    assert worker.stop() == 0


def test_a_supervisor_without_descriptors_serves_on_and_is_whole_again_later(
    begin: Begin, proxy: Proxy
) -> None:
    worker = begin("--processes=2", url=proxy.url)
    limit = resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    worker.kill_child()
    worker.log.wait_for(r"child processes cannot be started; .* serving with 1 of 2")
    os.kill(worker.template(), signal.SIGKILL)
    worker.log.wait_for(r"the template cannot be started; trying again", count=2)
    worker.await_outcome(worker.start("record", text="meanwhile"))
    proxy.reset_connections()
    worker.log.wait_for(r"the claiming connection is down", count=3)
    resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE, limit)
    worker.log.wait_for(r"all child processes are ready again")
    worker.await_outcome(worker.start("record", text="after"))
    assert worker.stop() == 0


def test_a_template_that_is_killed_while_it_imports_does_not_end_the_worker(
    begin: Begin, tmp_path: Path
) -> None:
    flows = (tmp_path / "flows.py").read_text()
    (tmp_path / "flows.py").write_text(
        "import sys, time\nfrom pathlib import Path\n"
        "print('importing', file=sys.stderr, flush=True)\n"
        "while not Path('go').exists(): time.sleep(0.01)\n" + flows
    )
    worker = begin(ready=False)
    worker.log.wait_for("importing")
    (template,) = worker.program.descendants()
    (tmp_path / "go").touch()
    os.kill(template, signal.SIGKILL)
    worker.log.wait_for(": ready: ")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


def test_a_template_that_is_killed_while_tables_are_migrated_does_not_end_the_worker(
    begin: Begin, schema: str, conn: psycopg.Connection
) -> None:
    conn.execute(f'DELETE FROM "{schema}".owsuper_migrations WHERE version = 6'.encode())
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker = begin("--processes=4", ready=False)
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
        while not conn.execute(waiting, [f'"{schema}".workflow_runs']).fetchall():
            time.sleep(0.01)  # the worker logs nothing about it
        (template,) = [
            pid
            for pid in worker.program.descendants()
            if b"owsuper: template" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        os.kill(template, signal.SIGKILL)
    worker.log.wait_for(": ready: ")
    assert worker.stop() == 0


def test_a_worker_that_was_started_with_blocked_signals_still_obeys_them(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        worker = begin()  # which inherits the mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    worker.kill_child()
    worker.log.wait_for("child died: signal SIGKILL")
    worker.log.wait_for("child ready", count=3)
    os.kill(worker.children()[1], signal.SIGTERM)
    worker.log.wait_for("child stopped: exit code 0")
    assert worker.stop() == 0
