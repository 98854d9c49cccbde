"""Runs and step attempts as programs read them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any

import orjson

from owsuper.core import codec
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.core.priority import stored_priority
from owsuper.db.clients import RunRow
from owsuper.db.lists import AttemptRow, RetryRow, SkippedSignalRow
from owsuper.errors import InvalidData
from owsuper.stored_error import StoredError


@dataclass(frozen=True, slots=True, kw_only=True)
class RunParent:
    """The step that started a child run: the run it belongs to, and its name there."""

    run_id: str
    step_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was when it was read. ``input`` and ``output`` are plain JSON, or Unreadable.

    A run that waits for a retry, a sleep, a signal or a child run is ``pending`` or ``running``,
    with ``available_at`` in the future and without a ``worker_id``. If it waits for a limit, that
    is in the year 9999. ``error`` may belong to an earlier failure that was retried. ``attempts``
    counts the claims of the run, wake-ups included.
    ``parent`` is None for a run that no other run started. ``continued_from`` and ``continued_as``
    are the ids of the runs before and after a run in a chain by ``step.continue_as_new``.
    ``rerun_of`` is the id of the run that this run repeats, ``rerun_as`` that of the last run that
    repeats this one. ``priority`` is from 0 to 100. ``attributes`` are those that were given at its
    start, or set by its code. ``undone_by`` is the id of the run that executes the undos of this
    one, and ``undo_of`` that of the run whose undos this one executes.

    ``started_at`` is the first claim since the last retry, and None in most failed runs.
    ``began_at`` is earlier if an earlier step attempt is stored; it is None as long as no execution
    is known. Times are aware, in UTC. A time before the year 1 or after the year 9999 is read as
    the first or last time of datetime, and such a deadline is None.
    """

    id: str
    workflow_name: str
    version: str | None
    status: RunStatus
    attempts: int
    idempotency_key: str | None
    input: Any
    output: Any
    error: StoredError | None
    parent: RunParent | None
    continued_from: str | None = None
    continued_as: str | None = None
    rerun_of: str | None = None
    rerun_as: str | None = None
    priority: int = 0
    attributes: dict[str, str] = field(default_factory=dict)
    undo_of: str | None = None
    undone_by: str | None = None
    worker_id: str | None
    available_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    began_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAttempt:
    """One attempt of a step, as it was when it was read.

    ``step_name`` is the step's name in its run: ``charge``, and ``charge:1`` for the second step
    of that name. All attempts of a step have the same name. ``context`` holds the purpose and the
    end of a wait. ``context`` and ``output`` are plain JSON, or Unreadable. ``child_run_id`` is
    the run that a step of kind ``workflow`` started. Times are as in Run.

    ``retried_at`` is when ``retry()`` of the run set this attempt aside: it no longer counts as a
    used retry, nor as a result. It is None for all other attempts.

    An attempt stays ``running`` forever if its process dies, or its run ends, before the attempt.
    """

    id: str
    run_id: str
    step_name: str
    kind: StepKind
    status: StepStatus
    context: Any
    output: Any
    error: StoredError | None
    child_run_id: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    retried_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRetry:
    """A retry of a run by ``retry()``: when, and how the run had ended then.

    ``status`` is the one it had, and ``failed_at`` when it had ended so. ``error`` and ``output``
    are those of that end; ``output`` is plain JSON, or Unreadable. ``from_step`` is the step from
    which it was retried, if one was named.
    """

    retried_at: datetime
    failed_at: datetime | None
    error: StoredError | None
    status: RunStatus
    from_step: str | None
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedSignal:
    """A signal that a step with ``on_invalid="skip"`` has skipped, as its data did not fit.

    ``data`` is plain JSON, or Unreadable; ``reason`` names the field at fault. ``sent_at`` is when
    the signal reached the run.
    """

    id: str
    run_id: str
    step_name: str
    signal: str
    data: Any
    reason: str
    sent_at: datetime
    skipped_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """The number of runs of a namespace, by status. ``running`` includes runs that wait."""

    pending: int
    running: int
    completed: int
    failed: int
    canceled: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for stored JSON that Python cannot read; ``unreadable`` gives the reason."""

    unreadable: str


_STATUSES = frozenset(RunStatus)


def current_status(text: str) -> RunStatus:
    """Return the status for ``text`` from the database; old names become current ones."""
    return RunStatus(text).current


def run_from_row(row: RunRow) -> Run:
    """Return the run of a row of ``workflow_runs``."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    parent_run_id, parent_step = values.pop("parent_run_id"), values.pop("parent_step_name")
    values |= {
        "status": current_status(row.status),
        "parent": parent_run_id and RunParent(run_id=parent_run_id, step_name=parent_step),
        "input": _value(row.input, "input"),
        "output": _value(row.output, "output"),
        "error": error_from_text(row.error) if row.error else None,
        "priority": stored_priority(row.priority),
        "attributes": {} if row.attributes is None else orjson.loads(row.attributes),
    }
    if values["priority"] and row.available_at is not None:
        # Until it begins, its due time is earlier than it may begin: see due_by_priority.sql.
        values["available_at"] = max(row.available_at, row.created_at)
    return Run(**values)


def attempt_from_row(run_id: str, row: AttemptRow) -> StepAttempt:
    """Return the attempt of a row of ``step_attempts`` of this run."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    status = StepStatus(row.status)
    values |= {
        "run_id": run_id,
        "kind": StepKind(row.kind),
        "status": StepStatus.COMPLETED if status is StepStatus.SUCCEEDED else status,
        "context": _value(row.context, "context"),
        "output": _value(row.output, "output"),
        "error": error_from_text(row.error) if row.error else None,
    }
    return StepAttempt(**values)


def retry_from_row(row: RetryRow) -> RunRetry:
    """Return the retry of a row of ``owsuper_retries``."""
    return RunRetry(
        retried_at=row.retried_at,
        failed_at=row.failed_at,
        error=error_from_text(row.error) if row.error else None,
        status=current_status(row.status or RunStatus.FAILED),
        from_step=row.from_step,
        output=_value(row.output, "output"),
    )


def skipped_from_row(run_id: str, row: SkippedSignalRow) -> SkippedSignal:
    """Return the skipped signal of a row of this run."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    values |= {"run_id": run_id, "signal": row.signal or "", "data": _value(row.data, "data")}
    return SkippedSignal(**values)


def counts_from_rows(rows: Iterable[tuple[str, int]]) -> RunCounts:
    """Return the sums of these pairs of status and count, without unknown statuses."""
    total = dict.fromkeys((each.name for each in fields(RunCounts)), 0)
    for text, count in rows:
        if text in _STATUSES:
            total[current_status(text)] += count
    return RunCounts(**total)


def error_from_text(text: str | None) -> StoredError:
    """Return the stored error. If its JSON is unreadable, the message gives the reason."""
    value = _value(text, "error")
    return StoredError.from_json(value.unreadable if isinstance(value, Unreadable) else value)


def _value(text: str | None, path: str) -> Any:
    """Return the JSON value, or Unreadable: one bad row must not hide a page of other rows."""
    try:
        return codec.decode(text, path=path)
    except InvalidData as unreadable:
        return Unreadable(str(unreadable))
