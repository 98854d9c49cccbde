"""A whole worker that lacks processes or descriptors, or that was started in an odd way."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from psycopg import Connection

from owsuper.supervisor import descriptors
from owsuper.supervisor.exit_status import ExitCode
from tests.fixtures.processes import Spawn, owsuper_command
from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import Begin, Worker

LimitProcesses = Callable[[Worker, "int | None"], None]


# While the file "no-threads" exists, children get none of the threads that every run needs.
NO_THREADS = """
import threading
from pathlib import Path
from owsuper.child import threads

threads._LONGEST_WAIT = 0.1
really_start = threading.Thread.start

def start(thread):
    if thread.name.startswith("owsuper") and Path("no-threads").exists():
        raise RuntimeError("can't start new thread")
    really_start(thread)

threading.Thread.start = start
"""

# While the file "no-hook-threads" exists, a hook of the application cannot start its thread.
NO_HOOK_THREADS = """
@ow.on_child_start
def start_a_thread():
    if Path("no-hook-threads").exists():
        raise RuntimeError("can't start new thread")
"""

# While the file "no-descriptors" exists, children have no free descriptor when they begin.
NO_DESCRIPTORS = """
@ow.on_child_start
def take_all_descriptors():
    while Path("no-descriptors").exists():
        try:
            os.dup(0)
        except OSError:
            return
