"""What crosses the doors between rooms: runs, step attempts, stored errors, and writes."""

from __future__ import annotations

import traceback
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Generic, TypeVar

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
class StoredError:
    """An error as stored in the ``error`` columns.

    ``final`` marks a step failure that no retry policy may repeat (a result that cannot be
    stored, say): it is written as an extra member, which other readers ignore. ``why_final`` is
    for the log alone: it is not stored.
    """

    message: str
    name: str | None = None
    stack: str | None = None
    final: bool = False
    why_final: str | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_exception(
        cls, exc: BaseException, *, final: bool = False, why_final: str | None = None
    ) -> StoredError:
        """Name, message and traceback of ``exc``, made fit for a jsonb column; never raises."""
        try:
            message = str(exc)
        except BaseException as broken:  # user code: its __str__ may fail like any other
            message = f"(its text cannot be had: {type(broken).__name__} in __str__)"
        try:
            stack = "".join(traceback.format_exception(exc))
        except BaseException:
            stack = ""
        return cls(
            message=_storable(message),
            name=type(exc).__name__,
            stack=_storable(stack) or None,
            final=final,
            why_final=why_final,
        )

    @classmethod
    def from_json(cls, value: Any) -> StoredError:
        """Read whatever any implementation may have stored; never raises."""
        if not isinstance(value, dict):
            return cls(message="" if value is None else str(value))
        name, stack = value.get("name"), value.get("stack")
        message = value.get("message")
        return cls(
            message=message if isinstance(message, str) else "",
            name=name if isinstance(name, str) and name else None,
            stack=stack if isinstance(stack, str) and stack else None,
            final=value.get("final") is True,
        )

    def summary(self) -> str:
        """Name and message on one line, for a log."""
        text = " ".join(self.message.split())
        text = f"{self.name}: {text}" if self.name else text
        return text if len(text) <= 200 else f"{text[:197]}..."

    def to_json(self) -> dict[str, Any]:
        value: dict[str, Any] = {"message": self.message}
        if self.name is not None:
            value["name"] = self.name
        if self.stack is not None:
            value["stack"] = self.stack
        if self.final:
            value["final"] = True
        return value


_MAX_CHARACTERS = 16_384


def _storable(text: str) -> str:
    """``text`` without what jsonb refuses (U+0000, lone surrogates) nor the middle of too much."""
    if excess := max(0, len(text) - _MAX_CHARACTERS):
        half = _MAX_CHARACTERS // 2
        text = f"{text[:half]}\n... {excess} characters left out ...\n{text[-half:]}"
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode("utf-8")


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
class Delivery:
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
    answer: ChildRunState | Delivery | None = None

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

    ``not_retried`` tells the log why not, where retries were left; it is not stored.
    """

    error: dict[str, Any]
    not_retried: str | None = field(default=None, repr=False, compare=False)


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
