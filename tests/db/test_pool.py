"""Connections that are kept for the next caller, and closed when there is none."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from owsuper.db.inner_pool import InnerPool
from owsuper.db.pool import Pool
from owsuper.errors import ConfigurationError, DatabaseUnreachable
from tests.fixtures.proxy import Proxy

NAME = "owsuper test of pools"
OPEN = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1"
NOBODY = "postgresql://127.0.0.1:1/nowhere"


@pytest.fixture
def pool(database_url: str) -> Iterator[Pool]:
    pool = Pool(database_url, application_name=NAME, size=2, max_idle=60)
    yield pool
    pool.close()


@pytest.fixture(autouse=True)
def silence(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The library tells nobody but us."""
    caplog.set_level(logging.DEBUG)
    yield
    assert [record for record in caplog.records if record.name == "psycopg.pool"] == []


def pid(conn: psycopg.Connection) -> int:
    return conn.info.backend_pid


def until(happened: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def test_nothing_is_open_before_the_first_need_or_after_the_end(pool: Pool) -> None:
    before = threads()
    assert pool.sockets() == []
    with pool.connection(30):
        assert len(pool.sockets()) == 1
        assert len(threads() - before) == 2
    pool.close()
    assert pool.sockets() == []
    assert threads() <= before


def test_connections_are_used_again(pool: Pool) -> None:
    first, second = pool.acquire(30), pool.acquire(30)
    pool.release(first)
    assert pool.acquire(30) is first
    pool.release(first)
    pool.release(second)


def test_connections_are_shed_when_nobody_needs_them(database_url: str) -> None:
    pool = Pool(database_url, application_name=NAME, size=2, max_idle=0.1)
    first, second = pool.acquire(30), pool.acquire(30)
    pool.release(first)
    until(lambda: first.closed)
    assert not second.closed  # it is in use
    pool.release(second)
    until(lambda: second.closed)
    assert pool.sockets() == []
    with pool.connection(30) as conn:
        assert conn not in (first, second)
    pool.close()


def test_a_caller_that_waits_too_long_gets_an_error_and_the_place_is_not_lost(pool: Pool) -> None:
    held = [pool.acquire(30), pool.acquire(30)]
    with pytest.raises(DatabaseUnreachable, match="No connection became free"):
        pool.acquire(0.05)
    taken: list[int] = []

    def wait() -> None:
        with pool.connection(30) as conn:
            taken.append(pid(conn))

    waiter = threading.Thread(target=wait)
    waiter.start()
    expected = pid(held[0])
    pool.release(held[0])
    waiter.join()
    assert taken == [expected]
    pool.release(held[1])


@pytest.mark.parametrize("callers", [1, 16])
def test_a_server_that_is_away_is_an_error_at_once_for_all(callers: int) -> None:
    pool = Pool(NOBODY, application_name=NAME, size=2, max_idle=60)
    for _ in range(3):
        with ThreadPoolExecutor(callers) as each:
            for attempt in [each.submit(pool.acquire, 30) for _ in range(callers)]:
                with pytest.raises(DatabaseUnreachable, match=r"Cannot reach .*:1: .*refused"):
                    attempt.result(30)
    assert pool.sockets() == []
    pool.close()


def test_an_address_that_cannot_be_read_is_an_error_of_that_kind() -> None:
    pool = Pool("postgresql://a:b@c:d@e/f", application_name=NAME, size=2, max_idle=60)
    with pytest.raises(ConfigurationError, match="no valid host and port"):
        pool.acquire(30)


def test_the_reason_of_the_server_is_told_when_the_pool_cannot_grow(
    database_url: str, conn: psycopg.Connection
) -> None:
    conn.execute("CREATE ROLE lonely LOGIN CONNECTION LIMIT 1")
    try:
        url = make_conninfo(database_url, user="lonely")
        pool = Pool(url, application_name=NAME, size=2, max_idle=60)
        held = pool.acquire(30)
        with pytest.raises(DatabaseUnreachable, match="too many connections for role"):
            pool.acquire(2)
        with ThreadPoolExecutor(1) as other:
            waits = other.submit(pool.acquire, 30)
            time.sleep(0.1)
            pool.release(held)
            assert waits.result(30) is held
        pool.release(held)
        pool.close()
    finally:
        conn.execute("DROP ROLE lonely")


def test_a_connection_that_broke_or_is_in_a_transaction_is_not_given_out_again(
    pool: Pool, conn: psycopg.Connection
) -> None:
    left = pool.acquire(30)
    left.execute("BEGIN")
    pool.release(left)
    assert left.closed
    broken = pool.acquire(30)
    number = pid(broken)
    pool.release(broken)
    conn.execute("SELECT pg_terminate_backend($1, 10000)", [number])
    with pool.connection(30) as fresh:
        assert pid(fresh) != number


def test_after_an_outage_all_dead_connections_are_replaced_without_a_pause(proxy: Proxy) -> None:
    pool = Pool(proxy.url, application_name=NAME, size=8, max_idle=60)
    for conn in [pool.acquire(30) for _ in range(8)]:
        pool.release(conn)
    proxy.cut()
    with pytest.raises(DatabaseUnreachable, match="Cannot reach PostgreSQL"):
        pool.acquire(30)
    proxy.restore()
    began = time.monotonic()
    held = [pool.acquire(30) for _ in range(8)]
    assert time.monotonic() - began < 5.0  # psycopg_pool alone takes 7 s
    for conn in held:
        assert conn.execute("SELECT 1").fetchone() == (1,)
        pool.release(conn)
    pool.close()


def test_a_connection_without_an_answer_stops_one_caller_only(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = threading.Event(), threading.Event()
    connect = pool._connect

    def swallow_the_first(*_: float) -> psycopg.Connection:
        if not begun.is_set():
            begun.set()
            answered.wait(30)
            raise DatabaseUnreachable("no answer")
        return connect()

    def work() -> None:
        with pool.connection(30) as conn:
            assert conn.execute("SELECT 1").fetchone() == (1,)

    monkeypatch.setattr(pool, "_connect", swallow_the_first)
    with ThreadPoolExecutor(7) as callers:
        first = callers.submit(work)
        begun.wait(30)
        for other in [callers.submit(work) for _ in range(6)]:
            other.result(30)
        assert not first.done()
        answered.set()
        first.result(30)  # on a connection of the others


def test_callers_without_an_answer_fail_together(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool(NOBODY, application_name=NAME, size=2, max_idle=60)
    attempts: list[float] = []
    all_there = threading.Event()

    def everybody_waits() -> bool:
        return all_there.is_set() or (len(attempts), len(pool._opening._waiters)) == (2, 6)

    def swallow(*_: float) -> psycopg.Connection:
        attempts.append(time.monotonic())
        until(everybody_waits)
        all_there.set()
        raise DatabaseUnreachable("no answer")

    monkeypatch.setattr(pool, "_connect", swallow)
    with ThreadPoolExecutor(8) as callers:
        for caller in [callers.submit(pool.acquire, 30) for _ in range(8)]:
            with pytest.raises(DatabaseUnreachable, match="no answer"):
                caller.result(30)
    assert len(attempts) == 2
    pool.close()


def test_a_pool_that_is_closed_while_it_opens_keeps_nothing(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = threads()
    connect = pool._connect
    begun = threading.Event()

    def connect_late(*_: float) -> psycopg.Connection:
        begun.set()
        until(lambda: pool._closed)
        return connect()

    monkeypatch.setattr(pool, "_connect", connect_late)
    with ThreadPoolExecutor(1) as caller:
        taken = caller.submit(pool.acquire, 30)
        begun.wait(30)
        pool.close()
        conn = taken.result(30)
    assert conn.execute("SELECT 1").fetchone() == (1,)
    pool.release(conn)
    until(lambda: threads() <= before)
    assert pool.sockets() == []


def test_a_suspended_pool_keeps_what_is_in_use_and_opens_again(pool: Pool) -> None:
    before = threads()
    used, idle = pool.acquire(30), pool.acquire(30)
    pool.release(idle)
    pool.suspend()
    assert threads() <= before
    assert idle.closed
    assert used.execute("SELECT 1").fetchone() == (1,)
    with pool.connection(30) as conn:
        assert conn is not used
    pool.release(used)
    assert used.closed


def test_callers_go_on_while_the_pool_is_suspended_again_and_again(pool: Pool) -> None:
    done = threading.Event()

    def work() -> int:
        count = 0
        while not done.is_set():
            with pool.connection(30) as conn:
                assert conn.execute("SELECT 1").fetchone() == (1,)
            count += 1
        return count

    with ThreadPoolExecutor(6) as callers:
        counts = [callers.submit(work) for _ in range(6)]
        for _ in range(20):
            time.sleep(0.01)
            pool.suspend()
        done.set()
    assert all(count.result() > 0 for count in counts)


def test_a_caller_whose_pool_is_suspended_before_it_waits_uses_the_next(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool.release(pool.acquire(30))
    check = InnerPool._check_open_getconn

    def check_and_suspend(inner: InnerPool) -> None:
        check(inner)
        monkeypatch.undo()
        pool.suspend()

    monkeypatch.setattr(InnerPool, "_check_open_getconn", check_and_suspend)
    with pool.connection(5) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)


def test_a_connection_that_is_taken_after_the_end_is_not_kept(pool: Pool) -> None:
    pool.close()
    with pool.connection(30) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert conn.closed


def test_without_threads_for_a_pool_callers_get_connections_that_are_not_kept(pool: Pool) -> None:
    before = threads()
    threading.stack_size(1 << 46)  # bytes; no system has room for the stack of such a thread
    try:
        for _ in range(2):
            with pool.connection(30) as conn:
                assert conn.execute("SELECT 1").fetchone() == (1,)
            assert conn.closed
    finally:
        threading.stack_size(0)
    assert threads() <= before

    with pool.connection(30) as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert not conn.closed
