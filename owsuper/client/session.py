"""The connections of one OpenWorkflow in one process."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401 - else getaddrinfo imports it, perhaps during a fork
import math
import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final, TypeVar, overload

import psycopg

from owsuper import embedded
from owsuper.client import failures
from owsuper.client.call_threads import CallThreads
from owsuper.client.result_listener import ResultListener
from owsuper.client.result_waiter import ResultWaiter
from owsuper.client.starts import Start, Starts, is_alone
from owsuper.client.unclaimed import NoticingWaits
from owsuper.db import connect, migrate
from owsuper.db.clients import ClientQueries
from owsuper.db.known_connections import KnownConnections
from owsuper.db.lists import ListQueries
from owsuper.db.new_runs import NewRun
from owsuper.db.pool import Pool
from owsuper.db.reports import ReportQueries
from owsuper.db.timed import TimedConnection
from owsuper.db.waits import Progress
from owsuper.db.workers import WorkerQueries
from owsuper.errors import DatabaseUnreachable
from owsuper.settings import Settings

T = TypeVar("T")

_CONNECTIONS: Final = 10
_MAX_IDLE: Final = 30.0  # seconds after which the pool closes an idle connection
_STOP: Final = 1.0  # seconds for all threads to end, before a fork or at the end
_FIRST_READ: Final = 1.0  # seconds for the first read of a result, even if the timeout is shorter
# Seconds between looks at signals: Python misses one that arrives just before it blocks.
_LOOK: Final = 1.0
_SLACK: Final = 0.5  # seconds for a thread to report that a read has reached its limit
_SERVER_SHARE: Final = 0.9  # of a time limit; then the server itself cancels, and changes nothing
_TRIES: Final = 3  # calls of the same work, when its connection breaks
_DEADLOCK_TRIES: Final = 10  # several senders of signals may cause more than one deadlock


class Session:
    """The connections to the database, opened when needed and closed together.

    Without a configured database, the session uses the embedded server in ``embedded_directory``.
    On any embedded server, and with ``migrates``, the first call creates or updates the tables.
    Raises EmbeddedUnavailable.
    """

    def __init__(
        self, settings: Settings, embedded_directory: Path, *, migrates: bool = False
    ) -> None:
        self._pid = os.getpid()
        self.schema = settings.schema
        self.namespace = settings.namespace
        self._call_timeout = settings.call_timeout
        self._lease = None
        if settings.database_url is None:
            self._lease = embedded.acquire(embedded_directory)
        self.url = self._lease.url if self._lease else str(settings.database_url)
        self._name = f"owsuper: client {self._pid}"
        self._pool = Pool(
            self.url,
            application_name=self._name,
            size=_CONNECTIONS,
            max_idle=_MAX_IDLE,
            statement_timeout=self._call_timeout * _SERVER_SHARE,
        )
        self._threads = CallThreads(_CONNECTIONS)
        self._starts = Starts(self._store)
        self.queries = ClientQueries(settings.schema, settings.namespace)
        self.lists = ListQueries(settings.schema, settings.namespace)
        self.reports = ReportQueries(settings.schema, settings.namespace)
        self.workers = WorkerQueries(settings.schema, settings.namespace)
        self._waits = NoticingWaits(settings.schema, settings.namespace)
        self.waiter = ResultWaiter(self.read_progress, self._is_outage, self._listener(settings))
        self.known_connections = KnownConnections(settings.schema)
        self.reached = False  # a connection was made at least once
        self._migrates = migrates or embedded.serves(self.url)  # on the next call
        self._migrating = threading.Lock()

    def give_up_at(self, statements: int = 1) -> float:
        """Return the time of time.monotonic() at which a call that begins now gives up."""
        return time.monotonic() + self._call_timeout * max(1, statements)

    def run(
        self,
        work: Callable[[TimedConnection], T],
        *,
        again: bool = True,
        give_up_at: float | None = None,
    ) -> T:
        """Return ``work(conn)``; repeat it on another connection if the connection breaks.

        The work may be repeated after it has taken effect, unless ``again`` is false. It ends at
        ``give_up_at``, by default that of ``give_up_at()``. Raises DatabaseError, with its
        subclasses DatabaseUnreachable and MigrationError.
        """
        if give_up_at is None:
            give_up_at = self.give_up_at()
        self.prepare_tables(give_up_at)
        return self._run(work, again, give_up_at)

    def prepare_tables(self, give_up_at: float) -> None:
        """Create or update the tables, if this session does that and has not done it yet.

        Raises as ``run`` does.
        """
        if self._migrates:
            self._migrate(give_up_at)

    def _run(self, work: Callable[[TimedConnection], T], again: bool, give_up_at: float) -> T:
        left, deadlocks = _TRIES if again else 1, _DEADLOCK_TRIES
        while True:
            timeout = give_up_at - time.monotonic()
            with self._pool.connection(timeout, connect_by=give_up_at) as conn:
                self.reached, conn.give_up_at = True, give_up_at
                try:
                    return work(conn)
                except psycopg.Error as error:
                    rolled_back = isinstance(error, failures.ROLLED_BACK)
                    left -= not rolled_back
                    deadlocks -= rolled_back
                    if not left or not deadlocks or not failures.may_succeed(conn, error):
                        raise failures.explain(conn, error, self.url, self.schema) from error
                    if failures.must_close(conn, error):
                        conn.close()

    def _migrate(self, give_up_at: float) -> None:
        """Create or update the tables, once. Only this may take longer than ``give_up_at``."""

        def update(conn: TimedConnection) -> None:
            if migrate.check(conn, self.schema):
                conn.give_up_at = math.inf
                migrate.migrate(conn, self.schema)

        if not self._migrating.acquire(timeout=max(0.0, give_up_at - time.monotonic())):
            raise DatabaseUnreachable(
                f'Another thread still creates or updates the tables in schema "{self.schema}".'
                " Try again later."
            )
        try:
            if self._migrates:
                self._run(update, again=True, give_up_at=give_up_at)
                self._migrates = False
        finally:
            self._migrating.release()

    async def arun(
        self,
        work: Callable[[TimedConnection], T],
        *,
        again: bool = True,
        give_up_at: float | None = None,
    ) -> T:
        """Awaitable ``run``; ``work`` is called in another thread."""
        limit = self.give_up_at() if give_up_at is None else give_up_at
        return await self._threads.run(partial(self.run, work, again=again, give_up_at=limit))

    async def acall(self, call: Callable[[], T]) -> T:
        """Return ``call()``, called in another thread. For work of several statements."""
        return await self._threads.run(call)

    def start(self, new: NewRun) -> str:
        """Start a run; return its id. Raises as ``run`` does."""
        if is_alone(new):
            return self.run(self.queries.start(new).run)
        self._starts.commit((new, self.give_up_at()))
        return new.id

    async def astart(self, new: NewRun) -> str:
        """Awaitable ``start``."""
        if is_alone(new):
            return await self.arun(self.queries.start(new).run)
        await self._starts.begin((new, self.give_up_at()))
        return new.id

    def start_many(self, new: Sequence[NewRun]) -> list[str]:
        """Start runs without keys; return their ids. Takes the time limit for each statement."""
        operation = self.queries.start_many(new)
        return self.run(operation.run, give_up_at=self.give_up_at(len(operation.calls)))

    async def astart_many(self, new: Sequence[NewRun]) -> list[str]:
        """Awaitable ``start_many``."""
        operation = self.queries.start_many(new)
        give_up_at = self.give_up_at(len(operation.calls))
        return await self.arun(operation.run, give_up_at=give_up_at)

    def _store(self, starts: Sequence[Start]) -> None:
        # Who came first gives up first, so no caller waits longer than its own limit.
        operation = self.queries.start_many([new for new, _ in starts])
        self.run(operation.run, give_up_at=min(give_up_at for _, give_up_at in starts))

    def outcome(self, run_id: str, timeout: float | None, *, new: bool = False) -> Progress | None:
        """Wait for the end of a run and return it; return None if there is no such run.

        A run that is ``new`` was started just now, and is not read first. The end of a run that
        continued as new is that of its last successor. Raises TimeoutError after ``timeout``
        seconds.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        end = self._end_of(run_id, timeout, new=new)
        while end is not None and end.continued_as is not None:
            end = self._end_of(end.continued_as, _left(give_up))
        return end

    def _end_of(self, run_id: str, timeout: float | None, *, new: bool = False) -> Progress | None:
        """Wait for the end of one run."""
        give_up = None if timeout is None else time.monotonic() + timeout
        if not new:
            try:
                found = self.read_progress([run_id], self._first_read_until(timeout))
                if run_id not in found or found[run_id].ended:
                    return found.get(run_id)
            except Exception as error:
                if not self._is_outage(error):
                    raise
        awaited = self.waiter.future_of(run_id)
        try:
            while not futures.wait([awaited], _pause(give_up)).done:
                if _left(give_up) == 0:
                    raise TimeoutError
            return awaited.result()
        finally:
            awaited.cancel()

    async def aoutcome(
        self, run_id: str, timeout: float | None, *, new: bool = False
    ) -> Progress | None:
        """Awaitable ``outcome``."""
        give_up = None if timeout is None else time.monotonic() + timeout
        end = await self._aend_of(run_id, timeout, new=new)
        while end is not None and end.continued_as is not None:
            end = await self._aend_of(end.continued_as, _left(give_up))
        return end

    async def _aend_of(
        self, run_id: str, timeout: float | None, *, new: bool = False
    ) -> Progress | None:
        """Awaitable ``_end_of``."""
        give_up = None if timeout is None else time.monotonic() + timeout
        if not new:
            until = self._first_read_until(timeout)
            try:
                first_read = self.acall(lambda: self.read_progress([run_id], until))
                # All threads may be busy, with calls that have a longer limit.
                limit = None if timeout is None else until - time.monotonic() + _SLACK
                with suppress(TimeoutError):
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

    def _first_read_until(self, timeout: float | None) -> float:
        seconds = self._call_timeout if timeout is None else max(_FIRST_READ, timeout)
        return time.monotonic() + min(seconds, self._call_timeout)

    def sockets(self) -> list[int]:
        """Return the descriptors of the sockets of all connections."""
        return self._pool.sockets() + self.waiter.sockets()

    def suspend(self) -> None:
        """Close idle connections and end all threads but the waiter's, before a fork.

        Connections and threads start again when needed. Connections in use stay open.
        """
        give_up = time.monotonic() + _STOP
        self._stop_threads(give_up)
        self._pool.suspend(_left(give_up))

    def close(self) -> None:
        """Close all connections and end all threads; in a forked child, do nothing.

        Threads that wait for a server without an answer are left alone after a second.
        """
        if self._pid != os.getpid():
            return
        give_up = time.monotonic() + _STOP
        self.waiter.stop(_STOP)
        self._starts.closed = True
        self._stop_threads(give_up)
        self._pool.close(_left(give_up))
        if self._lease:
            self._lease.release()

    def _stop_threads(self, give_up: float) -> None:
        self._threads.stop(_left(give_up))
        self._starts.stop(_left(give_up))

    def read_progress(
        self, run_ids: list[str], give_up_at: float | None = None
    ) -> dict[str, Progress]:
        """Return the state of these runs by id, without those that do not exist."""
        return self.run(lambda conn: self._waits.read(conn, run_ids), give_up_at=give_up_at)

    def _is_outage(self, error: Exception) -> bool:
        """Return whether the error is an outage that may end, and not a wrong address."""
        unreachable = isinstance(error, DatabaseUnreachable) and self.reached
        return unreachable or failures.may_pass(error)

    def _listener(self, settings: Settings) -> ResultListener | None:
        if not settings.listen:
            return None
        url = settings.listen_url or self.url
        name = f"owsuper: client {self._pid} results"
        return ResultListener(
            lambda: connect.connect(
                url,
                application_name=name,
                give_up_at=self.give_up_at(),
                statement_timeout=self._call_timeout * _SERVER_SHARE,
            ),
            self._waits,
            notify=lambda text: self.run(lambda conn: self._waits.notify(conn, text)),
        )


@overload
def _left(give_up: float) -> float: ...
@overload
def _left(give_up: float | None) -> float | None: ...
def _left(give_up: float | None) -> float | None:
    return None if give_up is None else max(0.0, give_up - time.monotonic())


def _pause(give_up: float | None) -> float:
    left = _left(give_up)
    return _LOOK if left is None else min(left, _LOOK)
