"""What the step protocol asks its driver to perform. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owsuper.core.decisions import Wait
from owsuper.core.model import ChildRunState, DeliveredSignal, NewChildRun, StepKind, StepWrite


@dataclass(frozen=True, slots=True)
class Flush:
    """Make everything recorded so far durable before going on."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call the step's function; answer Value or Threw."""

    key: str
    attempt_id: str
    function: Callable[[], Any]
    kind: StepKind = StepKind.FUNCTION


@dataclass(frozen=True, slots=True)
class Record:
    """Store this soon: at the latest before the next step's function starts."""

    write: StepWrite


@dataclass(frozen=True, slots=True)
class Pause:
    """Block this branch until ``wait.until``, or unwind it when the whole run waits.

    A wait for an answer may be interrupted from time to time, to look whether it is there.
    """

    wait: Wait


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """Read what the attempt of this id waits for; answer ChildState, Delivery or None."""

    attempt_id: str


@dataclass(frozen=True, slots=True)
class EnsureChildRun:
    """Find the child that the attempt of this id has started, or else start ``child``; answer its
    ChildState. Somebody wrote the attempt and died before the two were linked.
    """

    attempt_id: str
    child: NewChildRun


Effect = Flush | Call | Record | Pause | ReadAnswer | EnsureChildRun


@dataclass(frozen=True, slots=True)
class Value:
    value: Any


@dataclass(frozen=True, slots=True)
class Threw:
    exception: BaseException


Answer = Value | Threw | ChildRunState | DeliveredSignal | None
"""What a driver answers: None to an effect that says nothing of an answer."""
