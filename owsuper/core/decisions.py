"""The decisions of a replay about a step or a run. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from owsuper.core.model import RecordedAttempt, StepWrite
from owsuper.errors import StepLimitExceeded
from owsuper.stored_error import StoredError


@dataclass(frozen=True, slots=True)
class Recall:
    """The step is completed; ``output`` is its recorded output (a JSON value)."""

    output: Any


@dataclass(frozen=True, slots=True)
class Execute:
    """Call the step's function; ``number`` counts its attempts from 1."""

    attempt_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """The step waits until ``until``. ``write`` records a wait that is not recorded yet.

    ``error`` is set for the pause before a retry. ``awaits`` is the id of a step attempt whose
    answer may end the wait earlier: the end of a child run or, with ``for_signal``, a signal.
    """

    until: datetime
    write: StepWrite | None = None
    error: StoredError | None = None
    awaits: str | None = None
    for_signal: bool = False


@dataclass(frozen=True, slots=True)
class Elapsed:
    """The recorded wait is over; ``write`` completes it."""

    write: StepWrite


@dataclass(frozen=True, slots=True)
class Begin:
    """No attempt of this wait is recorded; begin it as the attempt of this id."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class Await:
    """The wait is recorded; ``attempt`` holds its answer, if there is one yet."""

    attempt: RecordedAttempt


@dataclass(frozen=True, slots=True)
class Reject:
    """The step's retries are exhausted; ``error`` is that of its last attempt."""

    error: StoredError
    attempt: RecordedAttempt | None = None


@dataclass(frozen=True, slots=True)
class OverLimit:
    """One more attempt would exceed the step limit; the run fails."""

    limit: int
    count: int

    def stored_error(self) -> dict[str, Any]:
        """Return the error to store with the run, with the text of OpenWorkflow for TypeScript."""
        return {
            "name": StepLimitExceeded.STORED_NAME,
            "message": f"Exceeded the step limit of {self.limit} attempts "
            f"(current count: {self.count})",
            "code": "STEP_LIMIT_EXCEEDED",
            "limit": self.limit,
            "stepCount": self.count,
        }


@dataclass(frozen=True, slots=True)
class Diverged:
    """The code asks for something else than is recorded under this key; the run fails.

    ``recorded`` and ``asked`` are kinds of steps, or purposes of a wait with ``message``.
    ``input_of`` is the id of a recorded attempt that differs in nothing but its input.
    """

    key: str
    recorded: str
    asked: str
    message: str | None = None
    input_of: str | None = None


# --- the end of user code ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Returned:
    """The workflow function returned; ``output_json`` is encoded JSON."""

    output_json: bytes | None


@dataclass(frozen=True, slots=True)
class Raised:
    """The workflow function raised; ``final`` says that no retry can help."""

    error: StoredError
    final: bool = False
