"""Live updates of the command: a server of its own, read over sockets as browsers do."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from tests.client.conftest import Rows, eventually
from tests.fixtures.processes import Program, Spawn, owsuper_command

OURS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE $1"


class Stream:
    """A connection that reads events."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 30)
        request = f"GET /live?topic=runs HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n"
        self._socket.sendall(request.encode())
        self.text = ""

    def wait_for(self, text: str) -> None:
        while text not in self.text:
            received = self._socket.recv(65536)
            assert received, self.text
            self.text += received.decode()

    def rest(self) -> str:
        """Wait for the end of the stream."""
        while received := self._socket.recv(65536):
            self.text += received.decode()
        return self.text

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def dashboard(spawn: Spawn, database_url: str, schema: str, tmp_path: Path) -> Program:
    return spawn(
        *owsuper_command(),
        *("dashboard", "--port", "0"),
        env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        cwd=tmp_path,
    )


@pytest.fixture
def port(dashboard: Program) -> int:
    return int(dashboard.stderr.wait_for(r"http://127\.0\.0\.1:(\d+)").group(1))


@pytest.fixture
def streams(port: int) -> Iterator[list[Stream]]:
    with ExitStack() as stack:
        opened = [Stream(port) for _ in range(10)]
        for each in opened:
            stack.callback(each.close)
            each.wait_for("event: ready")
        yield opened


def live_sessions(conn: psycopg.Connection, program: Program) -> int:
    row = conn.execute(OURS.encode(), [f"owsuper: dashboard {program.pid} live"]).fetchone()
    assert row is not None
    return int(row[0])


@pytest.mark.slow
def test_ten_browsers_share_one_session_and_survive_its_end(
    dashboard: Program,
    port: int,
    streams: list[Stream],
    conn: psycopg.Connection,
    schema: str,
) -> None:
    assert live_sessions(conn, dashboard) == 1
    rows = Rows(conn, schema)
    rows.add()
    for each in streams:
        each.wait_for("event: changed\ndata: runs\n\n")
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = $1"
    conn.execute(kill.encode(), [f"owsuper: dashboard {dashboard.pid} live"])
    assert all(each.rest().endswith("0\r\n\r\n") for each in streams)
    again = Stream(port)
    again.wait_for("event: ready")
    rows.add()
    again.wait_for("event: changed")
    eventually(lambda: live_sessions(conn, dashboard) == 1)
    again.close()


@pytest.mark.slow
def test_a_server_that_is_told_to_stop_ends_its_streams_in_order(
    dashboard: Program, streams: list[Stream]
) -> None:
    dashboard.terminate()
    assert all(each.rest().endswith("0\r\n\r\n") for each in streams)
    dashboard.wait()
    assert re.search("Traceback|ERROR", dashboard.stderr.text) is None
