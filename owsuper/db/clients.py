"""What clients ask of the database, as data, so that both colours of client share it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Generic, TypeAlias, TypeVar

import orjson
from psycopg import Connection

from owsuper.core.model import RunStatus
from owsuper.db import times
from owsuper.db.connect import is_pooled
from owsuper.db.related import lock_text, signal_calls
from owsuper.db.statement import Statement, load
from owsuper.errors import RunNotCancelable, RunNotFound, RunNotRetryable
from owsuper.ids import new_id

T = TypeVar("T")
Rows: TypeAlias = list[tuple[Any, ...]]
Call: TypeAlias = tuple[Statement, tuple[Any, ...]]

# To a statement. More runs would only need more memory; a parameter ends at a gigabyte.
_CHUNK_RUNS: Final = 2000
_CHUNK_BYTES: Final = 16 * 1024 * 1024

_CANCELABLE = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING})


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """Statements for one transaction, and what their rows mean. They are one round trip, unless
    there is a pooler in between.

    ``parse`` takes the rows of each statement and may raise what the caller should see.
    """

    calls: tuple[Call, ...]
    parse: Callable[[list[Rows]], T]

    def run(self, conn: Connection[Any]) -> T:
        """Perform it on a connection in autocommit mode. Raises psycopg.Error as well."""
        if len(self.calls) == 1:
            [(statement, params)] = self.calls
            cursor = conn.execute(statement.query, params)
            return self.parse([cursor.fetchall() if cursor.description else []])
        together = nullcontext() if is_pooled(conn) else conn.pipeline()  # see db.pooled
        with together, conn.transaction():
            cursors = [conn.execute(each.query, params) for each, params in self.calls]
        return self.parse([each.fetchall() if each.description else [] for each in cursors])


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """A run to be started.

    ``input_json`` is encoded JSON; None is stored as SQL NULL, as is ``b"null"``. Times are
    aware; without ``available_at`` the run is due at once, by the database's clock.
    """

    workflow_name: str
    version: str | None = None
    input_json: bytes | None = None
    idempotency_key: str | None = None
    available_at: datetime | None = None
    deadline_at: datetime | None = None
    context: dict[str, Any] | None = None
    id: str = field(default_factory=new_id)


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


class ClientQueries:
    """The operations of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._start = load("start", schema)
        self._start_lock = load("start_lock", schema)
        self._start_with_key = load("start_with_key", schema)
        self._get_run = load("get_run", schema)
        self._outcome = load("outcome", schema)
        self._cancel = load("cancel", schema)
        self._signal_lock = load("signal_lock", schema)
        self._lock_waits = load("lock_signal_waits", schema)
        self._send_signal = load("send_signal", schema)
        self._open_children = load("open_children", schema)
        self._retry_lock = load("retry_lock", schema)
        self._retry = load("retry", schema)

    def start(self, new: NewRun) -> Operation[str]:
        """Start a run; its id.

        With an idempotency key, the id of the run that was started with it in the last 24
        hours, if there is one. May be repeated with the same ``new`` when the answer was lost.
        """
        if new.idempotency_key is None:
            return Operation(((self._start, (self._namespace, _runs([new]))),), lambda _: new.id)
        text = lock_text(self._namespace, new.workflow_name, new.idempotency_key)
        key = (self._start_lock, (text,))
        params = (self._namespace, _runs([new]), new.workflow_name, new.idempotency_key)
        return Operation(
            (key, (self._start_with_key, params)), lambda results: str(results[1][0][0])
        )

    def start_many(self, new: Sequence[NewRun]) -> Operation[list[str]]:
        """Start all of these runs or, when that fails, none; their ids, in order.

        They can have no idempotency keys: ValueError.
        """
        if any(each.idempotency_key is not None for each in new):
            raise ValueError("runs with idempotency keys must be started one by one")
        calls = tuple((self._start, (self._namespace, _runs(chunk))) for chunk in _chunks(new))
        return Operation(calls, lambda _: [each.id for each in new])

    def get_run(self, run_id: str) -> Operation[RunRow]:
        """A run in full. Raises RunNotFound."""
        return self._one(self._get_run, run_id, run_row)

    def status(self, run_id: str) -> Operation[str]:
        """The status of a run. Raises RunNotFound."""
        return self._one(self._outcome, run_id, lambda row: str(row[0]))

    def cancel(self, run_id: str) -> Operation[None]:
        """Cancel a run; one that is canceled already stays so.

        Raises RunNotFound, and RunNotCancelable for a run that completed or failed.
        """
        return self._one(self._cancel, run_id, lambda row: _check_canceled(run_id, row[0]))

    def send_signal(
        self, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
    ) -> Operation[list[str]]:
        """Send a signal; the ids of the runs that it reached. See ``RelatedStore.send``.

        Without a key it is sent anew each time.
        """
        lock, waits, send = signal_calls(self._namespace, signal, data, sender_key, keep=keep)
        return Operation(
            ((self._signal_lock, lock), (self._lock_waits, waits), (self._send_signal, send)),
            lambda results: [str(row[0]) for row in results[2]],
        )

    def open_children(self, run_ids: Sequence[str]) -> Operation[list[str]]:
        """The ids of the runs that these have started as children and that have not ended."""
        call = (self._open_children, (self._namespace, list(run_ids)))
        return Operation((call,), lambda results: [str(row[0]) for row in results[0]])

    def retry(self, run_id: str) -> Operation[None]:
        """Put a failed run back, due now; it goes on behind its finished steps.

        Raises RunNotFound, and RunNotRetryable for a run that has not failed, or whose deadline
        has passed.
        """

        def parse(results: list[Rows]) -> None:
            if not results[1]:
                raise not_found(run_id)
            [(status, missed)] = results[1]
            _check_retried(run_id, status, missed)

        params = (self._namespace, run_id)
        return Operation(((self._retry_lock, params), (self._retry, params)), parse)

    def _one(
        self, statement: Statement, run_id: str, parse: Callable[[tuple[Any, ...]], T]
    ) -> Operation[T]:
        def parse_results(results: list[Rows]) -> T:
            if not results[0]:
                raise not_found(run_id)
            return parse(results[0][0])

        return Operation(((statement, (self._namespace, run_id)),), parse_results)


