"""Notifications to systemd."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from owsuper.event_loop import Loop
from owsuper.ipc.health import WorkerHealth
from owsuper.ipc.messages import LoadFailed
from owsuper.settings import Settings
from owsuper.supervisor import status as status_module
from owsuper.supervisor.status import Status
from owsuper.supervisor.systemd import Systemd
from tests.supervisor.worker import FLOWS, SLOW_SECOND_CHILD, Begin


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(60)
        yield sock


def test_each_notification_is_a_datagram(listener: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": listener.getsockname()})
    systemd.ready()
    systemd.status("2/8 busy\nand more")
    systemd.alive()
    systemd.stopping()
    received = [listener.recv(1000) for _ in range(4)]
    assert received == [b"READY=1", b"STATUS=2/8 busy and more", b"WATCHDOG=1", b"STOPPING=1"]
    systemd.close()


def test_a_reload_is_reported_with_the_monotonic_time_of_its_beginning(
    listener: socket.socket,
) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": listener.getsockname()})
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    systemd.reloading()
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    first, second = listener.recv(1000).decode().split("\n")
    assert first == "RELOADING=1"
    name, _, value = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(value) <= after
    systemd.close()


def test_a_longer_time_out_is_asked_for_in_microseconds(listener: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": listener.getsockname()})
    systemd.extend_timeout(15.0)
    assert listener.recv(1000) == b"EXTEND_TIMEOUT_USEC=15000000"
    systemd.close()


def test_an_abstract_address_is_understood() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0owsuper-test-{os.getpid()}")
        sock.settimeout(5)
        systemd = Systemd({"NOTIFY_SOCKET": f"@owsuper-test-{os.getpid()}"})
        systemd.ready()
        assert sock.recv(100) == b"READY=1"
        systemd.close()


def test_without_systemd_nothing_is_sent_and_nothing_fails() -> None:
    systemd = Systemd({})
    systemd.ready()
    systemd.close()
    assert systemd.watchdog_seconds is None


def test_a_socket_that_is_full_or_gone_raises_no_error(listener: socket.socket) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": listener.getsockname()})
    for _ in range(5000):
        systemd.alive()
    listener.close()
    systemd.alive()
    systemd.close()


def test_the_variables_are_removed_from_the_environment() -> None:
    environ = {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Systemd(environ).close()
    assert environ == {"HOME": "/"}


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_reset_twice_as_often_as_required(
    environ: dict[str, str], seconds: float | None
) -> None:
    systemd = Systemd({"NOTIFY_SOCKET": "/nowhere", **environ})
    assert systemd.watchdog_seconds == seconds
    systemd.close()


class Manager:
    """The end of systemd: what a worker has notified it of."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self.received: list[str] = []

    def wait_for(self, *texts: str) -> None:
        """Receive until all of these notifications have come, since the last ``forget``."""
        while not set(texts) <= set(self.received):
            self.received.append(self._listener.recv(1000).decode())

    def take(self) -> list[str]:
        """What has come and not been received yet."""
        taken = []
        while (text := self._next_within(0.0)) is not None:
            taken.append(text.decode())
        return taken

    def but_for_status(self) -> list[str]:
        """What was received, without the lines of status, which come at their own times."""
        return [text for text in self.received if not text.startswith("STATUS=")]

    def forget(self) -> None:
        """Drop what has come."""
        self.received.clear()
        self.take()

    def is_silent_for(self, seconds: float) -> bool:
        return self._next_within(seconds) is None

    def _next_within(self, seconds: float) -> bytes | None:
        if not select.select([self._listener], [], [], seconds)[0]:
            return None
        return self._listener.recv(1000)


