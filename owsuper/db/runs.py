"""Statements of children for the runs that they own.

Every write is fenced: it takes effect only while the run is ``running`` under the worker id of its
claim. Each operation is one statement and one round trip, except loading histories of thousands of
attempts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any, Final

import orjson
from psycopg import Connection
from psycopg.errors import LockNotAvailable

from owsuper.core.model import ContinueAsNew, RecordedAttempt, StepStatus, StepWrite, WriteSet
from owsuper.db import prepared, times, write_documents
from owsuper.db.related import step_attempt
from owsuper.db.statement import Param, Statement, load

MOST_ATTEMPTS_LOADED: Final = 2000
"""The maximum of step attempts that one statement reads; few runs have half as many."""

_LOCK_TIMEOUT: Final = "1s"  # the lock on a signal delays the other runs of the commit, too


@dataclass(frozen=True, slots=True)
class LoadedRun:
    """The history of a run in the order of its attempts, and its retried failures so far.

    ``held``: the claim for which it was loaded is still good.
    """

    history: list[RecordedAttempt]
    failures: int
    held: bool


@dataclass(frozen=True, slots=True)
class UndoneRun:
    """A run that has failed or was canceled. ``undone_by`` is the id of the run that undoes it.

    ``input_json`` is None for null.
    """

    deadline_at: datetime | None
    created_at: datetime
    undone_by: str | None
    input_json: bytes | None


class RunStore:
    """The statements of one schema and namespace; holds no connection.

    Connections should come from ``db.connect``. Every method may raise psycopg.Error.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._commit = load("commit", schema)
        self._commit_related = load("commit_related", schema)
        self._load = load("load", schema)
        self._load_more = load("load_more", schema)
        self._load_input = load("load_input", schema)
        self._move_version = load("move_version", schema)
        self._load_first_input = load("load_first_input", schema)
        self._extend = load("extend", schema)
        self._outcome = load("outcome", schema)
        self._lock_claim = load("lock_claim", schema)
        self._attempt_status = load("attempt_status", schema)
        self._signal_lock = load("signal_lock", schema)
        self._lock_waits = load("lock_waits", schema)
        self._continue_run = load("continue_run", schema)
        self._set_attributes = load("set_attributes", schema)
        self._mark_undo = load("mark_undo", schema)
        self._load_undone = load("load_undone", schema)

    def commit(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """Make ``writes`` durable; return the worker ids that still own their runs.

        The other write sets are not written. May be repeated if the answer is lost: an attempt
        that is no longer ``running`` does not change. But the first commit may have ended the claim
        of a run; ``outcome_of`` returns how.
        """
        return self._write(conn, writes, relaxed=False)

    def mark_running(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """Commit without a flush to disk: a crash of the server may lose the writes."""
        return self._write(conn, writes, relaxed=True)

    def _write(
        self, conn: Connection[Any], writes: Sequence[WriteSet], *, relaxed: bool
    ) -> set[str]:
        if continuing := write_documents.successors(writes):
            return self._write_apart(conn, writes, continuing, relaxed=relaxed)
        return self._write_together(conn, writes, relaxed=relaxed)

    def _write_apart(
        self,
        conn: Connection[Any],
        writes: Sequence[WriteSet],
        continuing: Mapping[str, ContinueAsNew],
        *,
        relaxed: bool,
    ) -> set[str]:
        """Write each run that continues as new in a transaction with its successor.

        It waits for the locks of no other run meanwhile: runs are locked in the order of their ids.
        Raises LockNotAvailable while the parent run may be reading this run.
        """
        others = [write for write in writes if write.worker_id not in continuing]
        held = self._write_together(conn, others, relaxed=relaxed) if others else set()
        for worker_id, outcome in continuing.items():
            own = [write for write in writes if write.worker_id == worker_id]
            document = orjson.dumps(write_documents.child_document(outcome.successor)).decode()
            with prepared.transaction(conn):
                fence = (own[0].run_id, worker_id)
                for _, is_read in self._execute(conn, self._continue_run, *fence, document):
                    if is_read:
                        raise LockNotAvailable(
                            "a worker of another implementation has just begun to execute its"
                            " parent run, and might read the end of this run"
                        )
                    held |= self._write_together(conn, own, relaxed=relaxed)
                # The successor has a copy of what was stored before.
                successor = outcome.successor.run_id
                if changes := write_documents.attributes(own, held, run_id=successor):
                    self._execute_text(conn, self._set_attributes, changes)
        return held

    def _write_together(
        self, conn: Connection[Any], writes: Sequence[WriteSet], *, relaxed: bool
    ) -> set[str]:
        signals, waits = (
            write_documents.awaited_signals(writes),
            write_documents.earlier_waits(writes),
        )
        described = any(map(write_documents.has_attributes, writes))
        if not signals and not waits and not described:
            return self._write_all(conn, writes, relaxed=relaxed)
        with prepared.transaction(conn):
            # A sender that buffers a signal must see this wait, or this wait must see the signal.
            if signals:
                self._execute_text(conn, self._signal_lock, signals, _LOCK_TIMEOUT)
            if waits:
                self._execute_text(conn, self._lock_waits, orjson.dumps(waits))
            held = self._write_all(conn, writes, relaxed=relaxed)
            if described and (changes := write_documents.attributes(writes, held)):
                self._execute_text(conn, self._set_attributes, changes)
            return held

    def _write_all(
        self, conn: Connection[Any], writes: Sequence[WriteSet], *, relaxed: bool
    ) -> set[str]:
        claims = write_documents.claims(writes)
        statement = (
            self._commit_related
            if any(map(write_documents.may_touch_other_runs, writes))
            else self._commit
        )
        rows = self._execute_text(conn, statement, *write_documents.arrays(claims, writes), relaxed)
        held = {worker for worker, related in rows if related != "true"}
        related = {worker for worker, related in rows if related == "true"}
        if related:
            arrays = write_documents.arrays({worker: claims[worker] for worker in related}, writes)
            rows = self._execute_text(conn, self._commit_related, *arrays, relaxed)
            held.update(worker for worker, _ in rows)
        return held

    def load(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        *,
        enough: int = MOST_ATTEMPTS_LOADED,
    ) -> LoadedRun:
        """Return history and failures of a run, and whether the claim ``worker_id`` is still good.

        One statement for MOST_ATTEMPTS_LOADED attempts.
        The history has all attempts that are not abandoned or, if there are more than ``enough``,
        more than ``enough`` of them. Abandoned attempts may be missing.
        """
        rows = self._execute(conn, self._load, run_id, MOST_ATTEMPTS_LOADED, worker_id)
        page = [step_attempt(row[2:]) for row in rows if row[2] is not None]
        history = page[:]
        counted = _count(page)
        while len(page) == MOST_ATTEMPTS_LOADED and counted <= enough:
            # Only the owner of a claim adds attempts, so the order is stable.
            since = page[-1].created_at
            read = _count(_at_the_end(history, since))
            start = times.bound(since)
            more = self._execute(conn, self._load_more, run_id, MOST_ATTEMPTS_LOADED, start, read)
            page = [step_attempt(row) for row in more]
            history.extend(page)
            counted += len(page)
        failures, held = rows[0][:2]
        return LoadedRun(history, failures, held)

    def load_input(self, conn: Connection[Any], run_id: str) -> bytes | None:
        """Return the input as JSON; None if it is SQL NULL, or if there is no such run."""
        rows = self._execute(conn, self._load_input, run_id)
        return rows[0][0].encode() if rows and rows[0][0] is not None else None

    def move_version(
        self, conn: Connection[Any], run_id: str, worker_id: str, version: str | None
    ) -> bool:
        """Make a run one of another version; return whether the claim is still good."""
        return bool(self._execute(conn, self._move_version, run_id, worker_id, version))

    def mark_undo(self, conn: Connection[Any], run_id: str, worker_id: str) -> bool:
        """Note with a run that its steps have undos; return whether the claim is still good.

        When the run fails or is canceled, by whomever, a run begins that executes its undos.
        """
        return bool(self._execute(conn, self._mark_undo, run_id, worker_id))

    def load_undone(self, conn: Connection[Any], run_id: str) -> UndoneRun | None:
        """Return a run whose undos are to be executed; None if there is no such run."""
        rows = self._execute(conn, self._load_undone, run_id)
        if not rows:
            return None
        [(deadline_at, created_at, undone_by, raw)] = rows
        input_json = None if raw is None else raw.encode()
        return UndoneRun(deadline_at, created_at, undone_by, input_json)

    def load_first_input(self, conn: Connection[Any], run_id: str) -> bytes | None:
        """Return the input of the first run of the chain that continued as this run."""
        rows = self._execute(conn, self._load_first_input, run_id)
        return rows[0][0].encode() if rows and rows[0][0] is not None else None

    def extend(
        self, conn: Connection[Any], leases: Sequence[tuple[str, str]], lease_seconds: float
    ) -> dict[str, bool]:
        """Renew leases, given as (run id, worker id).

        Returns the worker ids of good claims, and whether each was renewed. A lease is not renewed
        while another session has the run's row locked.
        """
        rows = self._execute_text(conn, self._extend, leases_json(leases), lease_seconds)
        return {worker: renewed == "true" for worker, renewed in rows}

    def outcome_of(self, conn: Connection[Any], run_id: str) -> tuple[str, str | None] | None:
        """Return status and worker id of a run; None if there is no such run.

        A completed run keeps the worker id of the claim that completed it.
        """
        rows = self._execute(conn, self._outcome, run_id)
        return (rows[0][0], rows[0][1]) if rows else None

    def completion(self, write: WriteSet) -> tuple[Statement, tuple[Any, ...]]:
        """Return the statement that stores completed steps, for a transaction of user code.

        It returns a row if the claim is good. Otherwise it has stored nothing.
        """
        claims, steps = write_documents.arrays(write_documents.claims([write]), [write])
        return self._commit, (self._namespace, claims.decode(), steps.decode(), False)

    def attributes_of(self, run_id: str, write: StepWrite) -> tuple[Statement, tuple[Any, ...]]:
        """Return the statement that changes attributes, to be executed after ``completion``."""
        documents = write_documents.attribute_changes(run_id, write.attributes or {})
        return self._set_attributes, (self._namespace, orjson.dumps(documents).decode())

    def has_stored(
        self, conn: Connection[Any], run_id: str, worker_id: str, attempt_id: str
    ) -> bool | None:
        """Whether an attempt was completed by a transaction whose outcome is unknown.

        Waits for the end of that transaction. Returns None if the claim is over.
        """
        with prepared.transaction(conn):
            if not self._execute(conn, self._lock_claim, run_id, worker_id):
                return None
            rows = self._execute(conn, self._attempt_status, attempt_id)
        return bool(rows) and rows[0][0] in (StepStatus.COMPLETED, StepStatus.SUCCEEDED)

    def _execute(
        self, conn: Connection[Any], statement: Statement, *params: Any
    ) -> list[tuple[Any, ...]]:
        return conn.execute(statement.query, (self._namespace, *params), prepare=True).fetchall()

    def _execute_text(
        self, conn: Connection[Any], statement: Statement, *params: Param
    ) -> list[tuple[str, ...]]:
        return prepared.execute(conn, statement, (self._namespace, *params))


def _at_the_end(history: Sequence[RecordedAttempt], moment: datetime) -> Iterator[RecordedAttempt]:
    """Return the last attempts of ``history`` that were created at ``moment``."""
    return takewhile(lambda each: each.created_at == moment, reversed(history))


def _count(attempts: Iterable[RecordedAttempt]) -> int:
    return sum(not each.is_abandoned for each in attempts)


def leases_json(leases: Sequence[tuple[str, str]]) -> str:
    """Return (run id, worker id) pairs as JSON for the statements."""
    return orjson.dumps([{"run": run, "worker": worker} for run, worker in leases]).decode()