"""


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


@pytest.mark.slow
def test_a_worker_without_processes_serves_on_and_is_whole_again_later(
    begin: Begin, limit_processes: LimitProcesses, tmp_path: Path
) -> None:
    worker = begin("--processes=2", "--concurrency=1")
    runs = [worker.start("wait_for_file", path=str(tmp_path / "go")) for _ in range(2)]
    worker.await_effect("waiting", 2)
    (tmp_path / "go").touch()
    for run in runs:  # now both children have their threads and connections
        worker.await_outcome(run)
    template = worker.program.template()
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


@pytest.mark.slow
def test_a_supervisor_without_descriptors_serves_on_and_is_whole_again_later(
    begin: Begin, proxy: Proxy
) -> None:
    worker = begin("--processes=2", url=proxy.url)
    limit = resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    worker.kill_child()
    worker.log.wait_for(r"child processes cannot be started; .* serving with 1 of 2")
    os.kill(worker.program.template(), signal.SIGKILL)
    worker.log.wait_for(r"the template cannot be started; trying again", count=2)
    worker.await_outcome(worker.start("record", text="meanwhile"))
    proxy.reset_connections()
    worker.log.wait_for(r"the claiming connection is down", count=3)
    resource.prlimit(worker.program.pid, resource.RLIMIT_NOFILE, limit)
    worker.log.wait_for(r"all child processes are ready again")
    worker.await_outcome(worker.start("record", text="after"))
    assert worker.stop() == 0


@pytest.mark.parametrize(
    ("missing", "before", "after", "advice"),
    [
        ("no-threads", NO_THREADS, "", "ulimit -u"),
        ("no-hook-threads", "", NO_HOOK_THREADS, "can't start new thread"),
        ("no-descriptors", "", NO_DESCRIPTORS, "ulimit -n"),
    ],
    ids=["threads", "threads of a hook", "descriptors"],
)
def test_children_that_lack_something_at_the_start_do_not_end_the_worker(
    begin: Begin, tmp_path: Path, missing: str, before: str, after: str, advice: str
) -> None:
    flows = (tmp_path / "flows.py").read_text()
    (tmp_path / "flows.py").write_text(before + flows + after)
    (tmp_path / missing).touch()
    worker = begin("--processes=4", "--log-level=debug", ready=False)
    worker.log.wait_for(rf"child processes cannot be started; .* serving with 0 of 4: .*{advice}")
    worker.log.wait_for(r" DEBUG .*child died: exit code 3", count=4)
    (tmp_path / missing).unlink()
    worker.log.wait_for(r"all child processes are ready again")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.stop() == 0


@pytest.mark.slow
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
    begin: Begin, schema: str, conn: Connection
) -> None:
    conn.execute(f'DELETE FROM "{schema}".owsuper_migrations WHERE version = 6'.encode())
    with conn.transaction():
        conn.execute(f'LOCK TABLE "{schema}".workflow_runs IN ACCESS EXCLUSIVE MODE'.encode())
        worker = begin("--processes=4", ready=False)
        waiting = "SELECT FROM pg_locks WHERE NOT granted AND relation = $1::regclass"
        while not conn.execute(waiting, [f'"{schema}".workflow_runs']).fetchall():
            time.sleep(0.01)  # the worker logs nothing about it
        os.kill(worker.program.template(), signal.SIGKILL)
    worker.log.wait_for(": ready: ")
    assert worker.stop() == 0


def test_without_proc_a_worker_warns_of_what_it_cannot_see_and_serves(
    spawn: Spawn, begin: Begin, tmp_path: Path, schema: str, database_url: str, conn: Connection
) -> None:
    hide = "umount -l /proc && test ! -e /proc/self && exec "
    if subprocess.run(["unshare", "--mount", "sh", "-c", f"{hide} true"], check=False).returncode:
        pytest.skip("cannot hide /proc")
    command = shlex.join([*owsuper_command(), "--module=flows", "--log-level=debug"])
    environment = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn("unshare", "--mount", "sh", "-c", hide + command, env=environment, cwd=tmp_path)
    worker = Worker(program, conn, schema, tmp_path)
    worker.log.wait_for("/proc is not mounted")
    worker.await_outcome(worker.start("record", text="hello"))
    worker.kill_child()
    worker.log.wait_for("child died: signal SIGKILL")
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.text


def test_too_few_descriptors_for_its_processes_are_one_message(
    spawn: Spawn, tmp_path: Path, begin: Begin
) -> None:
    command = shlex.join([*owsuper_command(), "--module=flows", "--processes=40"])
    program = spawn("sh", "-c", f"ulimit -n 64; exec {command}", cwd=tmp_path)
    assert program.wait() == ExitCode.USAGE
    (message,) = program.stderr.text.splitlines()
    assert "--processes 40 needs 154 open file descriptors" in message
    assert "ulimit -n" in message


def test_a_low_limit_of_descriptors_is_raised_as_far_as_is_allowed() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
    try:
        descriptors.reserve(40)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (277, hard)
        descriptors.reserve(2)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (277, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.slow
@pytest.mark.parametrize("url", ["postgresql:///nowhere", None], ids=["a URL", "no URL"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--module=flows"], ExitCode.IMPORT_ERROR),
        (["migrate"], ExitCode.DATABASE_UNREACHABLE),
        (["runs", "list"], ExitCode.DATABASE_UNREACHABLE),
    ],
    ids=["worker", "migrate", "runs list"],
)
def test_a_working_directory_that_was_deleted_is_one_message(
    spawn: Spawn, tmp_path: Path, url: str | None, arguments: list[str], code: int
) -> None:
    command = shlex.join([*owsuper_command(), *arguments])
    gone = tmp_path / "gone"
    gone.mkdir()
    program = spawn(
        "sh",
        "-c",
        f"rmdir {shlex.quote(str(gone))}; exec {command}",
        cwd=gone,
        env={"OWSUPER_DATABASE_URL": url},
    )
    assert program.wait() == code
    lines = [line for line in program.stderr.text.splitlines() if line.startswith("owsuper: ")]
    assert len(lines) == 1
    assert "Traceback" not in program.stderr.text
    if url is None or code == ExitCode.IMPORT_ERROR:
        assert "The working directory was deleted" in lines[0]


def test_a_working_directory_that_is_deleted_later_does_not_end_the_worker(
    begin: Begin, tmp_path: Path
) -> None:
    worker = begin("--processes=1")
    shutil.rmtree(tmp_path)
    os.kill(worker.program.template(), signal.SIGKILL)
    worker.log.wait_for(r"cannot be loaded any longer; trying again: The working directory was")
    worker.await_outcome(worker.start("environment"))
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