@pytest.fixture
def make_status(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[Loop, Status]]]:
    """A loop with a status in it, for these settings and variables of systemd."""
    made: list[tuple[Loop, Status]] = []

    def make(graceful_timeout: float = 25.0, **environ: str) -> tuple[Loop, Status]:
        for name, value in {"NOTIFY_SOCKET": listener.getsockname(), **environ}.items():
            monkeypatch.setenv(name, value)
        loop = Loop()
        status = Status(
            loop,
            Settings(modules=("flows",), graceful_timeout=graceful_timeout),
            None,
            describe=lambda: "0/2 busy",
            describe_health=lambda: WorkerHealth(os.getpid(), "0/2 busy", True, 2, (), "s"),
            on_parent_closed=lambda: None,
            on_reload_wanted=lambda: None,
        )
        made.append((loop, status))
        status.update()  # a timer does so later, and would notify in the middle of a test
        select.select([listener], [], [], 60)
        listener.recv(1000)
        return loop, status

    yield make
    for loop, status in made:
        status.close()
        loop.close()


@pytest.fixture
def manager(listener: socket.socket) -> Manager:
    return Manager(listener)


def test_systemd_is_notified_of_start_status_and_stop(
    begin: Begin, listener: socket.socket, manager: Manager
) -> None:
    # Read from the beginning: what finds the queue full is dropped, as systemd would not let it be.
    worker = begin(NOTIFY_SOCKET=listener.getsockname(), WATCHDOG_USEC="500000", ready=False)
    manager.wait_for("READY=1", "STATUS=0/2 busy", "WATCHDOG=1")
    assert worker.stop() == 0
    manager.wait_for("STOPPING=1", "EXTEND_TIMEOUT_USEC=15000000")
    received = manager.received
    assert received.index("READY=1") < received.index("STOPPING=1")
    assert received.index("STOPPING=1") < received.index("EXTEND_TIMEOUT_USEC=15000000")


