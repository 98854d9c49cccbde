"""The one connection on which a process of the dashboard notices changes, for all its browsers.

PostgreSQL notifies of runs that become due, and of few others: a notification for each step would
cost every worker. So the feed also asks, once a second, whether any transaction has written since,
and if so which of the runs have changed that somebody looks at. It connects when the first browser
comes, and disconnects when the last one has gone.
"""

from __future__ import annotations

import asyncio
import logging
import select
import socket
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Final, Protocol

import psycopg
from psycopg.errors import ReadOnlySqlTransaction

from owsuper.db.connect import is_pooled
from owsuper.db.dashboard.changes import ChangeQueries
from owsuper.db.timed import TimedConnection
from owsuper.errors import OwsuperError

RUNS: Final = "runs"
"""The topic of pages that show many runs: any of them may have changed."""

RUN: Final = "run:"
"""The beginning of the topic of one run, before its id."""

MAX_TOPICS: Final = 10
"""The most topics of one browser's page."""

_POLL: Final = 1.0  # seconds between looks at the database
_AFTER_NOTIFICATION: Final = 0.2  # seconds from one look to the next, however many come
_BUSY: Final = 100  # transactions a second that write, on the whole server
_LINGER: Final = 5.0  # seconds without a browser, as while one goes from page to page
_ANSWER: Final = 5.0  # seconds for an answer of the database

_log = logging.getLogger("owsuper.dashboard")


