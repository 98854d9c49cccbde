"""A connection pool for one process, on top of psycopg_pool.

psycopg_pool opens connections in worker threads, so a caller whose connection fails sees only
PoolTimeout. So ``Pool`` makes the first connection in the caller's thread, and an error there has
the server's own reason. An inner pool also keeps the error of its last attempt to connect.

If one connection is broken, the others of its pool probably are, too: a restart of the server
breaks all of them. psycopg_pool checks them one by one, with pauses of 1, 2, 4 s. So ``Pool``
closes the whole inner pool, and the next caller opens another.
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
_JOIN_TIMEOUT: Final = 2.0  # seconds for the pool's threads to end; one may be connecting
_SHARED_WAIT: Final = 0.5  # seconds to wait for the attempt of another caller to connect
_MIN_TIMEOUT: Final = 0.001  # seconds; at 0, psycopg_pool does not even lend an idle connection

_log = logging.getLogger("psycopg.pool")


def _concerns_other_pool(record: logging.LogRecord) -> bool:
    """Return whether a record of psycopg_pool is about a pool of the program's own."""
    about = record.args[0] if isinstance(record.args, tuple) and record.args else ""
    ours = str(record.threadName).startswith(_NAME) or str(about).startswith(_NAME)
    return not ours


# Callers get the errors as exceptions, so the log would only repeat them. The filter drops the
# records about our pools. At level INFO, psycopg_pool makes three records for each connection that
# is lent, and making them costs time even if the filter drops them; hence WARNING. A level that
# the program has set for this logger stays.
_log.addFilter(_concerns_other_pool)
if _log.level == logging.NOTSET:
    _log.setLevel(logging.WARNING)


class AllBusy(DatabaseUnreachable):
    """Other callers of this process used all connections. The server may be well."""


class _PoolConnection(Connection[Any]):
    """The connection class of the inner pools."""

    @classmethod
    def connect(cls, conninfo: str = "", *, opener: _Opener, **_: Any) -> Self:  # type: ignore[override]
        return cast(Self, opener.open())


class _Opener:
    """Opens the connections of one inner pool, and keeps the error of the last attempt."""

    def __init__(self, open_connection: Callable[[], Connection[Any]]) -> None:
        self._open_connection = open_connection
        self._failure: Exception | None = None
        self.premade: Connection[Any] | None = None

    def open(self) -> Connection[Any]:
        """Return ``premade``, if it is not used yet, or a new connection."""
        conn, self.premade = self.premade, None
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
        """Close ``premade``, if it was not used."""
        conn, self.premade = self.premade, None
        if conn is not None:
            conn.close()

    def last_error(self) -> Exception | None:
        """Return a copy of the error of the last attempt, or None."""
        return None if self._failure is None else _copy_error(self._failure)


class _InnerPool(ConnectionPool[Connection[Any]]):
    """A pool of psycopg_pool, with our settings."""

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
            reconnect_timeout=0,  # give up after one failed attempt; the next caller retries
            reconnect_failed=_close_if_empty,
            open=False,
        )
        try:
            self.open()
        except RuntimeError:  # its threads cannot be started; perhaps one was
            self.close(0)
            raise

    def close_idle(self, timeout: float) -> None:
        """Close idle connections; wait ``timeout`` seconds for the threads to end."""
        self.close(timeout)
        self.opener.discard()


def _close_if_empty(pool: ConnectionPool[Any]) -> None:
    """Close a pool after a failed attempt to connect, if no connection is lent.

    Callers that wait then get an error at once. The pool's own thread calls this.
    """
    if pool.get_stats()["pool_size"] == 0:
        threading.Thread(target=pool.close, name=f"{_NAME}-closing", daemon=True).start()


