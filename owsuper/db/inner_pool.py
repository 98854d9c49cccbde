"""The pools of psycopg_pool that ``Pool`` uses, one after the other."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any, Final, Self, cast

from psycopg_pool import ConnectionPool, PoolClosed

from owsuper.db.timed import TimedConnection

_NAME: Final = "owsuper"

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


class _PoolConnection(TimedConnection):
    """The connection class of the inner pools."""

    # The pool alone calls this, and passes the keywords that it was given: ``opener``.
    @classmethod
    def connect(cls, conninfo: str = "", *, opener: Opener, **_: Any) -> Self:  # type: ignore[override]
        return cast(Self, opener.open())


class Opener:
    """Opens the connections of one inner pool, and keeps the error of the last attempt."""

    def __init__(self, open_connection: Callable[[], TimedConnection]) -> None:
        self._open_connection = open_connection
        self._failure: Exception | None = None
        self.premade: TimedConnection | None = None

    def open(self) -> TimedConnection:
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
        return None if self._failure is None else copy_error(self._failure)


class InnerPool(ConnectionPool[TimedConnection]):
    """A pool of psycopg_pool, with our settings."""

    def __init__(self, opener: Opener, size: int, max_idle: float) -> None:
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

    def _get_ready_connection(self, timeout: float | None) -> TimedConnection | None:
        # psycopg_pool calls this under its lock. It has looked before whether the pool is closed:
        # a caller for whom it was closed in between would wait for a connection in vain.
        if self.closed:
            raise PoolClosed("the pool is closed")
        return super()._get_ready_connection(timeout)

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


def copy_error(failure: Exception) -> Exception:
    """Return a copy of the error, for the traceback of another thread."""
    return type(failure)(*failure.args)