class Subscription:
    """The changes that one browser waits for, as topics. Used on the loop that made it."""

    def __init__(self, topics: Collection[str]) -> None:
        self.topics = frozenset(topics)
        self.closed = False
        """Whether no more changes will be noticed, because the database is away."""
        self._loop = asyncio.get_running_loop()
        self._changed: set[str] = set()
        self._ready = asyncio.Event()
        self._event = asyncio.Event()

    async def begun(self) -> None:
        """Wait until every further change is noticed, or the feed has closed."""
        await self._ready.wait()

    async def wait(self) -> None:
        """Wait until something has changed, or the feed has closed."""
        await self._event.wait()

    def take(self) -> set[str]:
        """Return the topics that have changed since the last call."""
        self._event.clear()
        changed, self._changed = self._changed, set()
        return changed

    def tell(self, topics: Collection[str]) -> None:
        """Take note of changes, from any thread."""
        if changed := self.topics.intersection(topics):
            self._call(lambda: self._note(changed))

    def begin(self) -> None:
        """Take note, from any thread, that every further change is noticed."""
        self._call(self._ready.set)

    def close(self) -> None:
        """Take note, from any thread, that no more changes come."""
        self._call(self._close)

    def _call(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(function)

    def _note(self, changed: Collection[str]) -> None:
        self._changed.update(changed)  # a subset of the topics, however slow the browser is
        self._event.set()

    def _close(self) -> None:
        self.closed = True
        self._ready.set()
        self._event.set()


class ChangeSource(Protocol):
    """The database, as ``PageReader`` has it. Unless it ``listens``, the feed only asks."""

    @property
    def schema(self) -> str:
        """The schema of the tables."""
        ...

    @property
    def namespace(self) -> str:
        """The namespace of the runs."""
        ...

    @property
    def listens(self) -> bool:
        """Whether a connection may listen."""
        ...

    def connect(self) -> TimedConnection:
        """Open a connection. Raises DatabaseError with its subclasses."""
        ...


class LiveFeed:
    """Notices changes in a thread of its own, while there are subscriptions."""

    def __init__(self, source: ChangeSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._watch: _Watch | None = None

    @property
    def busy(self) -> bool:
        """Whether the server writes so much that no reader could follow each change."""
        watch = self._watch
        return watch is not None and watch.busy

    def subscribe(self, topics: Collection[str]) -> Subscription:
        """Begin to notice changes of these topics. Must be called on an event loop."""
        subscription = Subscription(topics)
        with self._lock:
            watch = self._watch
            if watch is None or not watch.add(subscription):
                watch = _Watch(self._source)
                watch.add(subscription)
                watch.start()  # fails if no thread is left; then the next page tries it again
                self._watch = watch
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """Notice changes for this subscription no longer."""
        with self._lock:
            if self._watch is not None:
                self._watch.remove(subscription)

    def close(self) -> None:
        """Disconnect. Subscriptions are closed."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is not None:
            watch.stop()


class _Watch:
    """One connection, from its opening to its end, and the thread that uses it."""

    def __init__(self, source: ChangeSource) -> None:
        self._source = source
        self._lock = threading.Lock()
        self._subscriptions: set[Subscription] = set()
        self._new: set[Subscription] = set()  # whose topics were not looked at yet
        self._empty_since = time.monotonic()
        self._over = False
        self._bell, self._rung = socket.socketpair()
        self._bell.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="owsuper live", daemon=True)
        self._newest: tuple[str, ...] = ()
        self._marks: dict[str, str] = {}
        self.busy = False
        self._counted_to, self._counted_at = 0, 0.0

    def start(self) -> None:
        try:
            self._thread.start()
        except BaseException:
            self._bell.close()
            self._rung.close()
            raise

    def add(self, subscription: Subscription) -> bool:
        """Add a subscription; False if this connection has ended."""
        with self._lock:
            if self._over:
                return False
            self._new.add(subscription)
        self._ring()
        return True

    def remove(self, subscription: Subscription) -> None:
        with self._lock:
            self._subscriptions.discard(subscription)
            self._new.discard(subscription)
            self._empty_since = time.monotonic()

    def stop(self) -> None:
        with self._lock:
            self._over = True
        self._ring()
        self._thread.join(_ANSWER)

    def _ring(self) -> None:
        with suppress(OSError):  # the thread has ended, or has much to read already
            self._bell.send(b"x")

    def _run(self) -> None:
        try:
            queries = ChangeQueries(self._source.schema, self._source.namespace)
            with self._source.connect() as conn:
                self._follow(conn, queries)
        except (psycopg.Error, OwsuperError, OSError) as error:
            _log.info("live updates pause, because the database is away: %s", error)
        finally:
            with self._lock:
                self._over = True
                left = self._subscriptions | self._new
            for subscription in left:
                subscription.close()
            self._bell.close()
            self._rung.close()

    def _follow(self, conn: TimedConnection, queries: ChangeQueries) -> None:
        """Look at the database until nobody wants to know any more."""
        self._expect_answer(conn)
        if self._source.listens and not is_pooled(conn):
            with suppress(ReadOnlySqlTransaction):  # a replica does not notify: it is only asked
                queries.listen(conn)
        self._newest = queries.newest_transaction().run(conn)
        self._counted_to, self._counted_at = int(self._newest[0]), time.monotonic()
        while not self._is_over():
            self._expect_answer(conn)
            self._look(conn, queries)
            # While many transactions write, a notification says nothing that the next look does
            # not find.
            sockets = [self._rung.fileno(), *([] if self.busy else [conn.pgconn.socket])]
            ready, _, _ = select.select(sockets, [], [], _POLL)
            if self._rung.fileno() in ready:
                self._rung.recv(4096)
            if self.busy or conn.pgconn.socket in ready:
                self._hear(conn)

    def _is_over(self) -> bool:
        with self._lock:
            unused = not self._subscriptions and not self._new
            if unused and time.monotonic() > self._empty_since + _LINGER:
                self._over = True
            return self._over

    def _hear(self, conn: TimedConnection) -> None:
        heard = any(True for _ in conn.notifies(timeout=0))
        if heard and not self.busy:
            self._tell({RUNS})
            time.sleep(_AFTER_NOTIFICATION)  # others may come: one look is for all

    def _look(self, conn: TimedConnection, queries: ChangeQueries) -> None:
        """Notice what has changed since the last look, and begin with new subscriptions."""
        with self._lock:
            new = frozenset(self._new)
            topics = {topic for each in self._subscriptions | new for topic in each.topics}
        wanted = {topic.removeprefix(RUN) for topic in topics if topic.startswith(RUN)}
        newest = queries.newest_transaction().run(conn)
        self._count(int(newest[0]))
        changed = {RUNS} if newest != self._newest else set()
        if wanted and (changed or not wanted <= self._marks.keys()):
            marks = dict.fromkeys(wanted, "") | queries.run_marks(wanted).run(conn)
            changed |= {
                f"{RUN}{run_id}"
                for run_id, mark in marks.items()
                if self._marks.get(run_id, mark) != mark
            }
            self._marks = marks
        self._newest = newest
        self._tell(changed)
        with self._lock:
            begun = new & self._new  # without those that have left meanwhile
            self._new -= begun
            self._subscriptions |= begun
        for subscription in begun:
            subscription.begin()

    def _count(self, newest: int) -> None:
        """Notice how many transactions write, at most once in each second."""
        now = time.monotonic()
        if (seconds := now - self._counted_at) >= _POLL:
            self.busy = newest - self._counted_to > _BUSY * seconds
            self._counted_to, self._counted_at = newest, now

    def _tell(self, topics: Collection[str]) -> None:
        with self._lock:
            subscriptions = list(self._subscriptions)
        for subscription in subscriptions:
            subscription.tell(topics)

    def _expect_answer(self, conn: TimedConnection) -> None:
        conn.give_up_at = time.monotonic() + _ANSWER
