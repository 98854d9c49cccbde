"""The server of the page: clients that are slow, many, or wrong hold nobody up."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest

from owsuper.event_loop import Loop
from owsuper.metrics import server
from owsuper.metrics.catalogue import SLOTS
from owsuper.metrics.families import Snapshot
from owsuper.metrics.server import MetricsServer, listen
from tests.metrics.pages import get, scrape

REQUEST = b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n"


class Supervisor:
    """A thread that turns a loop, as a supervisor does, and a server beside it."""

    def __init__(self) -> None:
        self.socket = listen("127.0.0.1", 0)
        self.port = self.socket.getsockname()[1]
        self.loop = Loop()
        self.server = MetricsServer(self.socket)
        self.snapshots = 0
        self.collecting = threading.Event()
        self.may_collect = threading.Event()
        self.may_collect.set()
        self._ended = False
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self.server.start(self.loop, self._collect)
        self.loop.timers.add("tick", lambda: None, period=0.01).start()
        self._thread.start()

    def _collect(self) -> Snapshot:
        self.collecting.set()
        self.may_collect.wait(60)
        self.snapshots += 1
        return Snapshot(gauges=[(SLOTS, (), self.snapshots)])

    def _run(self) -> None:
        while not self._ended:
            self.loop.turn()

    def close(self) -> None:
        self.may_collect.set()
        self._ended = True
        if self._thread.is_alive():
            self._thread.join()
        self.server.close()
        self.loop.close()


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    with closing(Supervisor()) as running:
        running.start()
        yield running


def connect(supervisor: Supervisor) -> socket.socket:
    return socket.create_connection(("127.0.0.1", supervisor.port), 30)


def read_all(client: socket.socket) -> bytes:
    answer = b""
    while data := client.recv(65536):
        answer += data
    return answer


def test_the_page_is_what_the_supervisor_knows_now(supervisor: Supervisor) -> None:
    first = scrape(supervisor.port)("owsuper_slots")
    while scrape(supervisor.port)("owsuper_slots") == first:
        pass
    assert supervisor.snapshots > 1


def test_the_type_says_that_it_is_prometheus_text(supervisor: Supervisor) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", supervisor.port, timeout=30)) as client:
        client.request("GET", "/metrics?name=x", headers={"Accept": "*/*"})
        answer = client.getresponse()
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("text/plain; version=")
        assert int(answer.headers["Content-Length"]) == len(answer.read())


def test_other_paths_and_methods_are_refused(supervisor: Supervisor) -> None:
    assert get(supervisor.port, "/") == (404, "The metrics are at /metrics.\n")
    for request, status in (
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"nonsense\r\n\r\n", b"405"),
        (b"GET /" + b"x" * server._LONGEST_REQUEST, b"431"),
    ):
        with connect(supervisor) as client:
            client.sendall(request)
            assert client.recv(12) == b"HTTP/1.1 " + status


def test_head_has_no_body(supervisor: Supervisor) -> None:
    with connect(supervisor) as client:
        client.sendall(REQUEST.replace(b"GET", b"HEAD"))
        answer = read_all(client)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"\r\n\r\n")


def test_clients_that_say_nothing_hold_nobody_up(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CLIENT_LIMIT", 3600.0)
    silent = [connect(supervisor) for _ in range(40)]
    slow = connect(supervisor)
    slow.sendall(REQUEST[:10])
    assert scrape(supervisor.port)("owsuper_slots") > 0
    assert read_all(silent[0]) == b""  # the oldest had to go
    for client in [*silent, slow]:
        client.close()


def test_a_client_that_takes_too_long_is_dropped(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_CLIENT_LIMIT", 0.1)
    with connect(supervisor) as client:
        client.sendall(REQUEST[:10])
        with suppress(ConnectionResetError):  # it was dropped before its request was read
            assert read_all(client) == b""


def test_a_request_in_pieces_is_answered(supervisor: Supervisor) -> None:
    with connect(supervisor) as client:
        for byte in REQUEST:
            client.sendall(bytes([byte]))
        assert b"owsuper_slots" in read_all(client)


def test_many_clients_share_a_snapshot(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_AT_MOST_EVERY", 3600.0)
    pages = {scrape(supervisor.port)("owsuper_slots") for _ in range(20)}
    assert len(pages) == supervisor.snapshots == 1


def test_while_the_supervisor_hangs_the_old_page_is_served(
    supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "_SNAPSHOT_LIMIT", 0.05)
    monkeypatch.setattr(server, "_AT_MOST_EVERY", 0.0)
    supervisor.may_collect.clear()
    assert get(supervisor.port)[0] == 503
    supervisor.may_collect.set()
    while get(supervisor.port)[0] == 503:
        pass
    supervisor.collecting.clear()  # first: a snapshot that was asked for before may still come
    supervisor.may_collect.clear()
    assert get(supervisor.port)[0] == 200
    assert supervisor.collecting.wait(60)
    assert get(supervisor.port)[0] == 200


def test_close_ends_the_thread_and_frees_the_port(supervisor: Supervisor) -> None:
    with connect(supervisor) as waiting:
        scrape(supervisor.port)
        supervisor.close()
        assert read_all(waiting) == b""
    assert "owsuper-metrics" not in [thread.name for thread in threading.enumerate()]
    listen("127.0.0.1", supervisor.port).close()


def test_a_client_waits_while_the_worker_starts() -> None:
    with closing(Supervisor()) as supervisor, connect(supervisor) as early:
        early.sendall(REQUEST)
        supervisor.start()
        assert b"owsuper_slots" in read_all(early)
