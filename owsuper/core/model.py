"""The data that the packages exchange: runs, step attempts, and writes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

from owsuper.stored_error import StoredError

T = TypeVar("T")


class RunStatus(StrEnum):
    """The status of a run. A run that waits is pending or running; see ``Run``."""

    PENDING = "pending"
    RUNNING = "running"
    SLEEPING = "sleeping"  # legacy form of a parked run; read, never written
    COMPLETED = "completed"
    SUCCEEDED = "succeeded"  # legacy form of completed; read, never written
    FAILED = "failed"
    CANCELED = "canceled"

    @property
    def is_terminal(self) -> bool:
        """Whether the run has ended."""
        return self in _TERMINAL

    @property
    def current(self) -> RunStatus:
        """This status, or for a legacy form the one that is written today."""
        return _CURRENT.get(self, self)


_TERMINAL = frozenset(
    {RunStatus.COMPLETED, RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELED}
)
_CURRENT = {RunStatus.SLEEPING: RunStatus.RUNNING, RunStatus.SUCCEEDED: RunStatus.COMPLETED}


class StepKind(StrEnum):
    """The kind of a step: it calls a function, or it waits."""

    FUNCTION = "function"
    SLEEP = "sleep"
    WORKFLOW = "workflow"
    SIGNAL_SEND = "signal-send"
    SIGNAL_WAIT = "signal-wait"


class StepStatus(StrEnum):
    """The status of one attempt of a step."""

    RUNNING = "running"
    COMPLETED = "completed"
    SUCCEEDED = "succeeded"  # legacy form of completed; read, never written
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ChildRunState:
    """The run that a ``workflow`` step started, as the database last showed it.

    ``output`` and ``error`` are decoded JSON values.
    """

    run_id: str
    status: str
    output: Any = None
    error: Any = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Signal(Generic[T]):
    """A signal that a step waited for and received, with its ``data``."""

    data: T


@dataclass(frozen=True, slots=True)
class DeliveredSignal:
    """A signal that was delivered to a ``signal-wait`` step; ``data`` is decoded JSON.

    ``id`` is the id of the delivery.
    """

    data: Any
    id: str


@dataclass(frozen=True, slots=True)
class RecordedAttempt:
    """One row of ``step_attempts``; ``context``, ``output`` and ``error`` are decoded JSON.

    ``answer`` is the child run of a ``workflow`` step or the signal of a ``signal-wait`` step. It
    is None until the child run is started or the signal is delivered.
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
        """Whether a crash interrupted this attempt: a call that began and has no end.

        A later execution decides nothing by such a row. The row does not count towards the step
        limit.
        """
        return self.kind in _CALLS and self.status not in _ENDED


_CALLS = frozenset({StepKind.FUNCTION, StepKind.SIGNAL_SEND})
_ENDED = frozenset({StepStatus.COMPLETED, StepStatus.SUCCEEDED, StepStatus.FAILED})


@dataclass(frozen=True, slots=True)
class ClaimedRun:
    """A run that this worker owns until its lease ends.

    ``claimed_at`` is the time of the claim by the database's clock. ``claim_sent`` and
    ``claim_answered`` are time.monotonic() just before the claim and when its answer had arrived,
    in seconds; all processes of a host share that clock. The lease is counted from the first, so
    that it never ends later here than in the database. Times are counted from the second, so that
    they never run ahead of the database: a host with a wrong clock neither wakes early nor spins,
    and no deadline passes early.

    ``first`` says that no history can exist. ``suspect`` says that a process died while it held
    this run together with others: the run gets a process of its own. ``input_json`` is None for
    SQL NULL, and for an input too large for the pipe (``input_stored``). ``carrier`` names the span
    that started the run, if there is one.
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
    claim_answered: float
    deadline_at: datetime | None
    first: bool
    suspect: bool
    carrier: dict[str, str] | None = None


# --- writes of a child process -------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewChildRun:
    """A run for a ``workflow`` step to start, or the successor of a run that continues as new.

    ``input_json`` is encoded JSON, None for null. ``context`` holds the trace carrier of a run for
    a step; a successor has that of the run which continues. ``config`` holds options of the run; a
    successor without has those of the run which continues, and always its ``attributes``.
    """

    run_id: str
    workflow_name: str
    version: str | None
    input_json: bytes | None
    context: dict[str, Any] | None = None
    config: dict[str, Any] | None = None
    attributes: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class StepWrite:
    """Insert a step attempt, or move the stored attempt of this id out of ``running``.

    ``output_json`` is encoded JSON; None and ``b"null"`` are stored as SQL NULL. Times are on the
    database's clock. The run ``child`` starts in the same transaction, and ``attributes`` of the
    run are changed in it: None removes one.
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
    attributes: dict[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class Complete:
    """The run completes with this output (encoded JSON)."""

    output_json: bytes | None


@dataclass(frozen=True, slots=True)
class Park:
    """Park the run until ``until``; it waits in the database.

    ``awaits`` are the ids of the step attempts that wait for a child run or a signal. When one of
    them has its answer by now, the run is due at once. ``signals`` are the ids among them that
    wait for a signal.
    """

    until: datetime
    awaits: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Retry:
    """Release the run, to be retried at ``at``.

    ``counts`` says that the workflow function itself failed, which uses up one of the workflow's
    attempts. The retry of a step does not.
    """

    at: datetime
    error: StoredError
    counts: bool


@dataclass(frozen=True, slots=True)
class Fail:
    """The run fails, without a further retry.

    ``no_retry_reason`` goes to the log of a run that had retries left; it is not stored.
    """

    error: dict[str, Any]
    no_retry_reason: str | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Release:
    """Release the run, due now, because this process must stop."""


@dataclass(frozen=True, slots=True)
class ContinueAsNew:
    """The run completes without an output, and ``successor`` begins in the same transaction."""

    successor: NewChildRun


Outcome = Complete | Park | Retry | Fail | Release | ContinueAsNew


@dataclass(frozen=True, slots=True)
class WriteSet:
    """Writes on one run, committed together or not at all, behind the fence of ``worker_id``.

    ``first`` says that this is the run's first claim: no failure and no crash of the run can be
    recorded, so none must be deleted when it ends.
    """

    run_id: str
    worker_id: str
    steps: tuple[StepWrite, ...] = ()
    outcome: Outcome | None = None
    first: bool = False
