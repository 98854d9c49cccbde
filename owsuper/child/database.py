"""The database connections of a child, opened when needed and closed when idle."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

import psycopg
from psycopg.pq import TransactionStatus

from owsuper.child.shortage import DESCRIPTORS, MEMORY, Shortage, lacking
from owsuper.core.model import ChildRunState, ClaimedRun, DeliveredSignal
from owsuper.core.steps.effects import EnsureChildRun, SkipSignal
from owsuper.db import connect
from owsuper.db.known_connections import KnownConnections
from owsuper.db.pool import AllBusy, Pool
from owsuper.db.related import RelatedStore, Skipped, Turn
from owsuper.db.runs import RunStore
from owsuper.errors import DatabaseUnreachable
from owsuper.shortage import is_thread_error
from owsuper.stored_error import EngineError

if TYPE_CHECKING:
    from owsuper.child.counts import ChildCounts

_log = logging.getLogger("owsuper.child")
_T = TypeVar("_T")

_CONNECTIONS: Final = 2  # one writes, while the other renews leases or loads histories
_USER_CONNECTIONS: Final = 64  # as many steps as there are threads for them
_ACQUIRE_TIMEOUT: Final = 2.0  # seconds; the longest wait for a free connection
_IDLE_SECONDS: Final = 10.0  # all connections are closed after this long without use
_FIRST_PAUSE: Final = 0.05  # seconds between attempts in an outage; doubles up to the longest
_LONGEST_PAUSE: Final = 1.0

_OUTAGES: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    DatabaseUnreachable,
    OSError,  # psycopg opens a selector for each attempt to connect
    MemoryError,
)
"""The errors of a missing or dead connection, of a server that is not the primary, and of a
process that lacks what a connection needs."""

_LOCK_CONFLICTS: Final = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
)
"""The errors that other transactions cause, on a connection that works."""

_VALUE_REFUSED: Final = ("22", "23", "54", "P0001")
"""SQLSTATEs, or their classes, that concern the values of a write: the server would refuse the same
write again. 22 is a value that is wrong, 54 one that is too large for PostgreSQL; a constraint (23)
or a trigger (P0001) of the user's may refuse any."""


