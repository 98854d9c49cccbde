"""Faults that a test arranges for steps, by the name of the step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from owsuper.stored_error import EngineError


class Crashed(EngineError):
    """The process of a run is to be dead at this place."""


@dataclass
class StepFault:
    """Happens in the next ``times`` calls of the function of a step, in place of the call."""

    step: str
    happen: Callable[[], Any]
    times: int
    happened: int = field(default=0, init=False)


def fail(step: str, error: BaseException, *, times: int) -> StepFault:
    """Let the next ``times`` calls of the step's function raise ``error``."""

    def happen() -> Any:
        raise error

    return StepFault(step, happen, times)


def fail_once(step: str, error: BaseException) -> StepFault:
    """Let the next call of the step's function raise ``error``."""
    return fail(step, error, times=1)


def crash_in(step: str) -> StepFault:
    """Let the process die in the step's function, once. The run goes on in another process.

    What the function does before its process dies is up to the function: it is not called.
    """

    def happen() -> Any:
        raise Crashed(f"the test lets the process die in step {step!r}")

    return StepFault(step, happen, times=1)
