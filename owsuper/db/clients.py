"""The operations of clients, as data: statements, parameters and parsers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, TypeAlias, TypeVar

import orjson
from psycopg import Connection

from owsuper.core import carriers
from owsuper.core.carriers import Carrier
from owsuper.db import new_runs, refusals, times
from owsuper.db.connect import is_pooled
from owsuper.db.driver_log import quiet_driver
from owsuper.db.new_runs import NewRun, Rerun
from owsuper.db.related import lock_text
from owsuper.db.signals import Call, Reached, SignalQueries
from owsuper.db.statement import Statement, load
from owsuper.errors import RunNotFound

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """Statements for one transaction, in one round trip (more behind a connection pooler).

    ``parse`` takes the rows of each statement; its errors are for the caller.
    """

    calls: tuple[Call, ...]
    parse: Callable[[list[Rows]], T]

    def run(self, conn: Connection[Any]) -> T:
        """Execute the statements in autocommit mode; return the result.

        Raises psycopg.Error, and as ``parse`` does.
        """
        if len(self.calls) == 1:
            [(statement, params)] = self.calls
            cursor = conn.execute(statement.query, params)
            return self.parse([cursor.fetchall() if cursor.description else []])
        together = nullcontext() if is_pooled(conn) else conn.pipeline()  # see db.pooler
        with quiet_driver(), together, conn.transaction():
            cursors = [conn.execute(each.query, params) for each, params in self.calls]
        return self.parse([each.fetchall() if each.description else [] for each in cursors])


@dataclass(frozen=True, slots=True)
class RunRow:
    """A row of ``workflow_runs``; the JSON columns as text."""

    id: str
    workflow_name: str
    version: str | None
    status: str
    attempts: int
    idempotency_key: str | None
    input: str | None
    output: str | None
    error: str | None
    worker_id: str | None
    available_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime
    began_at: datetime | None
    parent_run_id: str | None
    parent_step_name: str | None
    continued_from: str | None = None
    continued_as: str | None = None
    rerun_of: str | None = None
    rerun_as: str | None = None
    priority: str | None = None
    attributes: str | None = None
    undo_of: str | None = None
    undone_by: str | None = None


@dataclass(frozen=True, slots=True)
class Canceled:
    """A run that is canceled, or its ``successor``, to cancel in its place."""

    run_id: str
    successor: str | None
    workflow_name: str
    version: str | None
    carrier: Carrier | None


@dataclass(frozen=True, slots=True)
class Repeated:
    """A run that was started to repeat another."""

    run_id: str
    workflow_name: str
    version: str | None


class ClientQueries:
    """The operations of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._start = load("start", schema)
        self._start_with_config = load("start_with_config", schema)
        self._name_of_run = load("name_of_run", schema)
        self._start_lock = load("start_lock", schema)
        self._start_with_key = load("start_with_key", schema)
        self._start_with_key_and_config = load("start_with_key_and_config", schema)
        self._start_with_attributes = load("start_with_attributes", schema)
        self._start_with_key_and_attributes = load("start_with_key_and_attributes", schema)
        self._get_run = load("get_run", schema)
        self._outcome = load("outcome", schema)
        self._cancel = load("cancel", schema)
        self.signals = SignalQueries(schema, namespace)
        self._open_children = load("open_children", schema)
        self._retry_lock = load("retry_lock", schema)
        self._retry = load("retry", schema)
        self._skip_undo = load("skip_undo", schema)
        self._rerun_lock = load("rerun_lock", schema)
        self._rerun = load("rerun", schema)
        self._wake_lock = load("wake_lock", schema)
        self._wake = load("wake", schema)
        self._transaction_settings = load("transaction_settings", schema)
        self._set_lock_timeout = load("set_lock_timeout", schema)

    def start(self, new: NewRun) -> Operation[str]:
        """Start a run; return its id.

        If a run was started with the same idempotency key within the lifetime of the key, return
        the id of that run. May be repeated with the same ``new`` if the answer is lost. If a run
        with the chosen id exists, start nothing; raises RunExists if it is another workflow's.
        """
        runs = new_runs.document([new])
        start = (self._starting([new]), (self._namespace, runs))
        if new.has_chosen_id:
            name_of_run = (self._name_of_run, (self._namespace, new.id))
            return Operation(
                (start, name_of_run),
                lambda results: refusals.check_own(new.id, new.workflow_name, results[1]),
            )
        if new.idempotency_key is None:
            return Operation((start,), lambda _: new.id)
        name, key = new.workflow_name, new.idempotency_key
        lock = (self._start_lock, (lock_text(self._namespace, name, key),))
        params = (self._namespace, runs, name, key, new.key_lifetime)
        if new.attributes:
            with_key = self._start_with_key_and_attributes
        elif new.config is not None:
            with_key = self._start_with_key_and_config
        else:
            with_key = self._start_with_key
        return Operation((lock, (with_key, params)), lambda results: str(results[1][0][0]))

    def start_many(self, new: Sequence[NewRun]) -> Operation[list[str]]:
        """Start all of these runs, or none; return their ids in order.

        Raises ValueError for runs with idempotency keys.
        """
        if any(each.idempotency_key is not None for each in new):
            raise ValueError("runs with idempotency keys must be started one by one")
        calls = tuple(
            (self._starting(chunk), (self._namespace, new_runs.document(chunk)))
            for chunk in new_runs.chunks(new)
        )
        return Operation(calls, lambda _: [each.id for each in new])

    def _starting(self, new: Sequence[NewRun]) -> Statement:
        if any(each.attributes for each in new):
            return self._start_with_attributes
        if any(each.config is not None for each in new):
            return self._start_with_config
        return self._start

    def get_run(self, run_id: str) -> Operation[RunRow]:
        """Return a run in full. Raises RunNotFound."""
        return self._one(self._get_run, run_id, run_row)

    def status(self, run_id: str) -> Operation[str]:
        """Return the status of a run. Raises RunNotFound."""
        return self._one(self._outcome, run_id, lambda row: str(row[0]))

    def cancel(self, run_id: str) -> Operation[Canceled]:
        """Cancel a run; without effect on a canceled run.

        A run that has continued as new has a successor to cancel in its place. Raises RunNotFound,
        and RunNotCancelable for any other completed or failed run.
        """

        def parse(row: tuple[Any, ...]) -> Canceled:
            status, successor, name, version, carrier = row
            if successor is None:
                refusals.check_canceled(run_id, status)
            trace = None if carrier is None else carriers.read(orjson.loads(carrier))
            return Canceled(run_id, successor and str(successor), name, version, trace)

        return self._one(self._cancel, run_id, parse)

    def send_signal(
        self, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
    ) -> Operation[list[Reached]]:
        """Send a signal; return the runs that it reached, for ``signals.wake_unaware``.

        Without ``sender_key``, a repeated call sends another signal. See ``RelatedStore.send``.
        """
        calls = self.signals.send(signal, data, sender_key, keep=keep)
        return Operation(
            calls,
            lambda results: [(run, may_park, is_new) for run, may_park, is_new in results[2]],
        )

    def open_children(self, run_ids: Sequence[str]) -> Operation[list[str]]:
        """Return the ids of the child runs of these runs that have not ended."""
        call = (self._open_children, (self._namespace, list(run_ids)))
        return Operation((call,), lambda results: [str(row[0]) for row in results[0]])

    def retry(self, run_id: str, step: str | None = None) -> Operation[None]:
        """Put a failed run back, due now; its completed steps keep their results.

        Its failed step attempts are set aside: ``ListQueries.attempts`` still lists them. With
        ``step``, put a run back that has ended in any way; all attempts of this step and of those
        that began later are set aside.

        Raises RunNotFound, and RunNotRetryable for a run that has not failed, that is undone, or
        whose deadline has passed; with ``step``, also for what ``retry.sql`` lists.
        """

        def parse(results: list[Rows]) -> None:
            if not results[1]:
                raise not_found(run_id)
            [(status, missed, undone_by, hindrances)] = results[1]
            if step is None:
                refusals.check_retried(run_id, status, missed, undone_by)
            else:
                refusals.check_rewound(
                    run_id, step, status, missed, undone_by, orjson.loads(hindrances)
                )

        params = (self._namespace, run_id, step)
        return Operation(((self._retry_lock, params), (self._retry, params)), parse)

    def skip_undo(
        self, run_id: str, step: str, *, attempt_id: str, remark: dict[str, Any]
    ) -> Operation[None]:
        """Note that ``step``, which the failed run ``run_id`` was to undo, is undone already.

        ``remark`` is kept with the attempt. May be repeated with the same ``attempt_id`` if the
        answer is lost. Raises RunNotFound, and RunNotRetryable for a run that does not undo this
        step, or has not failed.
        """

        def parse(results: list[Rows]) -> None:
            if not results[1]:
                raise not_found(run_id)
            refusals.check_skipped(run_id, step, results[1][0])

        context = orjson.dumps({"skipped": remark}).decode()
        skip = (self._skip_undo, (self._namespace, run_id, step, attempt_id, context))
        return Operation(((self._retry_lock, (self._namespace, run_id, None)), skip), parse)

    def wake(self, run_id: str, step: str | None) -> Operation[None]:
        """End the waits of a run, or that of one step, as if their times had come.

        Raises RunNotFound, and RunNotWakeable for a run that has no wait to end.
        """

        def parse(results: list[Rows]) -> None:
            if not results[1]:
                raise not_found(run_id)
            refusals.check_woken(run_id, step, results[1][0])

        lock = (self._wake_lock, (self._namespace, run_id))
        return Operation((lock, (self._wake, (self._namespace, run_id, step))), parse)

    def rerun(self, run_id: str, step: str | None, new: Rerun) -> Operation[Repeated]:
        """Start a run that repeats a run from ``step`` on.

        May be repeated with the same ``new`` if the answer is lost. Raises RunNotFound, and
        RunNotRerunnable for a run that has not ended or has no such step.
        """

        def parse(results: list[Rows]) -> Repeated:
            if not results[1]:
                raise not_found(run_id)
            [(status, has_step, steps, name, version, *undone)] = results[1]
            refusals.check_rerun(run_id, step, (status, has_step, steps, name, *undone))
            return Repeated(new.id, name, version)

        raw = None if new.input_json is None else orjson.Fragment(new.input_json)
        document = orjson.dumps(
            {"id": new.id, "given": new.has_other_input, "input": raw, "context": new.context}
        )
        params = (self._namespace, run_id)
        return Operation(
            ((self._rerun_lock, params), (self._rerun, (*params, step, document.decode()))), parse
        )

    def transaction_settings(self) -> Operation[tuple[str, str]]:
        """Return the isolation level of the transaction, and its lock time-out."""

        def parse(results: list[Rows]) -> tuple[str, str]:
            [(isolation, lock_timeout)] = results[0]
            return isolation, lock_timeout

        return Operation(((self._transaction_settings, ()),), parse)

    def set_lock_timeout(self, timeout: str) -> Operation[None]:
        """Set the lock time-out of the transaction, as ``transaction_settings`` returned it."""
        return Operation(((self._set_lock_timeout, (timeout,)),), lambda _: None)

    def _one(
        self, statement: Statement, run_id: str, parse: Callable[[tuple[Any, ...]], T]
    ) -> Operation[T]:
        def parse_results(results: list[Rows]) -> T:
            if not results[0]:
                raise not_found(run_id)
            return parse(results[0][0])

        return Operation(((statement, (self._namespace, run_id)),), parse_results)


def run_row(columns: tuple[Any, ...]) -> RunRow:
    """Return the row with these columns; an infinite deadline is None."""
    row = RunRow(*columns)
    return replace(row, deadline_at=times.deadline(row.deadline_at))


def not_found(run_id: str) -> RunNotFound:
    """Return the error for a run that does not exist."""
    return RunNotFound(f"Workflow run {run_id} does not exist", run_id=run_id)
