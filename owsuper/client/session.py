"""The connections of one OpenWorkflow in one process."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - else getaddrinfo imports it, perhaps during a fork
import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final, TypeVar

import psycopg
from psycopg import Connection, errors
from psycopg.pq import ConnStatus, PipelineStatus

from owsuper import embedded
from owsuper.client.call_threads import CallThreads
from owsuper.client.result_listener import ResultListener
from owsuper.client.result_waiter import ResultWaiter
from owsuper.client.unclaimed import NoticingWaits
from owsuper.db import connect
from owsuper.db.clients import ClientQueries, NewRun
from owsuper.db.group_commit import GroupCommit
from owsuper.db.lists import ListQueries
from owsuper.db.migrate import migrate
from owsuper.db.pool import Pool
from owsuper.db.waits import Progress
from owsuper.errors import DatabaseError, DatabaseUnreachable, MigrationError
from owsuper.settings import Settings

T = TypeVar("T")

_CONNECTIONS: Final = 10
_BUSY_TIMEOUT: Final = 30.0  # seconds to wait for a free connection
_MAX_IDLE: Final = 30.0  # seconds after which the pool closes an idle connection
_PATIENCE: Final = 10.0  # seconds to wait for the leader of a group commit, which may have died
_LARGE: Final = 65536  # bytes of input; a larger run shares no commit, to delay no other run
_STOP: Final = 1.0  # seconds for threads to end, before a fork or at the end
_FIRST_READ: Final = 1.0  # seconds for the first read of a result, even if the timeout is shorter
_TRIES: Final = 3  # calls of the same work, when its connection breaks

_ROLLED_BACK: Final = (errors.DeadlockDetected, errors.SerializationFailure)
_DEADLOCK_TRIES: Final = 10  # several senders of signals may cause more than one deadlock
# Errors of a server that is about to disconnect, or has just restarted.
_INTERRUPTIONS: Final = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
)
_NO_TABLES: Final = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)


class Session:
    """The connections to the database, opened when needed and closed together.

    Without a configured database, the session uses the embedded server in ``embedded_directory``
    and creates its tables. Raises EmbeddedUnavailable.
    """

    def __init__(self, settings: Settings, embedded_directory: Path) -> None:
        self._pid = os.getpid()
        self._schema = settings.schema
        self._lease = None
        if settings.database_url is None:
            self._lease = embedded.acquire(embedded_directory)
        self.url = self._lease.url if self._lease else str(settings.database_url)
        self._name = f"owsuper: client {self._pid}"
        self._pool = Pool(
            self.url, application_name=self._name, size=_CONNECTIONS, max_idle=_MAX_IDLE
        )
        self._threads = CallThreads(_CONNECTIONS)
        self._starts = _Starts(
            self._store,
            key=lambda new: new.id,
            drop_canceled=True,
            patience=_PATIENCE,
            thread_name="owsuper-start",
        )
        self.queries = ClientQueries(settings.schema, settings.namespace)
        self.lists = ListQueries(settings.schema, settings.namespace)
        self._waits = NoticingWaits(settings.schema, settings.namespace)
        self.waiter = ResultWaiter(self._read_progress, self._is_outage, self._listener(settings))
        self.reached = False  # the database has answered at least once
        if self._lease:
            try:
                self.run(lambda conn: migrate(conn, self._schema))
            except BaseException:
                self.close()
                raise

    def run(self, work: Callable[[Connection[Any]], T], *, again: bool = True) -> T:
        """Return ``work(conn)``; repeat it on another connection if the connection breaks.

        The work may be repeated after it has taken effect, unless ``again`` is false. Raises
        DatabaseUnreachable and MigrationError.
        """
        left, deadlocks = _TRIES if again else 1, _DEADLOCK_TRIES
        while True:
            with self._pool.connection(_BUSY_TIMEOUT) as conn:
                try:
                    result = work(conn)
                except psycopg.Error as error:
                    if _must_close(conn, error):
                        conn.close()
                    left -= not isinstance(error, _ROLLED_BACK)
                    deadlocks -= isinstance(error, _ROLLED_BACK)
                    if not left or not deadlocks or not _may_succeed(conn, error):
                        raise self._explain(conn, error) from error
                else:
                    self.reached = True
                    return result

    async def arun(self, work: Callable[[Connection[Any]], T], *, again: bool = True) -> T:
        """Awaitable ``run``; ``work`` is called in another thread."""
        return await self._threads.run(partial(self.run, work, again=again))

    async def acall(self, call: Callable[[], T]) -> T:
        """Return ``call()``, called in another thread. For work of several statements."""
        return await self._threads.run(call)

    def start(self, new: NewRun) -> str:
        """Start a run; return its id. Raises as ``run`` does."""
        if new.idempotency_key is not None:
            return self.run(self.queries.start(new).run)
        if _is_large(new):
            self._store([new])
        else:
            self._starts.commit(new)
        return new.id

    async def astart(self, new: NewRun) -> str:
        """Awaitable ``start``."""
        if new.idempotency_key is not None or _is_large(new):
            return await self.arun(self.queries.start(new).run)
        await self._starts.begin(new)
        return new.id

    def _store(self, new: Sequence[NewRun]) -> None:
        self.run(self.queries.start_many(new).run)

    def outcome(self, run_id: str, timeout: float | None) -> Progress | None:
        """Wait for the end of a run and return it; return None if there is no such run.

        Raises TimeoutError after ``timeout`` seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        try:
            found = self._read_progress([run_id])
            if run_id not in found or found[run_id].ended:
                return found.get(run_id)
        except Exception as error:
            if not self._is_outage(error):
                raise
        awaited = self.waiter.future_of(run_id)
        try:
            return awaited.result(_left(give_up))
        finally:
            awaited.cancel()

    async def aoutcome(self, run_id: str, timeout: float | None) -> Progress | None:
        """Awaitable ``outcome``."""
        give_up = None if timeout is None else time.monotonic() + timeout
        try:
            first_read = self.acall(lambda: self._read_progress([run_id]))
            limit = None if timeout is None else max(_FIRST_READ, timeout)
            found = await asyncio.wait_for(first_read, limit)
            if run_id not in found or found[run_id].ended:
                return found.get(run_id)
        except Exception as error:
            if not self._is_outage(error):
                raise
        awaited = self.waiter.future_of(run_id)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(awaited), _left(give_up))
        finally:
            awaited.cancel()

    def sockets(self) -> list[int]:
        """Return the descriptors of the sockets of all connections."""
        return self._pool.sockets() + self.waiter.sockets()

    def suspend(self) -> None:
        """Close idle connections and end all threads but the waiter's, before a fork.

        Connections and threads start again when needed. Connections in use stay open.
        """
        self._stop_threads()
        self._pool.suspend()

    def close(self) -> None:
        """Close all connections and end all threads; in a forked child, do nothing."""
        if self._pid != os.getpid():
            return
        self.waiter.stop()
        self._starts.closed = True
        self._stop_threads()
        self._pool.close()
        if self._lease:
            self._lease.release()

    def _stop_threads(self) -> None:
        self._threads.stop(_STOP)
        self._starts.stop(_STOP)

    def _read_progress(self, run_ids: list[str]) -> dict[str, Progress]:
        return self.run(lambda conn: self._waits.read(conn, run_ids))

    def _is_outage(self, error: Exception) -> bool:
        """Return whether the error is an outage that may end, and not a wrong address."""
        unreachable = isinstance(error, (DatabaseUnreachable, psycopg.OperationalError))
        return unreachable and self.reached

    def _listener(self, settings: Settings) -> ResultListener | None:
        if not settings.listen:
            return None
        url = settings.listen_url or self.url
        name = f"owsuper: client {self._pid} results"
        return ResultListener(
            lambda: connect.connect(url, application_name=name),
            self._waits,
            notify=lambda text: self.run(lambda conn: self._waits.notify(conn, text)),
        )

    def _explain(self, conn: Connection[Any], error: psycopg.Error) -> Exception:
        """Return the error to raise in place of the driver's, if the user can act on it."""
        if isinstance(error, errors.ReadOnlySqlTransaction):
            return DatabaseUnreachable(
                f"PostgreSQL takes no writes: {error.diag.message_primary}. It may be a standby, or"
                " about to become the primary: with several hosts in the database URL, add"
                " target_session_attrs=read-write."
            )
        if _is_lost(conn, error):
            return connect.explain_failure(error, self.url)
        if isinstance(error, _NO_TABLES):
            return MigrationError(
                f'The tables in schema "{self._schema}" are missing or incomplete'
                f" ({error.diag.message_primary}). Run: owsuper migrate --schema {self._schema}, or"
                " start a worker, which creates them. Are database and schema the right ones?"
            )
        if isinstance(error, (errors.LockNotAvailable, *_ROLLED_BACK)):
            return DatabaseError(
                f"PostgreSQL gave up waiting for a lock: {error.diag.message_primary}. Nothing was"
                " changed; try again."
            )
        if isinstance(error, errors.InsufficientPrivilege):
            return DatabaseError(f"PostgreSQL refused: {error.diag.message_primary}")
        return error


