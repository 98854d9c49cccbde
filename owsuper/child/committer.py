"""The narrow door: everything a child writes about its runs leaves through here.

Write sets that wait at the same time share one statement and so one flush to disk. One of
those who wait commits for all of them, the leader; when it is done it wakes them, and one of
those who came meanwhile leads the next. Awaiting callers cannot lead: a thread does it for
them. Each write set stands behind the fence of its own run: one that lost its lease does not
harm the others. Nor does one whose run somebody else has locked, or that fails for another
reason that may pass: it is set apart, and tried again by itself.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Container, Sequence
from typing import Final

import psycopg
from psycopg.pq import ConnStatus

from owsuper.child.commit_waiters import CommitWaiter, seen, settle
from owsuper.child.database import ChildDatabase, Unavailable, is_refusal
from owsuper.core.model import Complete, RunStatus, WriteSet
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_BATCH: Final = 64  # write sets in one statement
_PAUSE_LONGEST: Final = 1.0  # seconds between tries in an outage
_PAUSE_APART: Final = 0.2  # seconds between tries of what is set apart
_NO_SERVICE: Final = ("08", "53", "57P")  # SQLSTATEs: no connection, no resources, shutting down

# Who was just served is soon back with its next step, if that takes as long as most steps of
# a busy child do: waiting for it halves the commits. It is not worth more than a commit is.
_GATHER: Final = 0.0006  # seconds
_GLANCE: Final = 0.00005  # seconds between two looks at who has come


class LeaseLost(Exception):
    """The run is no longer ours: nothing was written."""


class Committer:
    """Commits write sets, several at a time, through every outage of the database."""

    def __init__(self, database: ChildDatabase, store: RunStore) -> None:
        self._database = database
        self._store = store
        self._conn: psycopg.Connection | None = None
        self._lock = threading.Lock()  # of the queue and of who leads
        self._queue: list[CommitWaiter] = []
        self._led = False
        self._company = 0  # how many may be on their way back
        self._called = threading.Semaphore(0)
        self._thread: threading.Thread | None = None
        self._closed = False
        self._apart: list[CommitWaiter] = []

    def commit(self, write: WriteSet) -> None:
        """Make ``write`` durable; blocks. Raises LeaseLost, or what the database refused."""
        waiting = CommitWaiter(write)
        waiting.wake.acquire()
        if not self._enter(waiting):
            waiting.wake.acquire()
        if not waiting.done:
            self._lead(waiting)
        if not waiting.done:  # it was set apart meanwhile
            waiting.wake.acquire()
        if waiting.error is not None:
            raise waiting.error

    def begin(self, write: WriteSet) -> asyncio.Future[None]:
        """Make ``write`` durable, as ``commit`` does; not to be cancelled: it happens anyway."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.add_done_callback(seen)
        if self._enter(CommitWaiter(write, future)):
            self._call_thread()
        return future

    def close(self) -> None:
        """Give the connection back and stop the thread. Nothing may be waiting."""
        self._closed = True
        if self._thread is not None:
            self._called.release()
            self._thread.join()
        self._drop()

    # --- who leads -------------------------------------------------------------------------

    def _enter(self, waiting: CommitWaiter) -> bool:
        """Join the queue. Whether the caller must see to it that somebody leads."""
        with self._lock:
            self._queue.append(waiting)
            first, self._led = not self._led, True
        return first

    def _lead(self, own: CommitWaiter | None = None) -> None:
        """Commit what waits, until ``own`` is done if given; then somebody else's turn."""
        while True:
            self._serve()
            with self._lock:
                heir = self._queue[0] if self._queue else None
                if heir is None:
                    self._rest()
                    self._led = False
                    return
            if own is not None and not (own.done or own.apart):
                continue
            if heir.future is not None:
                self._call_thread()
            else:
                heir.wake.release()
            return

    def _call_thread(self) -> None:
        """Have the thread lead; only who leads, or is to see to it, calls this."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._lead_for_others, name="owsuper-committer", daemon=True
            )
            self._thread.start()
        self._called.release()

    def _lead_for_others(self) -> None:
        while True:
            self._called.acquire()
            if self._closed:
                return
            self._lead()

    # --- one batch -------------------------------------------------------------------------

    def _serve(self) -> None:
        """Commit what waits now, and say so. Only the leader calls this."""
        batch = self._next_batch()
        try:
            self._commit(batch)
        except Exception as exc:
            for waiting in batch:
                if waiting.error is None and not waiting.apart:
                    waiting.error = exc
        settle([waiting for waiting in batch if not waiting.apart])

    def _next_batch(self) -> list[CommitWaiter]:
        """The next in the queue, up to a second one of the same run: those must follow on."""
        self._gather()
        batch: list[CommitWaiter] = []
        runs: set[str] = set()
        with self._lock:
            for waiting in self._queue[:_BATCH]:
                if waiting.write.run_id in runs:
                    break
                runs.add(waiting.write.run_id)
                batch.append(waiting)
            del self._queue[: len(batch)]
        self._company = len(batch)
        return batch

    def _gather(self) -> None:
        """Give those who are on their way a moment to join."""
        if self._company <= len(self._queue):
            return
        end = time.monotonic() + _GATHER
        while len(self._queue) < self._company and time.monotonic() < end:
            time.sleep(_GLANCE)

    def _commit(self, batch: Sequence[CommitWaiter]) -> None:
        """Commit together, through an outage; raises what ends that."""
        pause = 0.0
        while True:
            try:
                if self._conn is None:
                    self._conn = self._database.take()
                held = self._store.commit(self._conn, [waiting.write for waiting in batch])
                break
            except Unavailable as exc:
                if isinstance(exc, psycopg.Error) and _is_usable(self._conn, exc):
                    self._single_out(batch, exc)
                    return
                self._database.tell_away(exc)
                self._drop()
                for waiting in batch:
                    waiting.repeated = True
                if self._database.closing.wait(pause):
                    raise
                pause = min(max(pause * 2, 0.05), _PAUSE_LONGEST)
            except psycopg.Error as exc:
                self._single_out(batch, exc)
                return
        self._database.tell_back()
        for waiting in batch:
            self._judge(waiting, held)

    def _single_out(self, batch: Sequence[CommitWaiter], exc: psycopg.Error) -> None:
        """One of them failed: find out which, so that the others get through."""
        if len(batch) > 1:
            for waiting in batch:
                try:
                    self._commit([waiting])
                except Exception as error:
                    waiting.error = error
        elif is_refusal(exc):
            batch[0].error = exc
        else:
            self._set_apart(batch[0], exc)

    def _judge(self, waiting: CommitWaiter, held: Container[str]) -> None:
        write = waiting.write
        if write.worker_id not in held and not (waiting.repeated and self._happened(write)):
            waiting.error = LeaseLost(write.run_id)

    def _happened(self, write: WriteSet) -> bool:
        """Whether an earlier try, whose answer was lost, had completed the run."""
        if not isinstance(write.outcome, Complete):
            return False
        found = self._database.patiently(lambda conn: self._store.outcome_of(conn, write.run_id))
        return found == (RunStatus.COMPLETED, write.worker_id)

    # --- what fails, but not for good ------------------------------------------------------

    def _set_apart(self, waiting: CommitWaiter, exc: psycopg.Error) -> None:
        """Let it wait where it keeps nobody else waiting."""
        why = " ".join(str(exc).split())
        _log.warning("run %s: a write waits: %s", waiting.write.run_id, why)
        waiting.apart = True
        with self._lock:
            self._apart.append(waiting)
            first = len(self._apart) == 1
        if first:
            threading.Thread(target=self._persist, name="owsuper-apart", daemon=True).start()

    def _persist(self) -> None:
        """Try what is set apart, one after the other, until nothing is left."""
        over = False
        while not over:
            self._database.closing.wait(_PAUSE_APART)
            with self._lock:
                waiting = self._apart[0]
            settled = self._try_again(waiting)
            with self._lock:
                del self._apart[0]
                if not settled:
                    self._apart.append(waiting)
                over = not self._apart
            if settled:
                settle([waiting])

    def _try_again(self, waiting: CommitWaiter) -> bool:
        """Whether that was the last time."""
        try:
            held = self._database.once(lambda conn: self._store.commit(conn, [waiting.write]))
            self._judge(waiting, held)
        except Exception as exc:
            if (
                isinstance(exc, Unavailable)
                and not is_refusal(exc)
                and not self._database.closing.is_set()
            ):
                waiting.repeated = True
                return False
            waiting.error = exc
        return True

    def _rest(self) -> None:
        """Nothing to write: leave the connection to others, or to be closed when it is idle."""
        conn, self._conn = self._conn, None
        if conn is not None:
            self._database.give(conn)

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()  # it is broken, or leads to a server that is not the primary
            self._database.give(self._conn)
            self._conn = None


def _is_usable(conn: psycopg.Connection | None, exc: psycopg.Error) -> bool:
    """Whether a statement failed, as opposed to the connection, or to the server as a whole."""
    return (
        conn is not None
        and conn.pgconn.status == ConnStatus.OK
        and exc.sqlstate is not None
        and not isinstance(exc, psycopg.errors.ReadOnlySqlTransaction)
        and not exc.sqlstate.startswith(_NO_SERVICE)
    )