def test_the_service_is_ready_when_all_its_children_are(
    begin: Begin, listener: socket.socket, manager: Manager, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(SLOW_SECOND_CHILD + FLOWS)
    worker = begin(NOTIFY_SOCKET=listener.getsockname(), ready=False)
    worker.log.wait_for("child ready")
    manager.forget()
    (tmp_path / "go").touch()
    manager.wait_for("READY=1")  # which is sent once, and was not sent before
    worker.log.wait_for("child ready", count=2)


def test_the_status_counts_the_busy_slots(
    begin: Begin, listener: socket.socket, manager: Manager, tmp_path: Path
) -> None:
    worker = begin(NOTIFY_SOCKET=listener.getsockname())
    worker.start("wait_for_file", path=str(tmp_path / "go"))
    manager.wait_for("STATUS=1/2 busy")
    worker.program.terminate()
    manager.wait_for("STATUS=draining 1/2 busy")
    (tmp_path / "go").touch()
    assert worker.program.wait() == 0


def test_a_supervisor_that_stands_still_feeds_no_watchdog(
    begin: Begin, listener: socket.socket, manager: Manager
) -> None:
    worker = begin(NOTIFY_SOCKET=listener.getsockname(), WATCHDOG_USEC="100000")
    manager.wait_for("WATCHDOG=1")
    worker.program.signal(signal.SIGSTOP)
    await_stopped(worker.program.pid)
    manager.forget()
    assert manager.is_silent_for(0.5)
    worker.program.signal(signal.SIGCONT)
    manager.wait_for("WATCHDOG=1")


def await_stopped(pid: int) -> None:
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
        time.sleep(0.001)


def test_a_reload_begins_with_the_time_and_ends_with_ready(
    begin: Begin, listener: socket.socket, manager: Manager
) -> None:
    worker = begin(NOTIFY_SOCKET=listener.getsockname())
    manager.wait_for("READY=1")
    manager.forget()
    worker.program.signal(signal.SIGHUP)
    manager.wait_for("READY=1")
    assert manager.but_for_status()[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    worker.log.wait_for("reloaded: workflows")


def test_the_reload_signal_of_the_units_is_acknowledged_and_reloads_nothing(
    begin: Begin, listener: socket.socket, manager: Manager
) -> None:
    worker = begin(NOTIFY_SOCKET=listener.getsockname())
    manager.wait_for("READY=1")
    manager.forget()
    worker.program.signal(signal.SIGCONT)
    manager.wait_for("READY=1")
    assert manager.but_for_status()[0].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert worker.stop() == 0
    assert "reloading" not in worker.log.text


def test_the_reload_signal_ends_no_reload_and_is_not_answered_in_a_drain(
    make_status: Callable[..., tuple[Loop, Status]], manager: Manager
) -> None:
    """systemd would take the answer for the end of the reload, or of the stop."""
    _, status = make_status()
    status.acknowledge_reload_signal()  # before the start is over
    assert "READY=1" not in manager.take()
    status.ready(1)
    status.on_reloading()
    manager.take()
    status.acknowledge_reload_signal()
    assert manager.take() == []
    status.on_reloaded(1)
    manager.take()
    status.acknowledge_reload_signal()
    assert [each.partition("\n")[0] for each in manager.take()] == ["RELOADING=1", "READY=1"]
    status.stopping()
    manager.take()
    status.acknowledge_reload_signal()
    assert manager.take() == []


def test_a_long_reason_for_a_failed_reload_is_cut_for_whoever_asks(
    make_status: Callable[..., tuple[Loop, Status]],
) -> None:
    """Answers to health checks are sent at once, and read up to a limit."""
    _, status = make_status()
    status.on_reloading()
    status.on_reload_failed(LoadFailed("import", "no " * 100_000))
    assert status.reload_failure is not None
    assert len(status.reload_failure) < 10_000


def test_a_reload_does_not_make_a_service_ready_that_still_starts(
    make_status: Callable[..., tuple[Loop, Status]], manager: Manager
) -> None:
    _, status = make_status()
    manager.forget()
    status.on_reloading()
    status.on_reload_failed(LoadFailed("import", "no such module"))
    status.on_reloading()
    status.on_reloaded(1)
    received = manager.take()
    assert received
    assert not [each for each in received if not each.startswith("STATUS=")]


# --- what the loop has to do with it --------------------------------------------------------


def test_a_loop_that_turns_without_dispatching_feeds_no_watchdog(
    make_status: Callable[..., tuple[Loop, Status]], manager: Manager
) -> None:
    loop, status = make_status(WATCHDOG_USEC="20000")
    for _ in range(5):
        loop.turn()
    manager.forget()
    for _ in range(5):
        loop.turn()
    assert manager.is_silent_for(0.0)
    status.turned()
    manager.wait_for("WATCHDOG=1")


def test_the_watchdog_is_fed_once_each_time_that_it_is_due(
    make_status: Callable[..., tuple[Loop, Status]], manager: Manager
) -> None:
    loop, status = make_status(WATCHDOG_USEC="20000")
    while "WATCHDOG=1" not in manager.take():
        loop.turn()  # the timer that makes it due belongs to the loop
        status.turned()
    for _ in range(5):
        status.turned()
    assert manager.take() == []


def test_a_stop_asks_for_more_time_until_the_worker_should_have_ended(
    make_status: Callable[..., tuple[Loop, Status]],
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr(status_module, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(status_module, "_EXTENSION_PERIOD", 0.001)
    loop, status = make_status(graceful_timeout=25.0)
    manager.forget()
    status.stopping()
    status.stopping()  # a second signal prolongs nothing
    assert manager.take() == ["STOPPING=1", "EXTEND_TIMEOUT_USEC=3000"]
    for left, asked in ((39.0, 3000), (0.002, 2000)):
        now = 100.0 + 25.0 + 15.0 - left
        while not (received := manager.take()) or received[-1] != f"EXTEND_TIMEOUT_USEC={asked}":
            loop.turn()
    now += 1.0
    loop.timers.add("tick", lambda: None, period=0.001).start()
    loop.turn()
    manager.forget()
    for _ in range(20):
        loop.turn()
    assert manager.take() == []
