"""The network that breaks on request really breaks, and really comes back."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest

from tests.fixtures.proxy import Proxy


@pytest.fixture
def through(proxy: Proxy) -> Iterator[psycopg.Connection]:
    with psycopg.connect(proxy.url, autocommit=True) as conn:
        yield conn


@pytest.fixture
def table(conn: psycopg.Connection) -> Iterator[str]:
    name = f"probe_{uuid4().hex[:16]}"
    conn.execute(f"CREATE TABLE {name} (n int)".encode())
    yield name
    conn.execute(f"DROP TABLE {name}".encode())


def test_a_cut_breaks_what_is_open_and_refuses_what_is_new(
    proxy: Proxy, through: psycopg.Connection
) -> None:
    proxy.cut()
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError, match="refused"):
        psycopg.connect(proxy.url)
    proxy.restore()
    psycopg.connect(proxy.url).close()


def test_a_reset_welcomes_new_connections_at_once(
    proxy: Proxy, through: psycopg.Connection
) -> None:
    proxy.reset_connections()
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT 1")
    psycopg.connect(proxy.url).close()
    assert proxy.accepted == 2


@pytest.mark.slow
def test_a_stall_holds_everything_back_until_it_is_restored(
    proxy: Proxy, through: psycopg.Connection
) -> None:
    proxy.stall()
    answers: list[object] = []
    answered = threading.Event()

    def ask() -> None:
        answers.append(through.execute("SELECT 1").fetchone())
        answered.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert not answered.wait(0.2)
    with pytest.raises(psycopg.OperationalError, match="timeout"):
        psycopg.connect(proxy.url, connect_timeout=2)
    proxy.restore()
    assert answered.wait(60)
    thread.join()
    assert answers == [(1,)]


def test_a_lost_answer_is_lost_after_the_commit(
    proxy: Proxy, conn: psycopg.Connection, table: str
) -> None:
    with psycopg.connect(proxy.url) as unlucky:
        unlucky.execute(f"INSERT INTO {table} VALUES (1)".encode())
        proxy.lose_answer(to=b"COMMIT")
        with pytest.raises(psycopg.OperationalError):
            unlucky.commit()
    proxy.wait_for_drop()
    assert conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (1,)


def test_a_lost_request_is_lost_before_the_commit(
    proxy: Proxy, conn: psycopg.Connection, table: str
) -> None:
    with psycopg.connect(proxy.url) as unlucky:
        unlucky.execute(f"INSERT INTO {table} VALUES (1)".encode())
        proxy.lose_request(to=b"COMMIT")
        with pytest.raises(psycopg.OperationalError):
            unlucky.commit()
    proxy.wait_for_drop()
    assert conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)


def test_misbehaviour_loses_both_requests_and_answers_until_it_ends(
    proxy: Proxy, conn: psycopg.Connection, table: str
) -> None:
    proxy.misbehave(0.5, random.Random(7))
    heard = 0
    while not all(proxy.lost.values()):
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(proxy.url, autocommit=True) as through,
        ):
            through.execute(f"INSERT INTO {table} VALUES (1)".encode())
            heard += 1
    proxy.misbehave(0, random.Random())
    done = conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert done is not None
    assert heard <= done[0] <= heard + sum(proxy.lost.values())
    with psycopg.connect(proxy.url, autocommit=True) as through:
        through.execute("SELECT 1")


def test_a_connection_can_break_in_the_middle_of_a_statement(
    proxy: Proxy, through: psycopg.Connection, conn: psycopg.Connection, table: str
) -> None:
    proxy.drop_after(10)
    with pytest.raises(psycopg.OperationalError):
        through.execute(f"INSERT INTO {table} VALUES (1)".encode())
    proxy.wait_for_drop()
    assert conn.execute(f"SELECT count(*) FROM {table}".encode()).fetchone() == (0,)
    psycopg.connect(proxy.url).close()


def test_an_answer_that_is_cut_off_breaks_off_where_the_test_says(
    proxy: Proxy, through: psycopg.Connection
) -> None:
    proxy.drop_answer_after(5000)
    with pytest.raises(psycopg.OperationalError):
        through.execute("SELECT repeat('x', 100000)")
    proxy.wait_for_drop()
    psycopg.connect(proxy.url).close()