def _chunks(new: Sequence[NewRun]) -> Iterator[list[NewRun]]:
    chunk: list[NewRun] = []
    size = 0
    for each in new:
        added = len(each.input_json or b"")
        if chunk and (len(chunk) == _CHUNK_RUNS or size + added > _CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(each)
        size += added
    if chunk:
        yield chunk


def _runs(new: Sequence[NewRun]) -> str:
    documents = [
        {
            "id": each.id,
            "name": each.workflow_name,
            "version": each.version,
            "key": each.idempotency_key,
            "context": each.context,
            "input": None if each.input_json is None else orjson.Fragment(each.input_json),
            "available": each.available_at,
            "deadline": each.deadline_at,
        }
        for each in new
    ]
    return orjson.dumps(documents).decode()


def run_row(columns: tuple[Any, ...]) -> RunRow:
    """A row of its columns; a deadline that never comes is none."""
    row = RunRow(*columns)
    return replace(row, deadline_at=times.deadline(row.deadline_at))


def not_found(run_id: str) -> RunNotFound:
    return RunNotFound(f"Workflow run {run_id} does not exist", run_id=run_id)


def _check_canceled(run_id: str, status: str) -> None:
    """``status`` is what the run had when it was to be canceled."""
    if status in _CANCELABLE or status == RunStatus.CANCELED:
        return
    if status in (RunStatus.COMPLETED, RunStatus.SUCCEEDED, RunStatus.FAILED):
        raise RunNotCancelable(
            f"Cannot cancel workflow run {run_id} with status {status}", run_id=run_id
        )
    raise RunNotCancelable("Failed to cancel workflow run", run_id=run_id)


def _check_retried(run_id: str, status: str, missed: datetime | None) -> None:
    """``status`` and ``missed`` deadline are what the run had when it was to be put back."""
    refused = f"Cannot retry workflow run {run_id} with status {status}"
    if status != RunStatus.FAILED:
        raise RunNotRetryable(
            f"{refused}: only a failed run can be retried", run_id=run_id, status=status
        )
    if missed is not None:
        raise RunNotRetryable(
            f"{refused}: its deadline passed at {missed:%Y-%m-%d %H:%M:%S} UTC, so"
            " it would fail again at once. Start a new run.",
            run_id=run_id,
            status=status,
        )
