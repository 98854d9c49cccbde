"""Several workers as one service: what systemd hears of them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from owsuper.several.one_service import NotificationSocket, OneService
from owsuper.supervisor.systemd import Systemd

Take = Callable[[], list[str]]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.setblocking(False)
        yield sock


@pytest.fixture
def service(listener: socket.socket) -> Iterator[OneService]:
    with closing(Systemd({"NOTIFY_SOCKET": listener.getsockname()})) as systemd:
        service = OneService(systemd)
        for label in ("eu", "us"):
            service.on_started(label)
        yield service


@pytest.fixture
def take(listener: socket.socket) -> Take:
    """What has been sent to systemd since the last call, without the values of times."""

    def take() -> list[str]:
        taken = []
        while True:
            try:
                taken.append(listener.recv(1000).decode().partition("\n")[0])
            except BlockingIOError:
                return taken

    return take


def test_the_service_is_ready_once_all_workers_are(service: OneService, take: Take) -> None:
    service.on_ready("us")
    assert take() == []
    service.on_ready("eu")
    assert take() == ["READY=1"]


def test_a_service_that_stops_does_not_become_ready(service: OneService, take: Take) -> None:
    service.on_ready("us")
    service.stopping()
    service.stopping()
    service.on_ready("eu")
    assert take() == ["STOPPING=1"]


def test_the_watchdog_is_fed_when_all_workers_have_fed_it(service: OneService, take: Take) -> None:
    service.on_ready("eu")
    service.on_ready("us")
    take()
    for _ in range(3):
        service.on_notified("eu", "WATCHDOG=1")
    assert take() == []
    service.on_notified("us", "WATCHDOG=1")
    assert take() == ["WATCHDOG=1"]
    service.on_notified("us", "WATCHDOG=1")
    assert take() == []


def test_a_worker_that_has_ended_is_not_waited_for(service: OneService, take: Take) -> None:
    service.on_ready("us")
    service.on_ended("eu")
    assert take() == ["READY=1"]
    service.on_notified("us", "WATCHDOG=1")
    assert take() == ["WATCHDOG=1"]
    service.on_notified("eu", "WATCHDOG=1")  # on its way when the worker ended
    service.on_ended("us")
    assert take() == []


def test_a_worker_that_starts_again_feeds_the_watchdog_once_it_is_ready(
    service: OneService, take: Take
) -> None:
    service.on_ended("eu")
    service.on_ready("us")
    service.on_started("eu")
    service.on_notified("us", "WATCHDOG=1")
    assert take() == ["READY=1", "WATCHDOG=1"]
    service.on_ready("eu")
    service.on_notified("us", "WATCHDOG=1")
    assert take() == []
    service.on_notified("eu", "WATCHDOG=1")
    assert take() == ["WATCHDOG=1"]


def test_a_reload_begins_with_the_first_worker_and_ends_with_the_last(
    service: OneService, take: Take
) -> None:
    service.on_ready("eu")
    service.on_ready("us")
    service.on_notified("us", "READY=1")  # of its start
    assert take() == ["READY=1"]
    service.on_notified("eu", "RELOADING=1\nMONOTONIC_USEC=5")
    service.on_notified("us", "RELOADING=1\nMONOTONIC_USEC=5")
    service.on_notified("eu", "READY=1")
    service.acknowledge_reload_signal()  # answered by the end of the reload
    assert take() == ["RELOADING=1"]
    service.on_notified("us", "READY=1")
    assert take() == ["READY=1"]


def test_a_reload_ends_when_the_last_worker_that_reloads_has_ended(
    service: OneService, take: Take
) -> None:
    service.on_notified("eu", "RELOADING=1\nMONOTONIC_USEC=5")
    service.on_ended("eu")
    assert take() == ["RELOADING=1", "READY=1"]


def test_the_reload_signal_of_the_units_is_acknowledged_while_the_service_is_ready(
    service: OneService, take: Take
) -> None:
    service.acknowledge_reload_signal()
    assert take() == []
    service.on_ready("eu")
    service.on_ready("us")
    take()
    service.acknowledge_reload_signal()
    assert take() == ["RELOADING=1", "READY=1"]
    service.stopping()
    take()
    service.acknowledge_reload_signal()
    assert take() == []


def test_the_status_is_of_all_workers_and_more_time_is_asked_for_each(
    service: OneService, take: Take
) -> None:
    service.on_notified("us", "STATUS=1/2 busy")
    service.on_notified("us", "EXTEND_TIMEOUT_USEC=15000000")
    service.on_notified("us", "EXTEND_TIMEOUT_USEC=soon")
    service.on_notified("us", "STOPPING=1")
    assert take() == ["STATUS=eu: starting; us: 1/2 busy", "EXTEND_TIMEOUT_USEC=15000000"]


@pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")
def test_a_notification_counts_if_the_worker_itself_has_sent_it() -> None:
    texts: list[str] = []
    with closing(NotificationSocket(texts.append)) as receiver:
        receiver.pid = os.getpid()
        other = (
            "import sys; from owsuper.supervisor.systemd import Systemd;"
            "Systemd({'NOTIFY_SOCKET': sys.argv[1]}).alive()"
        )
        subprocess.run([sys.executable, "-c", other, receiver.address], check=True)
        systemd = Systemd({"NOTIFY_SOCKET": receiver.address})
        systemd.ready()
        systemd.close()
        receiver.on_ready(0)
    assert texts == ["READY=1"]
