"""Connections that are kept for the next caller, and closed when there is none."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.pool import Pool
from owsuper.errors import DatabaseUnreachable


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    pool = Pool(lambda: connect.connect(database_url, application_name="pool"), 2)
    yield pool
    pool.close()


def pid(conn: psycopg.Connection) -> int:
    return conn.info.backend_pid


def test_the_last_one_used_is_taken_first_and_the_others_are_shed(pool: Pool) -> None:
    first, second = pool.take(1), pool.take(1)
    pool.give(first)
    pool.give(second)
    with pool.connection(1) as conn:
        assert conn is second
        pool.shed(0)
        assert first.closed
        assert not second.closed  # it is in use
    pool.shed(60)
    assert not second.closed
    pool.shed(0)
    assert second.closed
    assert pool.sockets() == []
    with pool.connection(1) as conn:
        assert conn not in (first, second)


def test_whoever_waits_for_too_long_is_told_and_the_place_is_not_lost(pool: Pool) -> None:
    held = [pool.take(1), pool.take(1)]
    with pytest.raises(DatabaseUnreachable, match="No connection became free"):
        pool.take(0.05)
    taken: list[int] = []

    def wait() -> None:
        with pool.connection(30) as conn:
            taken.append(pid(conn))

    waiter = threading.Thread(target=wait)
    waiter.start()
    expected = pid(held[0])
    pool.give(held[0])
    waiter.join()
    assert taken == [expected]
    pool.give(held[1])


def test_a_failed_connection_takes_no_place(database_url: str) -> None:
    urls = ["postgresql://127.0.0.1:1/nowhere"] * 3 + [database_url]
    pool = Pool(lambda: connect.connect(urls.pop(0), application_name="pool"), 1)
    for _ in range(3):
        with pytest.raises(DatabaseUnreachable, match="Cannot reach"):
            pool.take(1)
    with pool.connection(1) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    pool.close()


def test_a_connection_that_broke_or_is_in_a_transaction_is_not_given_out_again(
    pool: Pool, conn: psycopg.Connection
) -> None:
    left = pool.take(1)
    left.execute("BEGIN")
    pool.give(left)
    assert left.closed
    broken = pool.take(1)
    number = pid(broken)
    pool.give(broken)
    conn.execute("SELECT pg_terminate_backend($1, 10000)", [number])
    with pool.connection(1) as fresh:
        assert pid(fresh) != number
