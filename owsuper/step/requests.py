"""What user code asked for, one kind of step each, as it wrote it: nothing is checked yet.

One of these is made for every call of a step, in every pass. They are not frozen because that
would make them three times as dear.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from owsuper.core.durations import Duration

if TYPE_CHECKING:
    from owsuper.core.retry import RetryPolicy
    from owsuper.workflow.definition import Workflow

Timeout: TypeAlias = Duration | datetime
"""How long to wait, or until when: a duration, or an aware datetime."""


@dataclass(slots=True)
class FunctionCall:
    """Call ``fn(*args)``; ``type`` is what its result comes back as."""

    name: str
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    retry: RetryPolicy | None
    type: Any


@dataclass(slots=True)
class Sleep:
    """Wait for ``duration``."""

    name: str
    duration: Duration


@dataclass(slots=True)
class SleepUntil:
    """Wait until ``when``."""

    name: str
    when: datetime


@dataclass(slots=True)
class ChildRunCall:
    """Run ``workflow`` as a child; ``type`` is what its result comes back as.

    ``name`` is the step's, here and below, if it has one of its own.
    """

    workflow: Workflow[Any, Any] | str
    input: Any
    name: str | None
    version: str | None
    timeout: Timeout | None
    type: Any


@dataclass(slots=True)
class SignalWait:
    """Wait for ``signal``; ``type`` is what its data comes back as."""

    signal: str
    timeout: Timeout | None
    type: Any
    name: str | None


@dataclass(slots=True)
class SignalSend:
    """Send ``signal`` with ``data``, and keep it when nobody waits if ``buffer``."""

    signal: str
    data: Any
    name: str | None
    buffer: bool


Request: TypeAlias = FunctionCall | Sleep | SleepUntil | ChildRunCall | SignalWait | SignalSend
