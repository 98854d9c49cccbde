"""The connections of one process, kept by psycopg_pool.

The library opens connections in a thread, and tells a caller only that none became free. So
``Pool`` makes the first connection itself, in the caller's thread, and a failure there has the
server's own reason. Every pool of the library keeps the reason of its last failure, too.

If one connection is broken, the others of its pool probably are, too: a restart of the server
breaks all of them. The library's own check finds that out one by one, with pauses of 1, 2, 4 s.
So the whole pool is closed, and the next caller opens another.
"""

from __future__ import annotations

import contextlib
import logging
import select
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Self, cast
from weakref import WeakSet

from psycopg import Connection
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg_pool import ConnectionPool, PoolClosed, PoolTimeout

from owsuper.db import connect
from owsuper.errors import DatabaseUnreachable

_NAME: Final = "owsuper"
_JOIN: Final = 2.0  # seconds for the pool's threads to end; one may be connecting
_SHORTEST: Final = 0.001  # seconds; the library takes no less for a connection that is idle

_log = logging.getLogger("psycopg.pool")


def _is_not_ours(record: logging.LogRecord) -> bool:
    """Return whether a record of psycopg_pool is about a pool of the program's own."""
    about = record.args[0] if isinstance(record.args, tuple) and record.args else ""
    ours = str(record.threadName).startswith(_NAME) or str(about).startswith(_NAME)
    return not ours


# Failures reach the callers as exceptions. At level INFO, each connection that is lent makes
# three lines, and even the lines that a filter drops cost time.
_log.addFilter(_is_not_ours)
if _log.level == logging.NOTSET:
    _log.setLevel(logging.WARNING)


class _PoolConnection(Connection[Any]):
    """The connection class of the library's pools."""

    @classmethod
    def connect(cls, conninfo: str = "", *, opener: _Opener, **_: Any) -> Self:  # type: ignore[override]
        return cast(Self, opener.open())


class _Opener:
    """Opens the connections of one pool and keeps the reason of the last failure."""

    def __init__(self, open_connection: Callable[[], Connection[Any]]) -> None:
        self._open_connection = open_connection
        self._failure: Exception | None = None
        self.first: Connection[Any] | None = None

    def open(self) -> Connection[Any]:
        """Return ``first``, the connection that was made in advance, or another."""
        conn, self.first = self.first, None
        if conn is not None:
            return conn
        try:
            conn = self._open_connection()
        except Exception as exc:
            self._failure = exc
            raise
        self._failure = None
        return conn

    def discard(self) -> None:
        """Close the connection that was made in advance, if it was not used."""
        conn, self.first = self.first, None
        if conn is not None:
            conn.close()

    def failure_again(self) -> Exception | None:
        """Return the error of the last attempt, or None."""
        return None if self._failure is None else _again(self._failure)


class _Connections(ConnectionPool[Connection[Any]]):
    """A pool of the library, with our settings."""

    def __init__(self, opener: _Opener, size: int, max_idle: float) -> None:
        self.opener = opener
        super().__init__(
            connection_class=_PoolConnection,
            kwargs={"opener": opener},
            name=_NAME,
            min_size=0,
            max_size=size,
            max_idle=max_idle,
            num_workers=1,
            reconnect_timeout=0,  # a failed attempt makes way for the next at once
            reconnect_failed=_close_if_empty,
            open=True,
        )

    def end(self, join: float) -> None:
        """Close what is idle; wait ``join`` seconds for the threads to end."""
        self.close(join)
        self.opener.discard()


def _close_if_empty(pool: ConnectionPool[Any]) -> None:
    """Close a pool after a failed attempt, if no caller can give a connection back.

    The callers that wait then get an error at once. The pool's own thread calls this.
    """
    if pool.get_stats()["pool_size"] == 0:
        threading.Thread(target=pool.close, name=f"{_NAME}-closing", daemon=True).start()


