"""The group commit of a child's write sets.

Three additions to db.group_commit. Each write set takes effect only while its worker id still owns
the run, so a run that lost its lease does not affect the others. A batch waits out an outage. A
write set with a transient error, such as a locked row, is retried separately.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg.pq import ConnStatus

from owsuper.child.database import ChildDatabase, Unavailable, is_outage, is_refusal
from owsuper.child.threads import ThreadPool
from owsuper.core.model import Complete, ContinueAsNew, RunStatus, WriteSet
from owsuper.db.group_commit import Caller, GroupCommit, settle
from owsuper.db.runs import RunStore

if TYPE_CHECKING:
    from owsuper.child.counts import ChildCounts

_log = logging.getLogger("owsuper.child")

_FIRST_PAUSE: Final = 0.05  # seconds between attempts in an outage; doubles up to the longest
_LONGEST_PAUSE: Final = 1.0
_RETRY_PERIOD: Final = 0.2  # seconds between separate retries
_NO_SERVICE: Final = ("08", "53", "57P")  # SQLSTATEs: no connection, no resources, shutting down

# In a busy child, the callers of one batch soon write their next steps. Waiting for them halves
# the number of commits, and takes no longer than a commit.
_GATHER: Final = 0.0006  # seconds
_GATHER_POLL: Final = 0.00005  # seconds between two checks of the queue


class LeaseLost(Exception):
    """Another worker owns the run, or it was canceled; nothing was written."""


class Committer(GroupCommit[WriteSet]):
    """Commits write sets, several at a time, and retries through outages of the database.

    ``commit`` and ``begin`` raise LeaseLost, the psycopg error of a write whose values the database
    refused, or Unavailable once the database is ``closing``. A write set is committed even if the
    caller that awaits it is canceled. ``threads`` are for separate retries. ``counts`` counts the
    commits, if metrics are wanted.
    """

    def __init__(
        self,
        database: ChildDatabase,
        store: RunStore,
        threads: ThreadPool,
        counts: ChildCounts | None = None,
    ) -> None:
        super().__init__(
            self._write, key=lambda write: write.run_id, thread_name="owsuper-committer"
        )
        self._database = database
        self._runs = store
        self._threads = threads
        self._counts = counts
        self._conn: psycopg.Connection | None = None  # for the leader alone
        self._last_batch_size = 0
        self._retried: list[Caller[WriteSet]] = []  # separately, in this order

    def close(self) -> None:
        """Give the connection back and stop the thread. No caller may be waiting."""
        self.stop()
        self._drop()

    # --- one batch -------------------------------------------------------------------------

    def _fill(self, batch: list[Caller[WriteSet]]) -> None:
        self._gather()
        super()._fill(batch)
        self._last_batch_size = len(batch)

    def _gather(self) -> None:
        """Wait briefly for callers of the last batch to enqueue their next write."""
        if self._last_batch_size <= len(self._queue):
            return
        end = time.monotonic() + _GATHER
        while len(self._queue) < self._last_batch_size and time.monotonic() < end:
            time.sleep(_GATHER_POLL)

    def _commit(self, batch: Sequence[Caller[WriteSet]]) -> None:
        """Commit a batch; retry it until the end of an outage."""
        pause = 0.0
        while True:
            try:
                held = self._write([caller.item for caller in batch])
                break
            except Exception as exc:
                if isinstance(exc, psycopg.Error) and (
                    not is_outage(exc) or is_refusal(exc) or _is_usable(self._conn, exc)
                ):
                    self._refused(batch, exc)
                    return
                if not is_outage(exc):
                    raise
                self._database.log_unreachable(exc)
                self._drop()
                for caller in batch:
                    caller.repeated = True
                if self._database.closing.wait(pause):
                    for caller in batch:
                        caller.error = exc if isinstance(exc, Unavailable) else Unavailable(exc)
                    return
                pause = min(max(pause * 2, _FIRST_PAUSE), _LONGEST_PAUSE)
        self._database.log_reachable()
        if self._counts is not None:
            self._counts.on_commit(len(batch))
        for caller in batch:
            self._set_result(caller, held)

    def _refused(self, batch: Sequence[Caller[WriteSet]], exc: psycopg.Error) -> None:
        """Complete a single caller, or retry its write separately."""
        if len(batch) > 1:
            for caller in batch:
                caller.repeated = True  # what a batch writes apart may be written
            raise exc  # then each write of the batch is retried alone
        if is_refusal(exc):
            batch[0].error = exc
        else:
            self._retry_separately(batch[0], exc)

    def _write(self, writes: Sequence[WriteSet]) -> Container[str]:
        """Return the worker ids that still own their runs."""
        if self._conn is None:
            self._conn = self._database.acquire()
        return self._runs.commit(self._conn, writes)

    def _set_result(self, caller: Caller[WriteSet], held: Container[str]) -> None:
        write = caller.item
        try:
            if write.worker_id not in held and not (
                caller.repeated and self._already_completed(write)
            ):
                caller.error = LeaseLost(
                    "this worker no longer owns it: its lease was lost, or it was canceled or"
                    " reached its deadline"
                )
        except Exception as exc:
            caller.error = exc

    def _already_completed(self, write: WriteSet) -> bool:
        """Return whether an earlier attempt, whose answer was lost, completed the run."""
        if not isinstance(write.outcome, (Complete, ContinueAsNew)):
            return False
        found = self._database.run_with_retries(
            lambda conn: self._runs.outcome_of(conn, write.run_id)
        )
        return found == (RunStatus.COMPLETED, write.worker_id)

    # --- transient errors ------------------------------------------------------------------

    def _retry_separately(self, caller: Caller[WriteSet], exc: psycopg.Error) -> None:
        """Retry this write in another thread, so that it does not delay the others."""
        reason = " ".join(str(exc).split())
        _log.warning("run %s: will retry a write: %s", caller.item.run_id, reason)
        caller.retried_separately = True
        with self._lock:
            self._retried.append(caller)
            first = len(self._retried) == 1
        if first:
            self._threads.submit(self._retry_until_settled)

    def _retry_until_settled(self) -> None:
        """Retry the separate writes in turn, until none is left."""
        over = False
        while not over:
            self._database.closing.wait(_RETRY_PERIOD)
            with self._lock:
                caller = self._retried[0]
            settled = self._retry_once(caller)
            with self._lock:
                del self._retried[0]
                if not settled:
                    self._retried.append(caller)
                over = not self._retried
            if settled:
                settle([caller])

    def _retry_once(self, caller: Caller[WriteSet]) -> bool:
        """Retry a write. Return whether its caller is settled."""
        try:
            held = self._database.run_once(lambda conn: self._runs.commit(conn, [caller.item]))
        except Exception as exc:
            transient = isinstance(exc, (psycopg.Error, Unavailable)) and not is_refusal(exc)
            if transient and not self._database.closing.is_set():
                caller.repeated = True
                return False
            caller.error = exc
        else:
            self._set_result(caller, held)
        return True

    def _on_queue_empty(self) -> None:
        """Release the connection; called with the lock held."""
        conn, self._conn = self._conn, None
        if conn is not None:
            self._database.release(conn)

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()  # it is broken, or leads to a server that is not the primary
            self._database.release(self._conn)
            self._conn = None


def _is_usable(conn: psycopg.Connection | None, exc: psycopg.Error) -> bool:
    """Return whether only the statement failed, not the connection or the server."""
    return (
        conn is not None
        and conn.pgconn.status == ConnStatus.OK
        and exc.sqlstate is not None
        and not isinstance(exc, psycopg.errors.ReadOnlySqlTransaction)
        and not exc.sqlstate.startswith(_NO_SERVICE)
    )
