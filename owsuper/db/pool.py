"""Connections that are opened when needed and kept for the next caller.

Nothing runs in the background: a caller who finds no idle connection opens one itself, and so
gets the server's own reason when that fails. The last one used is taken first, so that a
quiet program keeps one connection busy and leaves the others alone, which may then be shed.
"""

from __future__ import annotations

import asyncio
import contextlib
import select
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

from psycopg import AsyncConnection, Connection
from psycopg.pq import ConnStatus, TransactionStatus

from owsuper.errors import DatabaseUnreachable

C = TypeVar("C", Connection[Any], AsyncConnection[Any])


class _Stack(Generic[C]):
    """The open connections; safe to use from several threads, and without an event loop."""

    def __init__(self) -> None:
        self._idle: list[tuple[C, float]] = []  # and since when; the longest idle first
        self._open: set[C] = set()
        self.closed = False

    def sockets(self) -> list[int]:
        """The sockets of all connections, in use or idle."""
        return [conn.pgconn.socket for conn in self._open if conn.pgconn.status == ConnStatus.OK]

    def close(self) -> None:
        """Close what is idle now, and what is in use when it is given back."""
        self.closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._drop(self._idle.pop()[0])

    def shed(self, seconds: float) -> None:
        """Close what has been idle for so many seconds."""
        before = time.monotonic() - seconds
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while self._idle[0][1] <= before:
                conn, since = self._idle.pop(0)
                if since > before:  # another thread did
                    self._idle.insert(0, (conn, since))
                    break
                self._drop(conn)

    def _reuse(self) -> C | None:
        """An idle connection that is still whole."""
        with contextlib.suppress(IndexError):  # another thread may take the last one
            while True:
                conn, _ = self._idle.pop()
                if _is_alive(conn):
                    return conn
                self._drop(conn)
        return None

    def _give_back(self, conn: C) -> None:
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            self._drop(conn)  # broken, or left in the middle of something
            return
        self._idle.append((conn, time.monotonic()))
        if self.closed:
            self.close()

    def _drop(self, conn: C) -> None:
        self._open.discard(conn)
        conn.pgconn.finish()  # what close() does in the end, whatever the colour


class Pool(_Stack[Connection[Any]]):
    """At most ``size`` blocking connections, shared by the threads of this process."""

    def __init__(self, connect: Callable[[], Connection[Any]], size: int) -> None:
        super().__init__()
        self._connect = connect
        self._places = threading.Semaphore(size)

    @contextlib.contextmanager
    def connection(self, timeout: float) -> Iterator[Connection[Any]]:
        """A connection in no transaction; raises as ``take`` does."""
        conn = self.take(timeout)
        try:
            yield conn
        finally:
            self.give(conn)

    def take(self, timeout: float) -> Connection[Any]:
        """A connection in no transaction, to be given back.

        Raises DatabaseUnreachable, also when none became free within ``timeout`` seconds.
        """
        if not self._places.acquire(timeout=timeout):
            raise _all_busy(timeout)
        try:
            conn = self._reuse()
            if conn is None:
                conn = self._connect()
                self._open.add(conn)
        except BaseException:
            self._places.release()
            raise
        return conn

    def give(self, conn: Connection[Any]) -> None:
        """Give back what was taken; what is broken is dropped."""
        try:
            self._give_back(conn)
        finally:
            self._places.release()


class AsyncPool(_Stack[AsyncConnection[Any]]):
    """At most ``size`` async connections, shared by the tasks of one event loop.

    ``keeper`` is a place for whatever ties the pool to that loop.
    """

    def __init__(self, connect: Callable[[], Awaitable[AsyncConnection[Any]]], size: int) -> None:
        super().__init__()
        self._connect = connect
        self._places = asyncio.Semaphore(size)
        self.keeper: AsyncGenerator[None, None] | None = None

    @contextlib.asynccontextmanager
    async def connection(self, timeout: float) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in no transaction; raises as ``Pool.connection`` does."""
        try:
            async with asyncio.timeout(timeout):
                await self._places.acquire()
        except TimeoutError:
            raise _all_busy(timeout) from None
        try:
            conn = self._reuse()
            if conn is None:
                conn = await self._connect()
                self._open.add(conn)
            try:
                yield conn
            finally:
                self._give_back(conn)
        finally:
            self._places.release()


def _is_alive(conn: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether an idle connection is whole: a server that hung up left an EOF to be read."""
    if conn.pgconn.status != ConnStatus.OK:
        return False
    readable = select.poll()  # not select(): descriptors may be above 1023
    readable.register(conn.pgconn.socket, select.POLLIN)
    return not readable.poll(0)


def _all_busy(timeout: float) -> DatabaseUnreachable:
    return DatabaseUnreachable(
        f"No connection became free within {timeout:g} s: all are busy with other callers."
    )
