"""What crosses the doors between rooms: runs, step attempts, and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from owsuper.stored_error import StoredError

T = TypeVar("T")


class RunStatus(StrEnum):
    """Where a run stands. It may wait as pending or as running; see ``Run``."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"  # legacy form of a parked run; read, never written
    COMPLETED = "completed"
    SUCCEEDED = "succeeded"  # legacy form of completed; read, never written
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset(
    {RunStatus.COMPLETED, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED}
)


class StepKind(StrEnum):
    """What a step does: call a function, or wait for something."""

    FUNCTION = "function"
    SLEEP = "sleep"
    WORKFLOW = "workflow"
    SIGNAL_SEND = "signal-send"
    SIGNAL_WAIT = "signal-wait"


class StepStatus(StrEnum):
    """Where one attempt of a step stands."""

    RUNNING = "running"
    COMPLETED = "completed"
    SUCCEEDED = "succeeded"  # legacy form of completed; read, never written
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChildRunState:
    """The run that a ``workflow`` step started, as it was when it was looked at.

    ``output`` and ``error`` are decoded JSON values.
    """

    run_id: str
    status: str
    output: Any = None
    error: Any = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signal(Generic[T]):
    """A signal that was waited for, and came; ``data`` is what was sent with it."""

    data: T


@dataclass(frozen=True, slots=True)
class DeliveredSignal:
    """What was sent to a ``signal-wait`` step, decoded."""

    data: Any


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One row of ``step_attempts``; ``output`` is the decoded JSON value.

    ``answer`` is what is known of that which the step waits for: a ``workflow`` step without
    one has no child yet, a ``signal-wait`` step without one no signal.
    """

    id: str
    step_name: str
    kind: str
    status: str
    context: Any
    output: Any
    error: Any
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    answer: ChildRunState | DeliveredSignal | None = None

    @property
    def is_abandoned(self) -> bool:
        """A step that began something and never ended, as a later pass sees it: a crash cut it off.

        Nothing is decided by such a row, and it does not count towards the step limit.
        """
        return self.kind in _CALLS and self.status not in _ENDED


_CALLS = frozenset({StepKind.FUNCTION, StepKind.SIGNAL_SEND})
_ENDED = frozenset({StepStatus.COMPLETED, StepStatus.SUCCEEDED, StepStatus.FAILED})


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this worker owns until its lease ends.

    ``claimed_at`` is the database's time of the claim, ``claim_sent`` what time.monotonic()
    said just before it, which is one clock for all processes of a host. Passes keep time by the
    database's clock, so that a skewed host neither wakes early nor spins; and from before the
    claim on, so that no delay on the way to the child makes a sleep shorter. ``first`` says that
    no history can exist. ``suspect`` says that a process died while it held this run together
    with others, so that it must have a process of its own. ``input_json`` is None when the input
    is too large to travel through the pipe (``input_stored``) or SQL NULL.
    """

    run_id: str
    workflow_name: str
    version: str | None
    worker_id: str
    attempts: int
    input_json: bytes | None
    input_stored: bool
    created_at: datetime
    started_at: datetime
    claimed_at: datetime
    claim_sent: float
    deadline_at: datetime | None
    first: bool
    suspect: bool


# --- what a child writes -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewChildRun:
    """A run that a ``workflow`` step is to start; ``input_json`` as in ``StepWrite``."""

    run_id: str
    workflow_name: str
    version: str | None
    input_json: bytes | None


@dataclass(frozen=True, slots=True)
class StepWrite:
    """Insert a step attempt, or move the stored one of this id out of ``running``.

    ``output_json`` is encoded JSON; None is stored as SQL NULL, as is ``b"null"``.
    Times are on the database's clock. ``child`` is started together with the attempt.
    """

    attempt_id: str
    step_name: str
    kind: StepKind
    status: StepStatus
    started_at: datetime
    finished_at: datetime | None = None
    context: dict[str, Any] | None = None
    output_json: bytes | None = None
    error: StoredError | None = None
    child: NewChildRun | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """The run succeeded."""

    output_json: bytes | None


@dataclass(frozen=True, slots=True)
class Park:
    """Give the run back until ``until``; it waits durably.

    ``awaits`` are the ids of the step attempts that wait for a child or a signal: should one of
    those have come meanwhile, the run is due at once. ``signals`` are those of them that wait for
    a signal.
    """

    until: datetime
    awaits: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Give the run back as pending until ``at``.

    ``counts`` charges the workflow's own retry budget (a failure of the body, as opposed to
    the retry of a step).
    """

    at: datetime
    error: StoredError
    counts: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """The run failed for good.

    ``no_retry_reason`` goes to the log of a run that had retries left; it is not stored.
    """

    error: dict[str, Any]
    no_retry_reason: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """Give the run back, due now: this process must stop."""


Outcome = Complete | Park | Retry | Fail | Release


@dataclass(frozen=True, slots=True)
class WriteSet:
    """Writes on one run that stand or fall together, behind the fence of ``worker_id``.

    ``first`` says that this is the run's first claim, so that no failure and no crash of it can
    have been recorded, and none need be forgotten when it ends.
    """

    run_id: str
    worker_id: str
    steps: tuple[StepWrite, ...] = ()
    outcome: Outcome | None = None
    first: bool = False
