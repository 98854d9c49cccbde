"""What a run may report as its progress."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any, Final

from owsuper.core.names import is_storable

_LONGEST: Final = 500  # characters of a message


def checked_progress(done: Any, total: Any, message: Any) -> tuple[float, float | None, str | None]:
    """Return what was reported, if it is valid. Raises TypeError and ValueError."""
    amount = _number("done", done)
    if amount < 0:
        raise ValueError(f"set_progress: done must be 0 or more, not {done!r:.60}")
    whole = None if total is None else _number("total", total)
    if whole is not None and whole <= 0:
        raise ValueError(
            f"set_progress: total must be more than 0, not {total!r:.60}. Leave it out if it is"
            " not known."
        )
    if message is not None:
        if not isinstance(message, str):
            raise TypeError(f"set_progress: message must be text, not {type(message).__name__}")
        if len(message) > _LONGEST:
            raise ValueError(
                f"set_progress: message has {len(message):,} characters, and at most {_LONGEST} are"
                " possible"
            )
        if not is_storable(message):
            raise ValueError(
                "set_progress: message has characters that PostgreSQL cannot store (U+0000 or a"
                " lone surrogate)"
            )
    return amount, whole, message


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"set_progress: {name} must be a number, not {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"set_progress: {name} must be a finite number, not {value!r:.60}")
    return number
