"""Everything that a child writes about its runs goes through here.

A group commit of write sets (see db.group_commit), with three additions. Each write set stands
behind the fence of its own run: a run that lost its lease does not harm the others. The whole
waits for the end of an outage. And a write set that fails for a reason that may pass, because
somebody has locked its run, say, is set apart and tried again by itself, while the others go on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Container, Sequence
from typing import Final

import psycopg
from psycopg.pq import ConnStatus

from owsuper.child.database import ChildDatabase, Unavailable, is_refusal
from owsuper.core.model import Complete, RunStatus, WriteSet
from owsuper.db.group_commit import Caller, GroupCommit, settle
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_PAUSE_FIRST: Final = 0.05  # seconds between tries in an outage; doubles up to the longest
_PAUSE_LONGEST: Final = 1.0
_PAUSE_APART: Final = 0.2  # seconds between tries of what is set apart
_NO_SERVICE: Final = ("08", "53", "57P")  # SQLSTATEs: no connection, no resources, shutting down

# A caller that was just served is soon back with its next step, if that takes as long as most
# steps of a busy child do: waiting for it halves the commits. A commit takes about as long.
_GATHER: Final = 0.0006  # seconds
_GLANCE: Final = 0.00005  # seconds between two looks at how many have come


class LeaseLost(Exception):
    """The run is no longer ours: nothing was written."""


class Committer(GroupCommit[WriteSet]):
    """Commits write sets, several at a time, through every outage of the database.

    ``commit`` and ``begin`` raise LeaseLost, or what the database refused. A write set is
    committed even if the caller that awaits it is canceled.
    """

    def __init__(self, database: ChildDatabase, store: RunStore) -> None:
        super().__init__(
            self._write, key=lambda write: write.run_id, thread_name="owsuper-committer"
        )
        self._database = database
        self._runs = store
        self._conn: psycopg.Connection | None = None  # the leader's
        self._last_batch = 0  # how many callers may be on their way back
        self._set_aside: list[Caller[WriteSet]] = []

    def close(self) -> None:
        """Give the connection back and stop the thread. Nothing may be caller."""
        self.stop()
        self._drop()

    # --- one batch -------------------------------------------------------------------------

    def _next_batch(self) -> list[Caller[WriteSet]]:
        self._gather()
        batch = super()._next_batch()
        self._last_batch = len(batch)
        return batch

    def _gather(self) -> None:
        """Give callers that are on their way a moment to join."""
        if self._last_batch <= len(self._queue):
            return
        end = time.monotonic() + _GATHER
        while len(self._queue) < self._last_batch and time.monotonic() < end:
            time.sleep(_GLANCE)

    def _commit(self, batch: Sequence[Caller[WriteSet]]) -> None:
        """Commit together, through an outage."""
        pause = 0.0
        while True:
            try:
                held = self._write([caller.item for caller in batch])
                break
            except Unavailable as exc:
                if isinstance(exc, psycopg.Error) and _is_usable(self._conn, exc):
                    self._refused(batch, exc)
                    return
                self._database.log_away(exc)
                self._drop()
                for caller in batch:
                    caller.repeated = True
                if self._database.closing.wait(pause):
                    for caller in batch:
                        caller.error = exc
                    return
                pause = min(max(pause * 2, _PAUSE_FIRST), _PAUSE_LONGEST)
            except psycopg.Error as exc:
                self._refused(batch, exc)
                return
        self._database.log_back()
        for caller in batch:
            self._judge(caller, held)

    def _refused(self, batch: Sequence[Caller[WriteSet]], exc: psycopg.Error) -> None:
        """Raise ``exc`` for several, to be tried alone; settle a single one, or set it apart."""
        if len(batch) > 1:
            raise exc
        if is_refusal(exc):
            batch[0].error = exc
        else:
            self._set_apart(batch[0], exc)

    def _write(self, writes: Sequence[WriteSet]) -> Container[str]:
        """The worker ids whose fence held."""
        if self._conn is None:
            self._conn = self._database.acquire()
        return self._runs.commit(self._conn, writes)

    def _judge(self, caller: Caller[WriteSet], held: Container[str]) -> None:
        write = caller.item
        try:
            if write.worker_id not in held and not (caller.repeated and self._happened(write)):
                caller.error = LeaseLost(write.run_id)
        except Exception as exc:
            caller.error = exc

    def _happened(self, write: WriteSet) -> bool:
        """Return whether an earlier try, whose answer was lost, has completed the run."""
        if not isinstance(write.outcome, Complete):
            return False
        found = self._database.run_with_retries(
            lambda conn: self._runs.outcome_of(conn, write.run_id)
        )
        return found == (RunStatus.COMPLETED, write.worker_id)

    # --- failures that may pass -----------------------------------------------------------

    def _set_apart(self, caller: Caller[WriteSet], exc: psycopg.Error) -> None:
        """Have another thread try this write, so that the others go on."""
        why = " ".join(str(exc).split())
        _log.warning("run %s: a write waits: %s", caller.item.run_id, why)
        caller.apart = True
        with self._lock:
            self._set_aside.append(caller)
            first = len(self._set_aside) == 1
        if first:
            threading.Thread(target=self._persist, name="owsuper-apart", daemon=True).start()

    def _persist(self) -> None:
        """Try the writes that are set apart, in turn, until none is left."""
        over = False
        while not over:
            self._database.closing.wait(_PAUSE_APART)
            with self._lock:
                caller = self._set_aside[0]
            settled = self._try_again(caller)
            with self._lock:
                del self._set_aside[0]
                if not settled:
                    self._set_aside.append(caller)
                over = not self._set_aside
            if settled:
                settle([caller])

    def _try_again(self, caller: Caller[WriteSet]) -> bool:
        """Return whether the write is settled."""
        try:
            held = self._database.run_once(lambda conn: self._runs.commit(conn, [caller.item]))
        except Exception as exc:
            if (
                isinstance(exc, Unavailable)
                and not is_refusal(exc)
                and not self._database.closing.is_set()
            ):
                caller.repeated = True
                return False
            caller.error = exc
        else:
            self._judge(caller, held)
        return True

    def _rest(self) -> None:
        """Release the connection while there is nothing to write."""
        conn, self._conn = self._conn, None
        if conn is not None:
            self._database.release(conn)

    def _drop(self) -> None:
        if self._conn is not None:
            self._conn.close()  # it is broken, or leads to a server that is not the primary
            self._database.release(self._conn)
            self._conn = None


def _is_usable(conn: psycopg.Connection | None, exc: psycopg.Error) -> bool:
    """Return whether the statement failed, and not the connection or the server."""
    return (
        conn is not None
        and conn.pgconn.status == ConnStatus.OK
        and exc.sqlstate is not None
        and not isinstance(exc, psycopg.errors.ReadOnlySqlTransaction)
        and not exc.sqlstate.startswith(_NO_SERVICE)
    )
