"""The socket at which a worker is asked how it is."""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading
from collections.abc import Iterator

import pytest

from owsuper.event_loop import Loop
from owsuper.ipc import health
from owsuper.ipc.health import WorkerHealth
from owsuper.supervisor import health_socket
from owsuper.supervisor.health_socket import HealthSocket

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")

HEALTH = WorkerHealth(os.getpid(), "0/2 busy", True, 2, ("flows",), "openworkflow")


@pytest.fixture
def loop(loop: Loop) -> Loop:
    loop.timers.add("tick", lambda: None, period=0.01).start()
    return loop


@pytest.fixture
def answering(loop: Loop) -> Iterator[HealthSocket]:
    answering = HealthSocket(loop, lambda: HEALTH)
    yield answering
    answering.close()


def connect(answering: HealthSocket) -> socket.socket:
    with socket.socket(fileno=os.dup(answering.fileno())) as listening:
        address = listening.getsockname()
    asking = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    asking.connect(address)
    asking.settimeout(10)
    return asking


def test_the_loop_answers_whoever_asks(loop: Loop, answering: HealthSocket) -> None:
    answers: list[health.Answer] = []
    asking = threading.Thread(target=lambda: answers.extend(health.ask_workers(30, os.getpid())))
    asking.start()
    while asking.is_alive():
        loop.turn()
    assert health.Answer(os.getpid(), HEALTH) in answers


def test_many_at_once_are_answered_in_several_turns(loop: Loop, answering: HealthSocket) -> None:
    asking = [connect(answering) for _ in range(20)]
    loop.turn()
    asking[-1].setblocking(False)
    with pytest.raises(BlockingIOError):
        asking[-1].recv(1000)
    for _ in range(2):
        loop.turn()
    for each in asking:
        with each:
            assert each.recv(1000) == health.encode(HEALTH)


def test_somebody_who_asks_and_goes_harms_nobody(loop: Loop, answering: HealthSocket) -> None:
    connect(answering).close()
    with connect(answering) as second:
        loop.turn()
        assert second.recv(1000) == health.encode(HEALTH)


def test_without_descriptors_the_loop_rests_and_answers_later(
    loop: Loop, answering: HealthSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_socket, "_PAUSE", 0.01)
    with connect(answering) as asking:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
        try:
            loop.turn()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert answering.events == 0
        while answering.events == 0:
            loop.turn()
        loop.turn()
        assert asking.recv(1000) == health.encode(HEALTH)


def test_a_closed_socket_is_not_watched(loop: Loop) -> None:
    answering = HealthSocket(loop, lambda: HEALTH)
    answering.close()
    loop.turn()
    assert answering.fileno() == -1