class Unavailable(EngineError):
    """The database cannot be used now; ``cause`` says why."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause) or type(cause).__name__)
        self.cause = cause


def is_refusal(exc: Exception) -> bool:
    """Return whether the server refused a write because of its values, which is permanent."""
    return (
        isinstance(exc, psycopg.Error)
        and exc.sqlstate is not None
        and exc.sqlstate.startswith(_VALUE_REFUSED)
    )


def is_outage(exc: Exception) -> bool:
    """Return whether ``exc`` says that the database cannot be used now."""
    return isinstance(exc, (*_OUTAGES, Unavailable)) or is_thread_error(exc)


class ChildDatabase:
    """The connections of one child. Once ``closing`` is set, nothing is retried.

    ``counts`` counts their uses, if metrics are wanted.
    """

    def __init__(
        self,
        url: str,
        application_name: str,
        shortage: Shortage,
        *,
        schema: str,
        counts: ChildCounts | None = None,
    ) -> None:
        self.known_connections = KnownConnections(schema)
        self.closing = threading.Event()
        self._shortage = shortage
        self._counts = counts
        self._in_outage = False
        self._read_only = False  # the outage is that of a server which takes no writes
        self._all_busy = False  # a caller has waited in vain for a free connection
        # Connections are closed one at a time; the first period may have begun with both in use.
        max_idle = _IDLE_SECONDS / (_CONNECTIONS + 1)
        self._url, self._steps_name = url, f"{application_name} steps"
        self._pool = Pool(
            url, application_name=application_name, size=_CONNECTIONS, max_idle=max_idle
        )
        self._user_pool = Pool(  # connects when a step has a transaction
            url,
            application_name=self._steps_name,
            size=_USER_CONNECTIONS,
            max_idle=_IDLE_SECONDS,
            for_user_code=True,
        )
        self._report_pool = Pool(  # connects when a run reports something
            url, application_name=f"{application_name} reports", size=1, max_idle=_IDLE_SECONDS
        )

    def acquire(self) -> psycopg.Connection:
        """Return a connection, for ``release``. Raises Unavailable."""
        return _acquire(self._pool)

    def release(self, conn: psycopg.Connection) -> None:
        """Give a connection back to the pool."""
        self._pool.release(conn)

    def acquire_for_user_code(self) -> psycopg.Connection:
        """Return a connection that is as new, for ``release_from_user_code``.

        Raises Unavailable.
        """
        return _acquire(self._user_pool)

    def release_from_user_code(self, conn: psycopg.Connection) -> None:
        """Give a connection back; it is closed if it is in a transaction."""
        if conn.pgconn.transaction_status == TransactionStatus.IDLE:
            try:
                connect.clean(conn)
            except Exception:  # what the server or its network refuses
                conn.close()
        self._user_pool.release(conn)

    def conninfo_for_user_code(self) -> str:
        """Return the connection string for connections that are not pooled."""
        return connect.conninfo(self._url, application_name=self._steps_name)

    def sockets(self) -> list[int]:
        """Return the sockets of all connections, in use or idle."""
        return self._pool.sockets() + self._user_pool.sockets() + self._report_pool.sockets()

    def log_unreachable(self, exc: Exception) -> None:
        """Log that the database cannot be used: a warning once per outage."""
        cause = exc.cause if isinstance(exc, Unavailable) else exc
        reason = " ".join(str(cause).split()) or type(cause).__name__
        if isinstance(cause, _LOCK_CONFLICTS):
            _log.info("will retry: %s", reason)
            return
        if isinstance(cause, AllBusy):
            level = logging.DEBUG if self._all_busy else logging.WARNING
            self._all_busy = True
            _log.log(level, "the database is slow, or holds a lock; waiting for a free connection")
            return
        self._read_only = isinstance(cause, psycopg.errors.ReadOnlySqlTransaction)
        level = logging.DEBUG if self._in_outage else logging.WARNING
        if self._counts is not None and not self._in_outage:
            self._counts.on_outage()
        self._in_outage = True
        if (lack := lacking(cause)) is not None:
            self._shortage.failed(lack)
            _log.log(level, "this process lacks %s, will retry: %s", lack, reason)
        else:
            _log.log(level, "the database is unreachable, will retry: %s", reason)

    def log_reachable(self) -> None:
        """Log the end of an outage, if there was one. Call this after a write."""
        self._all_busy = False
        if self._in_outage:
            self._in_outage = self._read_only = False
            self._shortage.ended(DESCRIPTORS, MEMORY)
            _log.info("the database is back")

    def run_for_reports(self, work: Callable[[psycopg.Connection], object]) -> None:
        """Call ``work(conn)`` with a connection that nothing else uses.

        For one thread. Raises Unavailable in an outage, and otherwise as ``work`` does.
        """
        self._run(self._report_pool, work)

    def close(self) -> None:
        """Close all connections."""
        self.closing.set()
        self._pool.close()
        self._user_pool.close()
        self._report_pool.close()

    def run_with_retries(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """Return ``work(conn)``; repeat it until the end of an outage.

        The work may be repeated after it has taken effect. Raises Unavailable once ``closing``
        is set.
        """
        pause = _FIRST_PAUSE
        while True:
            try:
                return self.run_once(work)
            except Unavailable as exc:
                self.log_unreachable(exc)
                if self.closing.wait(pause):
                    raise
                pause = min(pause * 2, _LONGEST_PAUSE)

    def run_once(self, work: Callable[[psycopg.Connection], _T]) -> _T:
        """Return ``work(conn)``. Raises Unavailable in an outage."""
        result = self._run(self._pool, work)
        if not self._read_only:  # there, reading works in between
            self.log_reachable()
        return result

    def _run(self, pool: Pool, work: Callable[[psycopg.Connection], _T]) -> _T:
        conn = _acquire(pool)
        if self._counts is not None:
            self._counts.on_call()
        try:
            return work(conn)
        except Exception as exc:
            if isinstance(exc, psycopg.errors.ReadOnlySqlTransaction):
                conn.close()  # the next connection may lead to the primary
            if is_outage(exc) and not is_refusal(exc):
                raise Unavailable(exc) from exc
            raise
        finally:
            pool.release(conn)


def _acquire(pool: Pool) -> psycopg.Connection:
    try:
        return pool.acquire(_ACQUIRE_TIMEOUT)
    except Exception as exc:
        if is_outage(exc):
            raise Unavailable(exc) from exc
        raise


class RelatedRuns:
    """Child runs and signals. All methods block through outages; any thread may call them."""

    def __init__(self, database: ChildDatabase, store: RelatedStore, runs: RunStore) -> None:
        self._database = database
        self._store = store
        self._runs = runs

    def look(self, attempt_id: str) -> ChildRunState | DeliveredSignal | None:
        """Return the state of the child run or the signal that a step attempt waits for."""
        return self._database.run_with_retries(lambda conn: self._store.look(conn, attempt_id))

    def input_of(self, attempt_id: str) -> bytes | None:
        """Return the input with which a step attempt began its child run; None if it is null."""
        child = self.look(attempt_id)
        if not isinstance(child, ChildRunState):
            return None
        return self._database.run_with_retries(
            lambda conn: self._runs.load_first_input(conn, child.run_id)
        )

    def adopt(self, run: ClaimedRun, effect: EnsureChildRun) -> ChildRunState | None:
        """Return the child run of a step attempt that another worker began.

        Return None if the lease of ``run`` is lost.
        """
        return self._database.run_with_retries(
            lambda conn: self._store.adopt(
                conn, run.run_id, run.worker_id, effect.attempt_id, effect.child
            )
        )

    def take_turn(
        self, run: ClaimedRun, step: str, limit: tuple[str, str, str], soon: float, others: bool
    ) -> Turn:
        """Take a token for a step, or a turn; see ``RelatedStore.take_turn``."""
        claim = (run.run_id, run.worker_id, run.workflow_name)
        return self._database.run_with_retries(
            lambda conn: self._store.take_turn(conn, claim, step, limit, soon, with_others=others)
        )

    def stored_input(self, run: ClaimedRun) -> bytes | None:
        """Return the input of a run, which may be too large for its claim."""
        if not run.input_stored:
            return run.input_json
        return self._database.run_with_retries(lambda conn: self._runs.load_input(conn, run.run_id))

    def mark_undo(self, run: ClaimedRun) -> bool:
        """Note with ``run`` that its steps have undos; return False if its lease is lost."""
        return self._database.run_with_retries(
            lambda conn: self._runs.mark_undo(conn, run.run_id, run.worker_id)
        )

    def skip(self, run: ClaimedRun, effect: SkipSignal) -> Skipped | None:
        """Set aside the signal that was delivered to a step; return what takes its place.

        Return None if the lease of ``run`` is lost.
        """
        return self._database.run_with_retries(
            lambda conn: self._store.skip(
                conn,
                run.run_id,
                run.worker_id,
                effect.attempt_id,
                effect.signal,
                (effect.delivery_id, effect.reason),
            )
        )

    def send(self, run_id: str, key: str, signal: str, data: bytes | None, keep: bool) -> list[str]:
        """Send ``signal`` from the step ``key`` of a run, once for any number of calls.

        Return the ids of the runs that it reached. If it reached none, ``keep`` stores it for the
        next run that waits.
        """
        sender = f"__signal:{run_id}:{key}"
        return self._database.run_with_retries(
            lambda conn: self._store.send(conn, signal, data, sender, keep=keep)
        )
