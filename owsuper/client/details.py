"""What is stored about a run."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from owsuper.core import codec
from owsuper.core.model import ErrorPayload, RunStatus
from owsuper.db.clients import RunRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run as it was when it was read. ``input`` and ``output`` are plain JSON.

    A run that waits (for a retry, a sleep) is ``pending`` or ``running`` with ``available_at``
    in the future and no ``worker_id``. ``error`` may be that of an earlier failure that was
    retried; ``attempts`` counts how often a worker took the run up, wake-ups included.
    Times are aware, in UTC.
    """

    id: str
    workflow_name: str
    version: str | None
    status: RunStatus
    attempts: int
    idempotency_key: str | None
    input: Any
    output: Any
    error: ErrorPayload | None
    worker_id: str | None
    available_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    updated_at: datetime


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
        "input": codec.decode(row.input),
        "output": codec.decode(row.output),
        "error": ErrorPayload.from_json(codec.decode(row.error)) if row.error else None,
    }
    return Run(**values)
