"""The effects that steps yield for a driver to perform. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from owsuper.core.decisions import Wait
from owsuper.core.model import ChildRunState, DeliveredSignal, NewChildRun, StepKind, StepWrite

if TYPE_CHECKING:
    from owsuper.core.limits import Rate


@dataclass(frozen=True, slots=True)
class Flush:
    """Make everything recorded so far durable before the step goes on."""


@dataclass(frozen=True, slots=True)
class MarkUndo:
    """Note with the run that steps of it have undos. Durable before the first of them begins."""


@dataclass(frozen=True, slots=True)
class TakeTurn:
    """Take a token of ``limit`` for the step ``key``, which is about to begin.

    The answer is None if the step may begin, the time of its turn if it has to wait, or a CallError
    if the limit has no key for this run, or is none of steps.
    """

    key: str
    limit: Rate


@dataclass(frozen=True, slots=True)
class Call:
    """Call the step's function. The answer is CallResult or CallError.

    ``timeout`` is in seconds. ``signal`` is what a ``signal-send`` step sends. ``context`` is that
    of the attempt.
    """

    key: str
    attempt_id: str
    function: Callable[..., Any]
    kind: StepKind = StepKind.FUNCTION
    timeout: float | None = None
    signal: str | None = None
    context: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Transact:
    """Make the call in a transaction that stores the write of its result as well.

    The function takes the connection, or what ``source`` opens in its place. ``complete`` turns the
    result into its write, and into the output as the database will return it. The answer is Stored.
    If nothing was stored, it is CallError, or CallResult for a result that ``complete`` refused.
    """

    call: Call
    source: Any
    complete: Callable[[Any], tuple[StepWrite, Any]]


@dataclass(frozen=True, slots=True)
class Record:
    """Store this write before the next step's function starts."""

    write: StepWrite


@dataclass(frozen=True, slots=True)
class Pause:
    """Block this branch until ``wait.until``, or unwind it when every branch of the run waits.

    A wait for an answer may end earlier, so that the step looks for the answer.
    """

    wait: Wait


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """Read the answer of the attempt. The answer is ChildRunState, DeliveredSignal or None."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class ReadChildInput:
    """Read the input of the attempt's child run. The answer is its JSON; None for null."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class EnsureChildRun:
    """Find the child run of the attempt, or start ``child``. The answer is its ChildRunState.

    The attempt has no child run when its process died between the two writes. (owsuper writes both
    in one transaction; another implementation may not.)
    """

    attempt_id: str
    child: NewChildRun


@dataclass(frozen=True, slots=True)
class SkipSignal:
    """Set aside the signal that was delivered to the attempt, and keep it with the reason.

    The answer is the DeliveredSignal that takes its place, or None.
    """

    attempt_id: str
    step_name: str
    signal: str
    delivery_id: str
    reason: str


Effect = (
    Flush
    | MarkUndo
    | TakeTurn
    | Call
    | Transact
    | Record
    | Pause
    | ReadAnswer
    | ReadChildInput
    | EnsureChildRun
    | SkipSignal
)


@dataclass(frozen=True, slots=True)
class CallResult:
    """The function returned ``value``."""

    value: Any


@dataclass(frozen=True, slots=True)
class CallError:
    """The function raised ``exception``."""

    exception: BaseException


@dataclass(frozen=True, slots=True)
class Stored:
    """The function returned, and its transaction is committed."""

    write: StepWrite
    output: Any


@dataclass(frozen=True, slots=True)
class ClaimOver:
    """The run is no longer this process's, so its transaction is rolled back. For drivers alone."""


Answer = CallResult | CallError | Stored | ChildRunState | DeliveredSignal | datetime | bytes | None
"""The answer of a driver: None to an effect whose docstring names no answer."""