class Pool:
    """At most ``size`` blocking connections, shared by the threads of this process.

    Every ``max_idle`` seconds, one connection is closed that nothing used in that time.
    """

    def __init__(self, url: str, *, application_name: str, size: int, max_idle: float) -> None:
        self._url = url
        self._application_name = application_name
        self._size = size
        self._max_idle = max_idle
        self._opening = threading.Condition()  # guards the next four fields
        self._attempts = 0  # attempts to connect that are under way
        self._failures = 0  # attempts to connect that have failed
        self._failure: Exception | None = None  # the error of the last such attempt
        self._inner: _InnerPool | None = None
        self._lent: dict[Connection[Any], _InnerPool] = {}
        self._live: WeakSet[Connection[Any]] = WeakSet()
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
        give_up_at = time.monotonic() + timeout
        while not self._closed:
            inner = self._inner
            if inner is None or not self._live:
                opened = self._open_pool()
                if isinstance(opened, Connection):
                    return opened
                inner = opened
            try:
                conn = inner.getconn(max(_MIN_TIMEOUT, give_up_at - time.monotonic()))
            except PoolTimeout:
                raise inner.opener.last_error() or AllBusy(
                    f"No connection became free within {timeout:g} s: others use all of them."
                ) from None
            except PoolClosed:  # another caller found a broken connection
                self._retire(inner)
            else:
                if _is_alive(conn):
                    self._lent[conn] = inner
                    return conn
                self._retire(inner)
                inner.putconn(conn)
        return self._connect()

    def release(self, conn: Connection[Any]) -> None:
        """Give a connection back; close it if it is broken or in a transaction."""
        inner = self._lent.pop(conn, None)
        if inner is None:  # acquired after close(), or without threads for an inner pool
            conn.close()
            return
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            conn.close()
            self._retire(inner)
        inner.putconn(conn)

    def suspend(self) -> None:
        """Close idle connections and end the threads. The next caller opens connections again.

        Connections in use are closed when they are given back.
        """
        with self._opening:
            self._opening.wait_for(lambda: not self._attempts, _JOIN_TIMEOUT)
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close_idle(_JOIN_TIMEOUT)

    def close(self) -> None:
        """Close idle connections. After this, ``acquire`` opens connections that are not kept."""
        self._closed = True
        self.suspend()

    def sockets(self) -> list[int]:
        """Return the sockets of all connections, in use or idle."""
        return [
            conn.pgconn.socket for conn in list(self._live) if conn.pgconn.status == ConnStatus.OK
        ]

    def _connect(self) -> Connection[Any]:
        conn = connect.connect(self._url, application_name=self._application_name)
        self._live.add(conn)
        return conn

    def _open_pool(self) -> _InnerPool | Connection[Any]:
        """Return the inner pool, with its first connection.

        Return that connection alone if this process can start no threads for a pool: the caller
        is served, and the connection is not kept.

        One caller connects, and the others share the outcome if it comes soon. An attempt that
        gets no answer must not stop them, so then they connect, too: at most ``size`` at a time.
        """
        if (inner := self._share_attempt()) is not None:
            return inner
        try:
            premade = self._connect()
        except Exception as exc:
            with self._opening:
                if self._inner is not None and self._live:
                    return self._inner  # another caller has connected
                self._failures += 1
                self._failure = exc
            raise
        else:
            try:
                with self._opening:
                    return self._put_premade(premade)
            except RuntimeError:  # no thread for the inner pool
                return premade
        finally:
            with self._opening:
                self._attempts -= 1
                self._opening.notify_all()

    def _share_attempt(self) -> _InnerPool | None:
        """Return the inner pool that another caller opens, or None if this caller must connect.

        Raises the error of the other caller.
        """
        connect_at = time.monotonic() + _SHARED_WAIT
        with self._opening:
            failures = self._failures
            while True:
                if self._inner is not None and self._live:
                    return self._inner
                if self._failures != failures and self._failure is not None:
                    raise _copy_error(self._failure)
                wait = connect_at - time.monotonic()
                if not self._attempts or (wait <= 0 and self._attempts < self._size):
                    self._attempts += 1
                    return None
                self._opening.wait(wait if wait > 0 else None)

    def _put_premade(self, premade: Connection[Any]) -> _InnerPool:
        """Return the inner pool, opened with this connection unless it is open. Lock is held."""
        inner = self._inner
        if inner is None or inner.closed:
            inner = self._inner = _InnerPool(_Opener(self._connect), self._size, self._max_idle)
        inner.opener.discard()  # the connection of another caller
        inner.opener.premade = premade
        if self._closed:
            inner.close_idle(0)
        return inner

    def _retire(self, inner: _InnerPool) -> None:
        """Close this inner pool. Callers that wait for it use the next one."""
        with self._opening:
            if self._inner is inner:
                self._inner = None
        inner.close_idle(0)


def _is_alive(conn: Connection[Any]) -> bool:
    """Return whether an idle connection works: a server that closed it left an EOF to read."""
    if conn.pgconn.status != ConnStatus.OK:
        return False
    readable = select.poll()  # not select(): descriptors may be above 1023
    readable.register(conn.pgconn.socket, select.POLLIN)
    return not readable.poll(0)


def _copy_error(failure: Exception) -> Exception:
    """Return a copy of the error, for the traceback of another thread."""
    return type(failure)(*failure.args)
