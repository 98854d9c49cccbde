"""The rows of the tables in memory: runs and step attempts."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from owsuper.core.model import DeliveredSignal, RunStatus, StepWrite
from owsuper.db.reports import ProgressRow

_ENDED = frozenset(status for status in RunStatus if status.is_terminal)


@dataclass
class MemoryRun:
    """A run. ``output`` and ``error`` are decoded JSON values; ``parent`` is a step's id."""

    id: str
    workflow_name: str
    version: str | None
    input_json: bytes | None
    created_at: datetime
    available_at: datetime | None
    parent: str | None = None
    status: RunStatus = RunStatus.PENDING
    worker_id: str | None = None
    attempts: int = 0
    failures: int = 0
    started_at: datetime | None = None
    finished_at: datetime | None = None
    output: Any = None
    error: Any = None
    continued_from: str | None = None
    continued_as: str | None = None
    carrier: dict[str, str] | None = None
    progress: ProgressRow | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    has_undos: bool = False
    undo_of: str | None = None
    undone_by: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status in _ENDED


@dataclass
class MemoryAttempt:
    """A step attempt, with what was delivered to it or the child run that it started."""

    run_id: str
    write: StepWrite
    delivered: list[DeliveredSignal] = field(default_factory=list)
    child_run_id: str | None = None
