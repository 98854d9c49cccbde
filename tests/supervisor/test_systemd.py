"""Notifications to systemd."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from owsuper.supervisor.systemd import Systemd
from tests.supervisor.worker import Begin


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
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


def test_systemd_is_notified_of_start_status_and_stop(
    begin: Begin, listener: socket.socket
) -> None:
    # Read from the beginning: what finds the queue full is dropped, as systemd would not let it be.
    worker = begin(NOTIFY_SOCKET=listener.getsockname(), WATCHDOG_USEC="500000", ready=False)
    received: list[str] = []
    while not {"READY=1", "STATUS=0/2 busy", "WATCHDOG=1"} <= set(received):
        received.append(listener.recv(1000).decode())
    assert worker.stop() == 0
    while "STOPPING=1" not in received:
        received.append(listener.recv(1000).decode())
    assert received.index("READY=1") < received.index("STOPPING=1")
