"""What is stored about runs and their steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from owsuper.core import codec
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.db.clients import RunRow
from owsuper.db.lists import AttemptRow
from owsuper.errors import InvalidData
from owsuper.stored_error import StoredError


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was when it was read. ``input`` and ``output`` are plain JSON, or Unreadable.

    A run that waits (for a retry, a sleep) is ``pending`` or ``running`` with ``available_at``
    in the future and no ``worker_id``. ``error`` may be that of an earlier failure that was
    retried; ``attempts`` counts how often a worker took the run up, wake-ups included.
    Times are aware, in UTC; those before the year 1 and after 9999 are the first and the last that
    datetime has, and a deadline there is none.
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
    worker_id: str | None
    available_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAttempt:
    """One attempt of a step, as it was when it was read.

    ``step_name`` is the step's name in its run: ``charge``, and ``charge:1`` where the same name
    is used again; an attempt that is a retry has the name of the one before. ``context`` says
    what a wait is for and until when. It and ``output`` are plain JSON, or Unreadable.
    ``child_run_id`` is the run that a step of kind ``workflow`` started. Times are as in Run.

    An attempt stays ``running`` for good if its process died, or its run ended, before it did.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class RunCounts:
    """How many runs of a namespace there are. Those that wait are among the running."""

    pending: int
    running: int
    completed: int
    failed: int
    canceled: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for stored JSON that Python cannot hold; ``unreadable`` says what it is and why."""

    unreadable: str


_STATUSES = frozenset(RunStatus)

# What older implementations wrote, and what it is called now.
_LEGACY = {RunStatus.SLEEPING: RunStatus.RUNNING, RunStatus.SUCCEEDED: RunStatus.COMPLETED}


def current_status(text: str) -> RunStatus:
    """The status that ``text``, from the database, stands for."""
    status = RunStatus(text)
    return _LEGACY.get(status, status)


def of(row: RunRow) -> Run:
    """What a row tells."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    values |= {
        "status": current_status(row.status),
        "input": _value(row.input, "input"),
        "output": _value(row.output, "output"),
        "error": error(row.error) if row.error else None,
    }
    return Run(**values)


def of_attempt(run_id: str, row: AttemptRow) -> StepAttempt:
    """What a row of this run's step attempts tells."""
    values = {each.name: getattr(row, each.name) for each in fields(row)}
    status = StepStatus(row.status)
    values |= {
        "run_id": run_id,
        "kind": StepKind(row.kind),
        "status": StepStatus.COMPLETED if status is StepStatus.SUCCEEDED else status,
        "context": _value(row.context, "context"),
        "output": _value(row.output, "output"),
        "error": error(row.error) if row.error else None,
    }
    return StepAttempt(**values)


def counts(rows: Iterable[tuple[str, int]]) -> RunCounts:
    """(status, count) pairs added up by what a status is called now; unknown ones are left out."""
    total = dict.fromkeys((each.name for each in fields(RunCounts)), 0)
    for text, count in rows:
        if text in _STATUSES:
            total[current_status(text)] += count
    return RunCounts(**total)


def error(text: str | None) -> StoredError:
    """The stored error, or one that says that it cannot be read."""
    value = _value(text, "error")
    return StoredError.from_json(value.unreadable if isinstance(value, Unreadable) else value)


def _value(text: str | None, path: str) -> Any:
    """The JSON value, or what stands for it: one odd row must not hide a page of others."""
    try:
        return codec.decode(text, path=path)
    except InvalidData as unreadable:
        return Unreadable(str(unreadable))
