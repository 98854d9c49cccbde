"""Reads of pages that people look at: they must never hurt the queue that they show."""

from __future__ import annotations

import copy
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import psycopg
from psycopg import Connection
from psycopg.pq import TransactionStatus

from owsuper.client import failures, fork_safety
from owsuper.client.call_threads import CallThreads
from owsuper.db import connect
from owsuper.db.pool import Pool
from owsuper.db.timed import TimedConnection

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

T = TypeVar("T")

CONNECTIONS: Final = 4
"""The most connections of a process for pages, however many are open."""

STATEMENT_SECONDS: Final = 2.0
"""The longest time that a statement of a page may take; then the server itself stops it."""

_READ_SECONDS: Final = 6.0  # for all statements of a page; also if the server is frozen
_WAIT_SECONDS: Final = 4.0  # for one of the connections
_MAX_IDLE: Final = 30.0  # seconds after which the pool closes an idle connection
_REST: Final = 20  # times what a read took, before it is read again: at most 5 % of a connection
_OLDEST: Final = 15.0  # seconds for which a value that took long is used
_STOP: Final = 1.0  # seconds for all threads to end, before a fork or at the end
_TRIES: Final = 2  # reads of the same, when the connection breaks
# One round trip. LOCAL, because a session may be that of a connection pooler. One snapshot, so that
# the parts of a page agree.
_BEGIN: Final = (
    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;"
    f" SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000:.0f}"
).encode()


class PageReader:
    """Reads in read-only transactions, over a few connections that nothing else uses.

    The connections are opened when needed. A forked process opens its own.
    """

    def __init__(self, database: ClientDatabase) -> None:
        self._database = database
        self._threads = CallThreads(CONNECTIONS)
        self._pool: Pool | None = None
        self._finish: Callable[[], object] = lambda: None
        self._lock = threading.Lock()
        self._kept: dict[str, _Kept] = {}
        fork_safety.forget_in_children(self)
        database.close_with(self)

    @property
    def schema(self) -> str:
        """The schema of the tables. Raises ConfigurationError."""
        return self._database.settings.schema

    @property
    def namespace(self) -> str:
        """The namespace of the runs. Raises ConfigurationError."""
        return self._database.settings.namespace

    def read(self, work: Callable[[Connection[Any]], T]) -> T:
        """Return ``work(conn)``, called in a read-only transaction.

        The work may be repeated on another connection if the first one breaks. Raises DatabaseError
        with its subclasses; if a statement takes more than STATEMENT_SECONDS, its cause is
        psycopg's QueryCanceled.
        """
        session = self._database.session()
        give_up_at = time.monotonic() + _READ_SECONDS
        session.prepare_tables(give_up_at)
        pool, left = self._open(session.url), _TRIES
        while True:
            with pool.connection(_WAIT_SECONDS, connect_by=give_up_at) as conn:
                conn.give_up_at = give_up_at
                try:
                    conn.execute(_BEGIN)
                    result = work(conn)
                    conn.execute(b"COMMIT")
                    return result
                except psycopg.Error as error:
                    left -= 1
                    if not left or not failures.may_succeed(conn, error):
                        raise failures.explain(conn, error, session.url, self.schema) from error
                finally:
                    _leave(conn)

    async def aread(self, work: Callable[[Connection[Any]], T]) -> T:
        """Awaitable ``read``; ``work`` is called in another thread."""
        return await self._threads.run(lambda: self.read(work))

    async def akept(self, key: str, seconds: float, work: Callable[[Connection[Any]], T]) -> T:
        """Return what ``aread(work)`` returned for this ``key`` at most ``seconds`` ago.

        What took long to read is used for longer, for 15 seconds at most. Callers that come
        meanwhile share one read, so that many open pages cost no more than one. Values are kept
        for ever, so keys are few: none comes from the address of a page.
        """
        with self._lock:
            kept = self._kept.setdefault(key, _Kept())
        if (found := kept.value_of(seconds)) is not None:
            return cast("T", found[0])
        return await self._threads.run(lambda: kept.refresh(seconds, lambda: self.read(work)))

    @property
    def listens(self) -> bool:
        """Whether a connection may listen. Raises ConfigurationError."""
        return self._database.settings.listen

    def connect(self) -> TimedConnection:
        """Open a connection on which to notice changes, for the caller to close.

        Raises DatabaseUnreachable, EmbeddedUnavailable and ConfigurationError.
        """
        session = self._database.session()
        return connect.connect(
            self._database.settings.listen_url or session.url,
            application_name=f"owsuper: dashboard {os.getpid()} live",
            give_up_at=time.monotonic() + _READ_SECONDS,
            statement_timeout=STATEMENT_SECONDS,
        )

    def close(self) -> None:
        """Close all connections of this process. The next read opens them again."""
        with fork_safety.fork_lock:
            self._pool, finish = None, self._finish
        self._threads.stop(_STOP)
        finish()

    def suspend_connections(self) -> None:
        """Close idle connections before a fork of this process."""
        self._threads.stop(_STOP)
        if self._pool is not None:
            self._pool.suspend(_STOP)

    def forget_connections(self) -> tuple[object, Iterable[int]] | None:
        """Drop the pool of the parent process; see ``ForkSafe``."""
        pool, self._pool = self._pool, None
        self._finish = lambda: None
        self._lock, self._kept = threading.Lock(), {}
        return None if pool is None else (pool, pool.sockets())

    def _open(self, url: str) -> Pool:
        with fork_safety.fork_lock:
            if self._pool is None:
                self._pool = Pool(
                    url,
                    application_name=f"owsuper: dashboard {os.getpid()}",
                    size=CONNECTIONS,
                    max_idle=_MAX_IDLE,
                    statement_timeout=STATEMENT_SECONDS,
                )
                self._finish = weakref.finalize(self, self._pool.close)
            return self._pool


class _Kept:
    """A value, the time of time.monotonic() at which it was read, and how long that took.

    Or why it was not read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._value: tuple[float, float, Any] | None = None
        self._failure: tuple[float, Exception] | None = None

    def value_of(self, seconds: float) -> tuple[Any] | None:
        """Return the value in a tuple, or None if it is too old: see ``PageReader.akept``."""
        if self._value is None:
            return None
        read_at, took, value = self._value
        fresh = max(seconds, min(took * _REST, _OLDEST))
        return None if time.monotonic() - read_at > fresh else (value,)

    def refresh(self, seconds: float, read: Callable[[], Any]) -> Any:
        """Return the value, read again unless another caller has just done so.

        Those who wait for a read that fails get its error, and do not try one after another.
        """
        came = time.monotonic()
        with self._lock:
            if (found := self.value_of(seconds)) is not None:
                return found[0]
            if self._failure is not None and self._failure[0] >= came:
                error = copy.copy(self._failure[1])  # for the traceback of this thread
                raise error from self._failure[1].__cause__
            begun = time.monotonic()
            try:
                value = read()
            except Exception as failure:
                self._failure = (time.monotonic(), failure)
                raise
            now = time.monotonic()
            self._value, self._failure = (now, now - begun, value), None
            return value


def _leave(conn: Connection[Any]) -> None:
    """End a transaction that failed, or else the pool closes the connection."""
    if conn.pgconn.transaction_status in (TransactionStatus.INTRANS, TransactionStatus.INERROR):
        try:
            conn.execute(b"ROLLBACK")
        except psycopg.Error:
            conn.close()
