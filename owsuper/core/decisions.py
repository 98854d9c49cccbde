"""What the replay concludes about a step or a run. Data only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from owsuper.core.model import RecordedAttempt, StepWrite
from owsuper.stored_error import StoredError


@dataclass(frozen=True, slots=True)
class Recall:
    """The step is done; this is its recorded output (a JSON value)."""

    output: Any


@dataclass(frozen=True, slots=True)
class Execute:
    """Call the step's function; ``number`` counts its attempts from 1."""

    attempt_id: str
    number: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before ``until``. ``write`` records a wait that is not recorded yet.

    ``error`` is set where the wait is the pause before a retry. ``awaits`` is the id of the
    step attempt when something may come before: the end of a child or, ``for_signal``, a signal.
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
    """Nothing is recorded of this wait; it is to begin, as the attempt of this id."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class Await:
    """The wait is recorded, with what is known of its answer."""

    attempt: RecordedAttempt


@dataclass(frozen=True, slots=True)
class Reject:
    """The step's retries are exhausted; this is the error of its last attempt, and that attempt."""

    error: StoredError
    attempt: RecordedAttempt | None = None


@dataclass(frozen=True, slots=True)
class OverLimit:
    """One more attempt would exceed the step limit; the run fails."""

    limit: int
    count: int


@dataclass(frozen=True, slots=True)
class Diverged:
    """The code asks for another kind of step than is recorded under this key; the run fails."""

    key: str
    recorded: str
    asked: str


# How user code ended, as the engine saw it.


@dataclass(frozen=True, slots=True)
class Returned:
    output_json: bytes | None


@dataclass(frozen=True, slots=True)
class Raised:
    """``final``: raising again would be certain, so no retry policy applies."""

    error: StoredError
    final: bool = False
