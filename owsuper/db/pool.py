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
import math
import select
import threading
import time
from collections.abc import Iterator
from typing import Any, Final, cast
from weakref import WeakSet

from psycopg import Connection
from psycopg.pq import ConnStatus, TransactionStatus
from psycopg_pool import PoolClosed, PoolTimeout

from owsuper.db import connect
from owsuper.db.inner_pool import InnerPool, Opener, copy_error
from owsuper.db.timed import TimedConnection, TimeLimitReached
from owsuper.errors import DatabaseUnreachable

_JOIN_TIMEOUT: Final = 2.0  # seconds for the pool's threads to end; one may be connecting
_SHARED_WAIT: Final = 0.5  # seconds to wait for the attempt of another caller to connect
_MIN_TIMEOUT: Final = 0.001  # seconds; at 0, psycopg_pool does not even lend an idle connection


class AllBusy(DatabaseUnreachable):
    """Other callers of this process used all connections. The server may be well."""


class Pool:
    """At most ``size`` blocking connections, shared by the threads of this process.

    Every ``max_idle`` seconds, one connection is closed that nothing used in that time. For
    ``statement_timeout`` and ``for_user_code`` see ``connect``.
    """

    def __init__(
        self,
        url: str,
        *,
        application_name: str,
        size: int,
        max_idle: float,
        statement_timeout: float = math.inf,
        for_user_code: bool = False,
    ) -> None:
        self._url = url
        self._for_user_code = for_user_code
        self._application_name = application_name
        self._statement_timeout = statement_timeout
        self._size = size
        self._max_idle = max_idle
        self._opening = threading.Condition()  # guards the next four fields
        self._attempts = 0  # attempts to connect that are under way
        self._failures = 0  # attempts to connect that have failed
        self._failure: Exception | None = None  # the error of the last such attempt
        self._inner: InnerPool | None = None
        self._lent: dict[Connection[Any], InnerPool] = {}
        self._live: WeakSet[TimedConnection] = WeakSet()
        self._closed = False

    @contextlib.contextmanager
    def connection(
        self, timeout: float, *, connect_by: float = math.inf
    ) -> Iterator[TimedConnection]:
        """Lend a connection in no transaction. Raises as ``acquire`` does."""
        conn = self.acquire(timeout, connect_by=connect_by)
        try:
            yield conn
        finally:
            self.release(conn)

    def acquire(self, timeout: float, *, connect_by: float = math.inf) -> TimedConnection:
        """Return a connection in no transaction, for ``release``.

        A caller that has to connect gives up at ``connect_by``, a time of time.monotonic().

        Raises DatabaseUnreachable if the server cannot be reached, or no connection becomes free
        within ``timeout`` seconds; ConfigurationError as ``connect`` does.
        """
        give_up_at = time.monotonic() + timeout
        while not self._closed:
            inner = self._inner
            if inner is None or not self._live:
                opened = self._open_pool(connect_by)
                if isinstance(opened, TimedConnection):
                    return opened
                inner = opened
            try:
                conn = inner.getconn(max(_MIN_TIMEOUT, give_up_at - time.monotonic()))
            except PoolTimeout:
                raise inner.opener.last_error() or AllBusy(
                    f"No connection became free within {timeout:.2g} s: others use all of them, or"
                    " the server does not answer."
                ) from None
            except PoolClosed:  # another caller found a broken connection
                self._retire(inner)
            else:
                if _is_alive(conn):
                    self._lent[conn] = inner
                    return conn
                self._retire(inner)
                inner.putconn(conn)
        return self._connect(connect_by)

    def release(self, conn: Connection[Any]) -> None:
        """Give a connection back; close it if it is broken or in a transaction."""
        inner = self._lent.pop(conn, None)
        if inner is None:  # acquired after close(), or without threads for an inner pool
            conn.close()
            return
        if conn.pgconn.transaction_status != TransactionStatus.IDLE:
            conn.close()
            self._retire(inner)
        inner.putconn(cast(TimedConnection, conn))

    def suspend(self, timeout: float = _JOIN_TIMEOUT) -> None:
        """Close idle connections and end the threads. The next caller opens connections again.

        Connections in use are closed when they are given back. Attempts to connect get at most
        ``timeout`` seconds to end.
        """
        give_up_at = time.monotonic() + timeout
        with self._opening:
            self._opening.wait_for(lambda: not self._attempts, timeout)
            inner, self._inner = self._inner, None
        if inner is not None:
            inner.close_idle(max(0.0, give_up_at - time.monotonic()))

    def close(self, timeout: float = _JOIN_TIMEOUT) -> None:
        """Close idle connections. After this, ``acquire`` opens connections that are not kept."""
        self._closed = True
        self.suspend(timeout)

    def sockets(self) -> list[int]:
        """Return the sockets of all connections, in use or idle."""
        return [
            conn.pgconn.socket for conn in list(self._live) if conn.pgconn.status == ConnStatus.OK
        ]

    def _connect(self, give_up_at: float = math.inf) -> TimedConnection:
        conn = connect.connect(
            self._url,
            application_name=self._application_name,
            give_up_at=give_up_at,
            statement_timeout=self._statement_timeout,
            for_user_code=self._for_user_code,
        )
        self._live.add(conn)
        return conn

    def _open_pool(self, connect_by: float) -> InnerPool | TimedConnection:
        """Return the inner pool, with its first connection.

        Return that connection alone if this process can start no threads for a pool: the caller
        is served, and the connection is not kept.

        One caller connects, and the others share the outcome if it comes soon. An attempt that
        gets no answer must not stop them, so then they connect, too: at most ``size`` at a time.
        """
        if (inner := self._share_attempt(connect_by)) is not None:
            return inner
        try:
            premade = self._connect(connect_by)
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

    def _share_attempt(self, connect_by: float) -> InnerPool | None:
        """Return the inner pool that another caller opens, or None if this caller must connect.

        Raises the error of the other caller, or DatabaseUnreachable at ``connect_by``.
        """
        connect_at = time.monotonic() + _SHARED_WAIT
        with self._opening:
            failures = self._failures
            while True:
                if self._inner is not None and self._live:
                    return self._inner
                if self._failures != failures and self._failure is not None:
                    raise copy_error(self._failure)
                now = time.monotonic()
                if not self._attempts or (now >= connect_at and self._attempts < self._size):
                    self._attempts += 1
                    return None
                if now >= connect_by:
                    raise connect.explain_failure(TimeLimitReached("timeout expired"), self._url)
                until = min(connect_at if now < connect_at else math.inf, connect_by)
                self._opening.wait(None if until == math.inf else until - now)

    def _put_premade(self, premade: TimedConnection) -> InnerPool:
        """Return the inner pool, opened with this connection unless it is open. Lock is held."""
        inner = self._inner
        if inner is None or inner.closed:
            inner = self._inner = InnerPool(Opener(self._connect), self._size, self._max_idle)
        inner.opener.discard()  # the connection of another caller
        inner.opener.premade = premade
        if self._closed:
            inner.close_idle(0)
        return inner

    def _retire(self, inner: InnerPool) -> None:
        """Close this inner pool. Callers that wait for it use the next one."""
        with self._opening:
            if self._inner is inner:
                self._inner = None
        inner.close_idle(0)


def _is_alive(conn: TimedConnection) -> bool:
    """Return whether an idle connection works: a server that closed it left an EOF to read."""
    if conn.pgconn.status != ConnStatus.OK:
        return False
    readable = select.poll()  # not select(): descriptors may be above 1023
    readable.register(conn.pgconn.socket, select.POLLIN)
    return not readable.poll(0)