class Pool:
    """At most ``size`` blocking connections, shared by the threads of this process.

    Every ``max_idle`` seconds, one connection is closed that was not needed since the last time.
    """

    def __init__(self, url: str, *, application_name: str, size: int, max_idle: float) -> None:
        self._url = url
        self._application_name = application_name
        self._size = size
        self._max_idle = max_idle
        self._opening = threading.Lock()
        self._attempts = 0
        self._failure: Exception | None = None  # of the last attempt
        self._connections: _Connections | None = None
        self._lent: dict[Connection[Any], _Connections] = {}
        self._open: WeakSet[Connection[Any]] = WeakSet()
        self._closed = False

    @contextlib.contextmanager
    def connection(self, timeout: float) -> Iterator[Connection[Any]]:
        """Lend a connection in no transaction. Raises as ``acquire`` does."""
        conn = self.acquire(timeout)
        try:
            yield conn
        finally:
            self.release(conn)

    def acquire(self, timeout: float) -> Connection[Any]:
        """Return a connection in no transaction, for ``release``.

        Raises DatabaseUnreachable if the server cannot be reached, or no connection becomes free
        within ``timeout`` seconds; ConfigurationError as ``connect`` does.
        """
        give_up = time.monotonic() + timeout
        while not self._closed:
            connections = self._connections
            if connections is None or not self._open:
                connections = self._start()
            try:
                conn = connections.getconn(max(_SHORTEST, give_up - time.monotonic()))
            except PoolTimeout:
                raise connections.opener.failure_again() or _all_busy(timeout) from None
            except PoolClosed:  # another caller found a broken connection
                self._retire(connections)
            else:
                if _is_alive(conn):
                    self._lent[conn] = connections
                    return conn
                self._retire(connections)
                connections.putconn(conn)
        return self._connect()

    def release(self, conn: Connection[Any]) -> None:
        """Give a connection back; close it if it is broken or in a transaction."""
        connections = self._lent.pop(conn, None)
        if connections is None:  # acquired after close()
            conn.close()
            return
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            conn.close()
            self._retire(connections)
        connections.putconn(conn)

    def suspend(self) -> None:
        """Close idle connections and end the threads. The next caller opens connections again.

        Connections in use are closed when they are given back.
        """
        with self._opening:
            connections, self._connections = self._connections, None
        if connections is not None:
            connections.end(_JOIN)

    def close(self) -> None:
        """Suspend for good: from now on, ``acquire`` opens connections that are not kept."""
        self._closed = True
        self.suspend()

    def sockets(self) -> list[int]:
        """Return the sockets of all connections, in use or idle."""
        return [
            conn.pgconn.socket for conn in list(self._open) if conn.pgconn.status == ConnStatus.OK
        ]

    def _connect(self) -> Connection[Any]:
        conn = connect.connect(self._url, application_name=self._application_name)
        self._open.add(conn)
        return conn

    def _start(self) -> _Connections:
        """Return the pool, with its first connection.

        One caller tries to connect, and the others share the outcome. Otherwise they might wait
        for one time-out after the other.
        """
        attempts = self._attempts
        with self._opening:
            connections = self._connections
            if connections is not None and self._open:
                return connections
            if self._attempts != attempts and self._failure is not None:
                raise _again(self._failure)
            self._attempts += 1
            try:
                first = self._connect()
            except Exception as exc:
                self._failure = exc
                raise
            self._failure = None
            if connections is None or connections.closed:
                opener = _Opener(self._connect)
                connections = self._connections = _Connections(opener, self._size, self._max_idle)
            connections.opener.first = first
            return connections

    def _retire(self, connections: _Connections) -> None:
        """Close this pool. Callers that wait for it use the next one."""
        with self._opening:
            if self._connections is connections:
                self._connections = None
        connections.end(0)


def _is_alive(conn: Connection[Any]) -> bool:
    """Return whether an idle connection works: a server that closed it left an EOF to read."""
    if conn.pgconn.status != ConnStatus.OK:
        return False
    readable = select.poll()  # not select(): descriptors may be above 1023
    readable.register(conn.pgconn.socket, select.POLLIN)
    return not readable.poll(0)


def _again(failure: Exception) -> Exception:
    """Return a copy of the error, for the traceback of another thread."""
    return type(failure)(*failure.args)


def _all_busy(timeout: float) -> DatabaseUnreachable:
    return DatabaseUnreachable(
        f"No connection became free within {timeout:g} s: all are busy with other callers."
    )
