"""A connection that is kept up, on a real server behind a network that breaks."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from owsuper.db.connect import conninfo
from owsuper.db.statement import Result, Statement
from owsuper.event_loop import Loop
from owsuper.supervisor import connection as connection_module
from owsuper.supervisor.connection import KeptConnection
from tests.fixtures.postgres import with_login
from tests.fixtures.proxy import Proxy

ONE = Statement("one", "SELECT 1")
INSERT = Statement("insert", "INSERT INTO notes VALUES ($1) ON CONFLICT DO NOTHING RETURNING 1")


class Kept:
    """A kept connection in a loop, and what it reported."""

    def __init__(self, url: str, *, listen: tuple[str, ...] = ()) -> None:
        self.loop = Loop()
        self.ups = 0
        self.downs: list[psycopg.OperationalError] = []
        self.notes: list[str] = []
        self.results: list[Result] = []
        self.connection = KeptConnection(
            self.loop,
            conninfo(url, application_name="owsuper test"),
            name="test",
            listen=listen,
            on_up=self._up,
            on_down=self.downs.append,
            on_notify=lambda channel, _payload: self.notes.append(channel),
        )
        self.connection.start()

    def _up(self) -> None:
        self.ups += 1

    def until(self, condition: Callable[[], object], within: float = 60.0) -> None:
        deadline = time.monotonic() + within
        tick = self.loop.timers.add("tick", lambda: None, period=0.01)
        tick.start()
        while not condition():
            assert time.monotonic() < deadline, (self.ups, self.downs, self.results)
            self.loop.turn()
        self.loop.timers.drop(tick)


Keep = Callable[..., Kept]


@pytest.fixture
def keep() -> Iterator[Keep]:
    kept: list[Kept] = []

    def keep(url: str, *, listen: tuple[str, ...] = ()) -> Kept:
        kept.append(Kept(url, listen=listen))
        return kept[-1]

    yield keep
    for each in kept:
        each.connection.close()
        each.loop.close()


def test_answers_come_in_the_order_of_the_statements(keep: Keep, database_url: str) -> None:
    kept = keep(database_url)
    kept.until(lambda: kept.connection.up)
    for number in ("1", "2", "3"):
        kept.connection.send(Statement("echo", "SELECT $1::text"), [number], kept.results.append)
    kept.until(lambda: len(kept.results) == 3)
    assert [result.rows for result in kept.results] == [[(b"1",)], [(b"2",)], [(b"3",)]]


def test_after_an_outage_it_is_up_again_and_listens_again(
    keep: Keep, proxy: Proxy, conn: psycopg.Connection
) -> None:
    kept = keep(proxy.url, listen=("test-channel",))
    kept.until(lambda: kept.ups == 1)
    proxy.cut()
    kept.until(lambda: len(kept.downs) >= 2)  # the loss, and an attempt that failed
    assert not kept.connection.up
    proxy.restore()
    kept.until(lambda: kept.ups == 2)
    conn.execute('NOTIFY "test-channel"')
    kept.until(lambda: kept.notes)
    assert kept.notes == ["test-channel"]


def test_attempts_to_reconnect_become_rarer(keep: Keep) -> None:
    kept = keep("postgresql://postgres@127.0.0.1:1/postgres?connect_timeout=2")
    start = time.monotonic()
    kept.until(lambda: len(kept.downs) >= 5)
    assert time.monotonic() - start > 0.7  # half of 0.1 + 0.2 + 0.4 + 0.8


def test_a_statement_that_hangs_costs_the_connection_not_the_supervisor(
    keep: Keep, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_ANSWER_TIMEOUT", 0.5)
    kept = keep(proxy.url)
    kept.until(lambda: kept.connection.up)
    proxy.stall()
    kept.connection.send(ONE, [], kept.results.append)
    kept.until(lambda: kept.downs)
    assert "no answer" in str(kept.downs[0])
    assert not kept.results
    proxy.restore()
    kept.until(lambda: kept.connection.up)
    kept.connection.send(ONE, [], kept.results.append)
    kept.until(lambda: kept.results)
    assert kept.results[0].rows == [(b"1",)]


def test_an_attempt_to_connect_without_an_answer_is_given_up(
    keep: Keep, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "_ANSWER_TIMEOUT", 0.5)
    proxy.stall()
    kept = keep(proxy.url)
    kept.until(lambda: len(kept.downs) >= 2)
    proxy.restore()
    kept.until(lambda: kept.connection.up)
    assert all("no answer" in str(exc) for exc in kept.downs[:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_host_that_does_not_answer_is_skipped_for_the_next_host(
    keep: Keep, proxy: Proxy, name: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hosts = f"127.0.0.1:{silent.getsockname()[1]},127.0.0.1:1,{name}:{proxy.port}"
        parameters = "sslmode=disable&gssencmode=disable&connect_timeout=2"
        kept = keep(f"postgresql://postgres@{hosts}/postgres?{parameters}")
        kept.until(lambda: kept.connection.up)
        kept.connection.send(ONE, [], kept.results.append)
        kept.until(lambda: kept.results)
    assert not kept.downs


def test_when_all_hosts_fail_the_error_names_all_reasons(keep: Keep) -> None:
    kept = keep("postgresql://postgres@127.0.0.1:1,127.0.0.1:2/postgres")
    kept.until(lambda: kept.downs)
    assert "port 1 failed" in str(kept.downs[0])
    assert "port 2 failed" in str(kept.downs[0])


@pytest.fixture
def notes(conn: psycopg.Connection) -> Iterator[psycopg.Connection]:
    conn.execute("DROP TABLE IF EXISTS notes")
    conn.execute("CREATE TABLE notes (note text PRIMARY KEY)")
    yield conn
    conn.execute("DROP TABLE notes")


def test_a_reliable_statement_of_an_outage_is_executed_after_it(
    keep: Keep, proxy: Proxy, notes: psycopg.Connection
) -> None:
    kept = keep(proxy.url)
    kept.until(lambda: kept.connection.up)
    proxy.cut()
    kept.until(lambda: kept.downs)
    kept.connection.send_reliably(INSERT, ["hello"], kept.results.append)
    assert kept.connection.unanswered
    proxy.restore()
    kept.until(lambda: not kept.connection.unanswered)
    assert notes.execute("SELECT note FROM notes").fetchall() == [("hello",)]
    assert len(kept.results) == 1


def test_a_reliable_statement_is_sent_again_when_its_answer_is_lost(
    keep: Keep, proxy: Proxy, notes: psycopg.Connection
) -> None:
    kept = keep(proxy.url)
    kept.until(lambda: kept.connection.up)
    proxy.lose_answer(to=b"a note that is sent twice")
    kept.connection.send_reliably(INSERT, ["a note that is sent twice"], kept.results.append)
    kept.until(lambda: not kept.connection.unanswered)
    assert kept.ups == 2
    assert kept.results[0].rows == []  # the second time there was nothing left to do
    assert len(notes.execute("SELECT note FROM notes").fetchall()) == 1


def test_a_deadlock_is_no_answer_to_a_reliable_statement(
    keep: Keep, database_url: str, notes: psycopg.Connection
) -> None:
    raising = Statement(
        "raising",
        "DO $$BEGIN IF nextval('tries') = 1 THEN RAISE SQLSTATE '40P01'; END IF; END$$",
    )
    notes.execute("CREATE SEQUENCE tries")
    try:
        kept = keep(database_url)
        kept.until(lambda: kept.connection.up)
        kept.connection.send_reliably(raising, [], kept.results.append)
        kept.until(lambda: not kept.connection.unanswered)
        assert [result.sqlstate for result in kept.results] == [None]
    finally:
        notes.execute("DROP SEQUENCE tries")


def test_a_mistake_is_an_answer_to_a_reliable_statement(keep: Keep, database_url: str) -> None:
    kept = keep(database_url)
    kept.until(lambda: kept.connection.up)
    kept.connection.send_reliably(Statement("bad", "SELECT nothing"), [], kept.results.append)
    kept.until(lambda: not kept.connection.unanswered)
    assert kept.results[0].sqlstate == "42703"


def test_a_server_that_takes_no_writes_is_left_and_another_executes_the_reliable_statement(
    keep: Keep, proxy: Proxy, notes: psycopg.Connection
) -> None:
    notes.execute("CREATE ROLE standby LOGIN")
    notes.execute("GRANT INSERT, SELECT ON notes TO standby")
    notes.execute("ALTER ROLE standby SET default_transaction_read_only = on")
    try:
        kept = keep(with_login(proxy.url, "standby", ""))
        kept.until(lambda: kept.connection.up)
        kept.connection.send_reliably(INSERT, ["hello"], kept.results.append)
        kept.until(lambda: len(kept.downs) >= 2)
        assert "read-only" in str(kept.downs[0])
        assert not kept.results
        notes.execute("ALTER ROLE standby RESET default_transaction_read_only")
        kept.until(lambda: not kept.connection.unanswered)
        assert [result.affected for result in kept.results] == [1]
    finally:
        notes.execute("REVOKE ALL ON notes FROM standby")
        notes.execute("DROP ROLE standby")
