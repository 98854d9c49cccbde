"""A child's way to the database: opened when needed, closed when idle, patient in outages."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final, TypeVar

import psycopg

from owsuper.core.model import ChildRunState, ClaimedRun, DeliveredSignal
from owsuper.core.steps.effects import EnsureChildRun
from owsuper.db.pool import Pool
from owsuper.db.related import RelatedStore
from owsuper.errors import DatabaseUnreachable

_log = logging.getLogger("owsuper.child")
_T = TypeVar("_T")

_CONNECTIONS: Final = 2  # one writes, while the other renews leases or loads histories
_BUSY_FOR: Final = 2.0  # seconds to wait for one of them
_IDLE_FOR: Final = 10.0  # seconds, after which no connection is left
_PAUSE_FIRST: Final = 0.05  # seconds; doubles up to the longest
_PAUSE_LONGEST: Final = 1.0

Unavailable = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    DatabaseUnreachable,
)
"""What a dead or missing connection raises, and one to a server that is not the primary."""

_IN_THE_WAY: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
"""What others do to a statement, on a connection that is whole."""

_OUT_OF_BOUNDS: Final = "54"  # SQLSTATEs: a value is larger than PostgreSQL can take


def is_refusal(exc: Exception) -> bool:
    """Whether the server will not take this write, now or later."""
    if not isinstance(exc, psycopg.Error):
        return False
    out_of_bounds = exc.sqlstate is not None and exc.sqlstate.startswith(_OUT_OF_BOUNDS)
    return out_of_bounds or not isinstance(exc, Unavailable)


class ChildDatabase:
    """Connections of one child. ``closing`` ends the patience: work then fails at once."""

    def __init__(self, url: str, application_name: str) -> None:
        self.closing = threading.Event()
        self._away = False
        # Connections are closed one at a time; the first period may have begun with both in use.
        max_idle = _IDLE_FOR / (_CONNECTIONS + 1)
        self._pool = Pool(
            url, application_name=application_name, size=_CONNECTIONS, max_idle=max_idle
        )

    def take(self) -> psycopg.Connection:
        """A connection, to be handed back with ``give``. Raises one of ``Lost``."""
        return self._pool.take(_BUSY_FOR)

    def give(self, conn: psycopg.Connection) -> None:
        self._pool.give(conn)

    def tell_away(self, exc: Exception) -> None:
        """Say that the database cannot be used, once in an outage."""
        if isinstance(exc, _IN_THE_WAY):
            _log.info("will retry: %s", " ".join(str(exc).split()))
            return
        level = logging.DEBUG if self._away else logging.WARNING
        _log.log(level, "the database is away, will retry: %s", " ".join(str(exc).split()))
        self._away = True

    def tell_back(self) -> None:
        """Say that it can be used again, if it was away."""
        if self._away:
            self._away = False
            _log.info("the database is back")

    def close(self) -> None:
        """Close all connections."""
        self.closing.set()
        self._pool.close()

    def patiently(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """``work(conn)``, repeated through outages; so it must bear repetition.

        Raises the last error once ``closing`` is set.
        """
        pause = _PAUSE_FIRST
        while True:
            try:
                return self.once(work)
            except Unavailable as exc:
                self.tell_away(exc)
                if self.closing.wait(pause):
                    raise
                pause = min(pause * 2, _PAUSE_LONGEST)

    def once(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """``work(conn)`` without repetition. Raises one of ``Lost`` in an outage."""
        conn = self.take()
        try:
            result = work(conn)
            self.tell_back()
            return result
        except psycopg.errors.ReadOnlySqlTransaction:
            conn.close()  # the next one may lead to the primary
            raise
        finally:
            self.give(conn)


class RelatedRuns:
    """Child runs and signals. All methods block through outages; any thread may call them."""

    def __init__(self, database: ChildDatabase, store: RelatedStore) -> None:
        self._database = database
        self._store = store

    def look(self, attempt_id: str) -> ChildRunState | DeliveredSignal | None:
        """What has come of that which this step attempt waits for."""
        return self._database.patiently(lambda conn: self._store.look(conn, attempt_id))

    def adopt(self, run: ClaimedRun, effect: EnsureChildRun) -> ChildRunState | None:
        """The child of a step attempt that somebody else began; None if ``run`` is not ours."""
        return self._database.patiently(
            lambda conn: self._store.adopt(
                conn, run.run_id, run.worker_id, effect.attempt_id, effect.child
            )
        )

    def send(self, run_id: str, key: str, signal: str, data: bytes | None, keep: bool) -> list[str]:
        """Send ``signal`` from the step ``key`` of a run, once however often it is asked for; the
        ids of the runs that it reached. ``keep`` it for the next to wait, if it reached none.
        """
        sender = f"__signal:{run_id}:{key}"
        return self._database.patiently(
            lambda conn: self._store.send(conn, signal, data, sender, keep=keep)
        )
