"""The time-outs of steps, and the error of an attempt that timed out."""

from __future__ import annotations

from typing import Any, Final

from owsuper.core.durations import Duration, milliseconds
from owsuper.errors import InvalidDuration, StepFailed, StepTimedOut
from owsuper.stored_error import StoredError

_NAME: Final = StepTimedOut.__name__
_LONGEST_MS: Final = milliseconds("100y")


def check_timeout(value: Duration, owner: str) -> float:
    """Return the seconds of a time-out. Raises InvalidDuration, which names the ``owner``."""
    try:
        ms = milliseconds(value)
    except InvalidDuration as error:
        raise InvalidDuration(f"{owner}: {error}") from None
    if not 0 < ms <= _LONGEST_MS:
        raise InvalidDuration(f"{owner}: {value!r} must be longer than zero and at most 100 years")
    return ms / 1000


def time_out_error(
    step: str, seconds: float, *, killed: bool = False, stack: str | None = None
) -> StoredError:
    """Return the error of an attempt that did not end within ``seconds``.

    ``killed`` says that the code did not stop, so that its process had to be killed.
    """
    message = f"Step {step!r} did not end within its timeout of {seconds:g} s"
    if killed:
        message += ", and did not stop, so its process was killed"
    return StoredError(message, name=_NAME, stack=stack)


def step_failure(step: str, error: StoredError) -> StepFailed:
    """Return the exception for user code after the last attempt, which failed with ``error``."""
    return StepTimedOut(step, error) if error.name == _NAME else StepFailed(step, error)


def timeout_of(value: Any, default: float | None, step: str) -> float | None:
    """Return the time-out of a step, in seconds: its own ``value``, or the ``default``."""
    return default if value is None else check_timeout(value, f"Step {step!r}: timeout")
