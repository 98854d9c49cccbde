"""The connection on which PostgreSQL notifies this process of the ends of runs."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Collection, Iterator
from typing import Final
from uuid import uuid4

import psycopg
from psycopg.pq import ConnStatus

from owsuper.db.connect import is_pooled
from owsuper.db.timed import TimedConnection
from owsuper.db.waits import Progress, Waits
from owsuper.errors import OwsuperError

MAX_LOCKS: Final = 500
"""The most runs watched at once. Each takes a lock in the server's shared memory, which has room
for some thousands."""

MAX_READ: Final = 100
"""The most runs in one read: all their results are in memory at once."""

# Locks without use that are worth a round trip for their release: so many, or after so many seconds
# without a new run. They hinder nobody: a run ends once.
_STALE_LOCKS: Final = 50
_STALE_SECONDS: Final = 0.5
_PROBE_SECONDS: Final = 5.0  # how long the probe may take to arrive
_ANSWER_SECONDS: Final = 10.0  # how long a statement may take; none of them waits for a lock
_PAUSES: Final = (0.05, 30.0)  # seconds between attempts to connect: the first, the longest

_log = logging.getLogger("owsuper.client")


class ResultListener:
    """Holds a lock on each run that is waited for, and receives the notification of its end.

    One thread uses it. Behind a connection pooler it stops permanently, because a pooler's sessions
    must keep neither a LISTEN nor a lock. Something else may drop notifications, too. So the
    listener relies on them only after ``notify`` has sent a probe on another connection and the
    probe has arrived.
    """

    def __init__(
        self,
        connect: Callable[[], TimedConnection],
        waits: Waits,
        notify: Callable[[str], None],
    ) -> None:
        self._connect = connect
        self._waits = waits
        self._notify = notify
        self._probe = f"probe {uuid4()}"
        self._probed_at = 0.0
        self._retry_at = 0.0
        self._pause = _PAUSES[0]
        self._watched_at = 0.0  # when a run was watched that was not before
        self._conn: TimedConnection | None = None
        self._watched: set[str] = set()
        self.ending: set[str] = set()
        """Runs that the last ``watch`` did not lock, since they were ending at that moment."""
        self.proven = False
        """Whether the probe has arrived on this connection."""
        self.disabled = False
        """Whether the listener has stopped permanently, because notifications cannot arrive."""

    def fileno(self) -> int | None:
        """Return the descriptor of the connection's socket; None without a connection."""
        conn = self._conn
        return conn.pgconn.socket if conn and conn.pgconn.status == ConnStatus.OK else None

    def watch(self, run_ids: Collection[str]) -> Iterator[tuple[list[str], dict[str, Progress]]]:
        """Watch these runs and no others; yield the states of those that were not watched before.

        Each time, ids, and the states by id, read after the run was locked: a run that had ended
        before will not be notified. A run that does not exist has no state. Use up the iterator.
        """
        self.ending = set()
        if not self._is_ready():
            return
        assert self._conn is not None
        self._conn.give_up_at = time.monotonic() + _ANSWER_SECONDS
        wanted = set(run_ids)
        try:
            stale, new = self._watched - wanted, wanted - self._watched
            now = time.monotonic()
            if new:
                self._watched_at = now
            if len(stale) > _STALE_LOCKS or (stale and now > self._watched_at + _STALE_SECONDS):
                self._waits.unlock(self._conn, stale)
                self._watched -= stale
            allowed = list(new)[: max(0, MAX_LOCKS - len(self._watched))]
            for start in range(0, len(allowed), MAX_READ):
                batch = allowed[start : start + MAX_READ]
                locked, found = self._waits.lock_and_read(self._conn, batch)
                self.ending.update(batch)
                self.ending -= locked
                self._watched |= locked
                yield batch, found
        except psycopg.Error as error:
            self._disconnect(error)

    def covers(self, run_id: str) -> bool:
        """Whether a notification of the end of this run is certain to arrive."""
        return self.proven and run_id in self._watched

    def notified(self) -> set[str]:
        """Return the ids of watched runs that have ended, by the notifications received so far."""
        if self._conn is None:
            return set()
        try:
            payloads = {notify.payload for notify in self._conn.notifies(timeout=0)}
        except psycopg.Error as error:
            self._disconnect(error)
            return set()
        if self._probe in payloads:
            self.proven = True
            self._pause = _PAUSES[0]
        return payloads & self._watched

    def close(self) -> None:
        """Close the connection. The next ``watch`` opens another."""
        conn, self._conn, self._watched, self.proven = self._conn, None, set(), False
        if conn is not None:
            conn.close()

    def _is_ready(self) -> bool:
        now = time.monotonic()
        if self.disabled:
            return False
        if self._conn is None:
            return now >= self._retry_at and self._open(now)
        if not self.proven and now > self._probed_at + _PROBE_SECONDS:
            self._disable("they do not arrive")
            return False
        return True

    def _open(self, now: float) -> bool:
        try:
            self._conn = self._connect()
            self._conn.give_up_at = time.monotonic() + _ANSWER_SECONDS
            if is_pooled(self._conn):
                self._disable("there is a connection pooler in between")
                return False
            self._waits.listen(self._conn)
            self._probed_at = now
            self._notify(self._probe)
        except (psycopg.Error, OwsuperError) as error:
            self._disconnect(error)
            return False
        return True

    def _disconnect(self, error: Exception) -> None:
        _log.info("cannot listen for results, so polling for a while: %s", error)
        self.close()
        self._retry_at = time.monotonic() + self._pause
        self._pause = min(self._pause * 2, _PAUSES[1])

    def _disable(self, reason: str) -> None:
        _log.warning(
            "no notifications of results, since %s: waiting by polling. Set OWSUPER_LISTEN_URL to"
            " a direct address of the server, or OWSUPER_LISTEN=false to silence this.",
            reason,
        )
        with contextlib.suppress(psycopg.Error):
            self.close()
        self.disabled = True
