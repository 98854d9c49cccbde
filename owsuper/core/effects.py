"""What the step protocol asks its driver to perform. Data only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owsuper.core.decisions import Wait
from owsuper.core.model import StepWrite


@dataclass(frozen=True, slots=True)
class Settle:
    """Make everything recorded so far durable before going on."""


@dataclass(frozen=True, slots=True)
class Call:
    """Call the step's function; answer Value or Threw."""

    key: str
    attempt_id: str
    function: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Record:
    """Store this soon: at the latest before the next step's function starts."""

    write: StepWrite


@dataclass(frozen=True, slots=True)
class Pause:
    """Block this branch until ``wait.until``, or unwind it when the whole run waits."""

    wait: Wait


Effect = Settle | Call | Record | Pause


@dataclass(frozen=True, slots=True)
class Value:
    value: Any


@dataclass(frozen=True, slots=True)
class Threw:
    exception: BaseException
