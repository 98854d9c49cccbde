"""uvicorn: one process or several, and stopping while clients wait."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from http.client import HTTPConnection, HTTPResponse

import psycopg
import pytest

from tests.client.conftest import Rows, eventually
from tests.fixtures.ports import wait_until_accepting
from tests.fixtures.processes import Program, Spawn

pytestmark = pytest.mark.slow

StartServer = Callable[..., tuple[Program, int]]


@pytest.fixture
def start_server(spawn: Spawn, database_url: str, schema: str) -> Iterator[StartServer]:
    """Start uvicorn, or another server; return the program and its port."""
    programs = []

    def start(*options: str) -> tuple[Program, int]:
        program = spawn(
            *(sys.executable, "-m", "uvicorn", "tests.fastapi.application:app", "--port", "0"),
            *options,
            env={"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema},
        )
        programs.append(program)
        port = int(program.stderr.wait_for(r"running on http://127.0.0.1:(\d+)").group(1))
        wait_until_accepting(port)
        return program, port

    yield start
    for program in programs:
        if program.running:
            program.terminate()
            program.wait(30)
        program.end()  # before the schema is dropped


Get = Callable[[int, str], HTTPResponse]


@pytest.fixture
def get() -> Iterator[Get]:
    """Send a request; its connection stays open until the end of the test."""
    with ExitStack() as stack:

        def send(port: int, path: str) -> HTTPResponse:
            connection = HTTPConnection("127.0.0.1", port, timeout=60)
            stack.callback(connection.close)
            connection.request("GET", path)
            return stack.enter_context(connection.getresponse())

        yield send


@pytest.mark.parametrize(
    ("options", "number"),
    [((), signal.SIGINT), (("--workers", "2"), signal.SIGTERM)],
    ids=["one process", "two"],
)
def test_a_server_stops_while_clients_wait(
    start_server: StartServer,
    get: Get,
    rows: Rows,
    options: tuple[str, ...],
    number: signal.Signals,
) -> None:
    program, port = start_server(*options)
    run_id = rows.add("order")
    streams = [get(port, f"/orders/{run_id}/events") for _ in range(5)]
    for stream in streams:
        assert [stream.readline() for _ in range(3)][2] == b"event: status\n"
    with ThreadPoolExecutor() as pool:
        poll = pool.submit(get, port, f"/orders/{run_id}/result")
        eventually(lambda: rows.waiters(run_id) == 1)
        program.signal(number)
        assert poll.result().status == 202
    for stream in streams:
        assert b"event: end" not in stream.read()  # so a browser connects again, elsewhere
    program.wait(30)
    assert "Cancel" not in program.stderr.text


def test_a_client_that_closes_its_connection_frees_its_waiter(
    start_server: StartServer, rows: Rows
) -> None:
    _, port = start_server()
    run_id = rows.add("order")
    for path in ("result", "events"):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        with closing(connection):
            connection.request("GET", f"/orders/{run_id}/{path}")
            eventually(lambda: rows.waiters(run_id) == 1)
        eventually(lambda: rows.waiters(run_id) == 0)


def test_each_process_of_a_server_has_connections_of_its_own(
    start_server: StartServer, get: Get, rows: Rows, conn: psycopg.Connection
) -> None:
    program, port = start_server("--workers", "2")
    program.stderr.wait_for("Application startup complete", count=2)
    run_id = rows.add("order")

    def ask(_: int) -> int:
        pid = int(get(port, "/pid").read())
        assert get(port, f"/orders/{run_id}").status == 200
        return pid

    pids: set[int] = set()
    give_up = time.monotonic() + 60
    with ThreadPoolExecutor(8) as pool:
        while len(pids) < 2:  # one may take all connections while the other has no processor
            assert time.monotonic() < give_up, pids
            pids.update(pool.map(ask, range(16)))
        streams = list(pool.map(lambda _: get(port, f"/orders/{run_id}/events"), range(8)))
        names = {
            row[0]
            for row in conn.execute(
                "SELECT application_name FROM pg_stat_activity"
                " WHERE application_name LIKE 'owsuper: client %'"
            )
        }
        rows.end(run_id, output=5)
        assert all(b'"result": 5' in stream.read() for stream in streams)
    assert len(pids) == 2
    for pid in pids:
        assert f"owsuper: client {pid}" in names
