"""No processes, no descriptors: the supervisor says so, waits, and serves with what it has."""

from __future__ import annotations

import errno
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.errors import OperationalError

from owsuper.db.hosts import ConnectAttempt
from owsuper.supervisor.exit_status import was_killed
from owsuper.supervisor.status import ReadyDescriptor
from tests.supervisor.conftest import World, run_that

Make = Callable[..., World]
Application = Callable[[str], None]

# While the file "no-processes" exists, the template cannot fork.
NO_PROCESSES = """
import errno, os
from pathlib import Path

really_fork = os.fork

def fork():
    if Path("no-processes").exists():
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
    return really_fork()

os.fork = fork
"""

# While the file "blocked" exists, a fork of the template takes for ever.
BLOCKED_FORKS = """
import os, time
from pathlib import Path

def wait():
    while Path("blocked").exists():
        time.sleep(0.01)

os.register_at_fork(before=wait)
"""


@contextmanager
def no_descriptors() -> Iterator[None]:
    """Refuse this process every new descriptor."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def messages(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [text for text in caplog.messages if words in text]


# --- children ------------------------------------------------------------------------------------


def test_without_processes_the_fleet_serves_with_the_children_it_has_and_tries_again(
    make_world: Make,
    application: Application,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    application(NO_PROCESSES)
    world = make_world(processes=2)
    world.begin()
    template = world.template.pid
    (tmp_path / "no-processes").touch()
    world.fleet.assign(run_that("os._exit(9)"))
    world.until(lambda: messages(caplog, "child processes cannot be started"))
    (said,) = messages(caplog, "child processes cannot be started")
    assert "serving with 1 of 2" in said
    assert "ulimit -u" in said
    world.fleet.assign(run_that("finish"))
    world.until(lambda: world.finished)
    with caplog.at_level(logging.INFO, "owsuper.supervisor"):
        (tmp_path / "no-processes").unlink()
        world.until(lambda: world.fleet.ready == 2)
    assert messages(caplog, "all child processes are ready again")
    assert world.template.pid == template, "the template is not to blame"
    assert len(world.died) == 1
    assert not world.boot_failures


def test_forks_that_fail_at_the_start_are_no_boot_failures(
    make_world: Make, application: Application, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    application(NO_PROCESSES)
    (tmp_path / "no-processes").touch()
    world = make_world(processes=4)
    world.template.start()
    world.until(lambda: messages(caplog, "child processes cannot be started"))
    (tmp_path / "no-processes").unlink()
    world.until(lambda: world.fleet.ready == 4)
    assert not world.boot_failures
    assert not world.died


def test_a_fleet_that_drains_does_not_wait_for_children_that_cannot_be_forked(
    make_world: Make, application: Application, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    application(NO_PROCESSES)
    (tmp_path / "no-processes").touch()
    world = make_world(processes=2)
    world.template.start()
    world.until(lambda: messages(caplog, "child processes cannot be started"))
    world.fleet.drain()
    world.until(lambda: not len(world.fleet))
    assert not world.died


def test_without_descriptors_the_fleet_serves_with_the_children_it_has_and_tries_again(
    make_world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(processes=2)
    world.begin()
    world.fleet.assign(run_that("os._exit(9)"))
    with no_descriptors():
        world.until(lambda: messages(caplog, "child processes cannot be started"))
        assert "ulimit -n" in messages(caplog, "child processes cannot be started")[0]
        world.fleet.assign(run_that("finish"))
        world.until(lambda: world.finished)
    world.until(lambda: world.fleet.ready == 2)


def test_a_template_without_descriptors_says_so_and_lives_on(
    make_world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world(processes=1)
    world.begin()
    template = world.template.pid
    assert template is not None
    limit = resource.prlimit(template, resource.RLIMIT_NOFILE)
    resource.prlimit(template, resource.RLIMIT_NOFILE, (3, limit[1]))
    world.fleet.assign(run_that("os._exit(9)"))
    world.until(lambda: messages(caplog, "child processes cannot be started"))
    resource.prlimit(template, resource.RLIMIT_NOFILE, limit)
    world.until(lambda: world.fleet.ready == 1)
    assert world.template.pid == template


def test_a_fork_for_many_children_is_requested_for_a_few_at_a_time(
    make_world: Make, application: Application, tmp_path: Path
) -> None:
    application(BLOCKED_FORKS)
    (tmp_path / "blocked").touch()
    world = make_world(processes=20)
    world.template.start()
    world.until(lambda: world.loaded)
    assert 0 < len(world.fleet) < 20
    (tmp_path / "blocked").unlink()
    world.until(lambda: world.fleet.ready == 20)


# --- the template --------------------------------------------------------------------------------


def test_a_template_that_cannot_be_started_is_started_later(
    make_world: Make, caplog: pytest.LogCaptureFixture
) -> None:
    world = make_world()
    with no_descriptors():
        world.template.start()
        world.until(lambda: len(messages(caplog, "the template cannot be started")) >= 2)
    world.until(lambda: world.fleet.ready == 2)
    assert not world.failed


def test_a_template_that_is_killed_while_it_imports_is_started_again(
    make_world: Make, application: Application, tmp_path: Path
) -> None:
    application(
        "import pathlib, time\n"
        "pathlib.Path('importing').touch()\n"
        "while pathlib.Path('slow').exists(): time.sleep(0.01)\n"
    )
    (tmp_path / "slow").touch()
    world = make_world()
    world.template.start()
    world.until(lambda: (tmp_path / "importing").exists())
    world.template.kill()
    (tmp_path / "slow").unlink()
    world.until(lambda: world.fleet.ready == 2)
    assert not world.failed


@pytest.mark.slow
@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP])
def test_an_import_that_something_else_kills_is_tried_again(
    make_world: Make, application: Application, tmp_path: Path, preload: bool, number: int
) -> None:
    (tmp_path / "kill").touch()
    application(
        "import os, pathlib\n"
        "if pathlib.Path('kill').exists():\n"
        "    pathlib.Path('kill').unlink()\n"
        f"    os.kill(os.getpid(), {int(number)})\n"
    )
    world = make_world(preload=preload)
    world.template.start()
    world.until(lambda: world.fleet.ready == 2)
    assert not world.failed
    assert not world.died


def test_forks_that_die_with_their_template_are_no_boot_failures(
    make_world: Make, application: Application, tmp_path: Path
) -> None:
    application(BLOCKED_FORKS)
    (tmp_path / "blocked").touch()
    world = make_world(processes=4)
    world.template.start()
    world.until(lambda: len(world.fleet) == 4)
    world.template.kill()
    (tmp_path / "blocked").unlink()
    world.until(lambda: world.fleet.ready == 4)
    assert not world.boot_failures
    assert not world.died


@pytest.mark.parametrize("preload", [True, False])
def test_an_import_without_descriptors_is_tried_again(
    make_world: Make, application: Application, tmp_path: Path, preload: bool
) -> None:
    (tmp_path / "no-descriptors").touch()
    application(
        "import pathlib, resource\n"
        "if pathlib.Path('no-descriptors').exists():\n"
        "    pathlib.Path('no-descriptors').unlink()\n"
        "    limit = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))\n"
        "    open(__file__)\n"
    )
    world = make_world(preload=preload)
    world.template.start()
    world.until(lambda: world.fleet.ready == 2)
    assert not world.failed


def test_an_application_that_closes_the_descriptors_of_its_process_is_told_so(
    make_world: Make, application: Application
) -> None:
    application("import os, time\nos.closerange(3, 10_000)\ntime.sleep(60)\n")
    world = make_world()
    world.template.start()
    world.until(lambda: world.failed)
    assert "closed its connection to the supervisor" in world.failed[0].message


def test_only_signals_from_outside_count_as_a_kill() -> None:
    assert was_killed(signal.SIGKILL)
    assert was_killed(signal.SIGTERM)
    assert was_killed(signal.SIGRTMIN)
    assert not was_killed(signal.SIGSEGV)
    assert not was_killed(signal.SIGABRT)
    assert not was_killed(0)
    assert not was_killed(3 << 8), "an exit code"


# --- the rest of the supervisor ------------------------------------------------------------------


def test_a_look_up_of_hosts_without_descriptors_is_a_failed_attempt() -> None:
    attempt = ConnectAttempt("host=localhost")
    with no_descriptors(), pytest.raises(OperationalError, match=os.strerror(errno.EMFILE)):
        attempt.start()


def test_a_look_up_of_hosts_without_threads_is_a_failed_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    with pytest.raises(OperationalError, match="can't start new thread"):
        ConnectAttempt("host=localhost").start()


def test_without_descriptors_the_program_that_started_the_worker_is_still_there() -> None:
    ours, theirs = socket.socketpair()
    closed: list[bool] = []
    descriptor = ReadyDescriptor(theirs.detach(), lambda: closed.append(True), lambda: None)
    with ours, no_descriptors():
        ours.send(b"hello")
        descriptor.on_ready(0)
        assert not closed
        ours.shutdown(socket.SHUT_RDWR)
        descriptor.on_ready(0)
    assert closed
