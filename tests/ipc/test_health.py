"""Health: who is asked, and what counts as an answer."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from owsuper.ipc import health
from owsuper.ipc.health import Answer, WorkerHealth

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="abstract addresses are Linux's")

HEALTH = WorkerHealth(
    pid=os.getpid(),
    status="3/8 busy",
    takes_runs=True,
    children=8,
    modules=("app.workflows",),
    schema="openworkflow",
)
LISTEN_AS_NOBODY = """
import os, socket, sys
from owsuper.ipc import health
os.setuid(65534)
sock = health.listen()
sock.setblocking(True)
print("listening", flush=True)
while True:
    asking, _ = sock.accept()
    asking.sendall(health.encode(health.WorkerHealth(os.getpid(), "", True, 1, (), "s")))
    asking.close()
"""


def ours(pid: int = os.getpid(), timeout: float = 30.0) -> list[Answer]:
    """The answers of ``pid`` alone; other workers of this machine may hang."""
    return health.ask_workers(timeout, pid)


@pytest.fixture
def serve() -> Iterator[Callable[[bytes], None]]:
    """Listen as a worker of this process, and give everybody this answer."""
    sockets = []

    def serve(answer: bytes) -> None:
        sock = health.listen()
        assert sock is not None
        sock.setblocking(True)
        sockets.append(sock)

        def accept() -> None:
            while True:
                try:
                    asking, _ = sock.accept()
                except OSError:
                    return
                with asking:
                    asking.sendall(answer)

        threading.Thread(target=accept, daemon=True).start()

    yield serve
    for sock in sockets:
        sock.shutdown(socket.SHUT_RDWR)  # wakes the thread
        sock.close()


def test_the_answer_of_a_worker_arrives_whole(serve: Callable[[bytes], None]) -> None:
    serve(health.encode(HEALTH))
    assert ours() == [Answer(os.getpid(), HEALTH)]


def test_two_workers_answer_for_themselves(serve: Callable[[bytes], None]) -> None:
    serve(health.encode(HEALTH))
    serve(health.encode(HEALTH))
    assert len(ours()) == 2


def test_a_worker_that_says_nothing_has_not_answered() -> None:
    sock = health.listen()
    assert sock is not None
    with closing(sock):
        assert ours(timeout=0.1) == [Answer(os.getpid(), None)]


def test_a_worker_that_lets_all_wait_has_not_answered() -> None:
    sock = health.listen()
    assert sock is not None
    with closing(sock):
        sock.listen(0)
        waiting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        waiting.connect(sock.getsockname())
        with closing(waiting):
            assert ours(timeout=0.1) == [Answer(os.getpid(), None)]


def test_one_that_says_nothing_does_not_keep_another_from_being_heard(
    serve: Callable[[bytes], None],
) -> None:
    """All are asked at once, and the time-out is that of all together."""
    silent = [health.listen() for _ in range(20)]
    serve(health.encode(HEALTH))
    begun = time.monotonic()
    answers = ours(timeout=1.0)
    assert time.monotonic() - begun < 15
    for sock in silent:
        assert sock is not None
        sock.close()
    assert sorted(answer.health is not None for answer in answers) == [False] * 20 + [True]


@pytest.mark.parametrize("name", ["", "one", "1", "-1.0", "\N{DIGIT ONE FULL STOP}.0", "1.x"])
def test_anybody_may_listen_at_an_odd_address(name: str) -> None:
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"\0owsuper/{namespace}/{name}")
        sock.listen()
        health.ask_workers(0.1)  # raises nothing


@pytest.mark.parametrize("answer", [b"", b"{}", b"owsuper", b'{"pid": "one"}', b"x" * 100_000])
def test_something_else_than_an_answer_is_none(
    serve: Callable[[bytes], None], answer: bytes
) -> None:
    serve(answer)
    assert ours() == [Answer(os.getpid(), None)]


def test_an_answer_of_a_newer_worker_may_say_more(serve: Callable[[bytes], None]) -> None:
    serve(health.encode(HEALTH)[:-1] + b',"news":[1]}')
    assert ours() == [Answer(os.getpid(), HEALTH)]


def test_nobody_can_speak_for_another_process() -> None:
    namespace = Path("/proc/self/ns/pid").stat().st_ino
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"\0owsuper/{namespace}/{os.getppid()}.0")
        sock.listen()
        assert ours(os.getppid(), timeout=0.1) == []


def test_an_address_of_another_pid_namespace_is_not_asked() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.bind(f"\0owsuper/1/{os.getpid()}.0")
        sock.listen()
        assert ours(timeout=0.1) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_user_asks_his_own_workers_and_root_asks_all(tmp_path: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", LISTEN_AS_NOBODY],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    with other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"listening\n"
        assert [answer.health is not None for answer in ours(other.pid)] == [True]
        os.seteuid(65533)
        try:
            assert ours(other.pid) == []
        finally:
            os.seteuid(0)
        other.kill()