class _Starts(GroupCommit[NewRun]):
    """The group commit of a session.

    Tasks may use a session that another task closes. So after that, the thread ends as soon as it
    has stored their runs.
    """

    closed = False

    def _on_queue_empty(self) -> None:
        if self.closed:
            self._thread = None
            self._calls.put(False)
            self._calls = SimpleQueue()


def _must_close(conn: Connection[Any], error: psycopg.Error) -> bool:
    """Return whether to close a connection that is still open.

    After a refused write, the next connection may lead to the primary. After a crash of the server
    in the middle of a pipeline, psycopg cannot always leave the pipeline.
    """
    stuck = conn.pgconn.pipeline_status != PipelineStatus.OFF
    return stuck or isinstance(error, errors.ReadOnlySqlTransaction)


def _may_succeed(conn: Connection[Any], error: psycopg.Error) -> bool:
    """Return whether the same work may succeed the next time."""
    return isinstance(error, _ROLLED_BACK) or _is_lost(conn, error)


def _is_lost(conn: Connection[Any], error: psycopg.Error) -> bool:
    return conn.pgconn.status != ConnStatus.OK or isinstance(error, _INTERRUPTIONS)


def _is_large(new: NewRun) -> bool:
    return new.input_json is not None and len(new.input_json) > _LARGE


def _left(give_up: float | None) -> float | None:
    return None if give_up is None else max(0.0, give_up - time.monotonic())
