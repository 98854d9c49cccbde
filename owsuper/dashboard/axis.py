"""The axis of time of a timeline: the part of a run that is shown, its ticks, and its zoom.

All times are seconds since the run was created.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from owsuper.errors import ConfigurationError

LEAST: Final = 0.001
"""The shortest axis, in seconds: the tables keep milliseconds."""

MOST: Final = 3_155_760_000.0
"""The longest axis, in seconds: a hundred years."""

_TICKS: Final = 5  # about so many, as labels need room on a narrow screen
_STEPS: Final = (
    *(mantissa * 10.0**power for power in (-4, -3, -2, -1, 0) for mantissa in (1, 2, 5)),
    *(10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0),
    *(3600.0 * hours for hours in (1, 2, 3, 6, 12)),
    *(86400.0 * days for days in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)),
)


@dataclass(frozen=True, slots=True)
class Axis:
    """The time from ``start`` to ``end``, which is later."""

    start: float
    end: float

    @property
    def length(self) -> float:
        """The length in seconds; never zero."""
        return self.end - self.start

    def place(self, time: float) -> float:
        """Return where ``time`` is, in percent of the axis: from 0 to 100."""
        return min(100.0, max(0.0, (time - self.start) / self.length * 100.0))

    def shows(self, begin: float, end: float) -> bool:
        """Whether some of the time from ``begin`` to ``end`` is on the axis."""
        return begin <= self.end and end >= self.start

    def ticks(self) -> tuple[float, ...]:
        """Return round times on the axis, some five of them."""
        step = next((each for each in _STEPS if self.length / each <= _TICKS), _STEPS[-1])
        first, last = math.ceil(self.start / step), math.floor(self.end / step)
        if last - first > 4 * _TICKS:
            return ()
        return tuple(number * step for number in range(first, last + 1))

    def zoomed(self, factor: float, whole: Axis) -> Axis:
        """Return the axis of ``factor`` times the length around the same middle, in ``whole``."""
        length = min(max(self.length * factor, LEAST), whole.length)
        middle = (self.start + self.end) / 2
        return within(middle - length / 2, middle + length / 2, whole)

    def moved(self, share: float, whole: Axis) -> Axis:
        """Return the axis moved by ``share`` of its length, within ``whole``."""
        by = self.length * share
        return within(self.start + by, self.end + by, whole)


def axis(start: float, end: float) -> Axis:
    """Return the axis for these times, of ``LEAST`` seconds at least and ``MOST`` at most."""
    start = min(max(start, -MOST / 2), MOST / 2)
    return Axis(start, start + min(max(end - start, LEAST), MOST))


def within(start: float, end: float, whole: Axis) -> Axis:
    """Return the axis of this length, moved as little as needed to be within ``whole``."""
    length = min(max(end - start, LEAST), whole.length)
    start = max(whole.start, min(start, whole.end - length))
    return axis(start, start + length)


def read_zoom(start: str | None, end: str | None, whole: Axis) -> Axis:
    """Return the axis that a URL asks for with ``from`` and ``to``; None stands for an end.

    Raises ConfigurationError for what are no seconds, and for an end before its start.
    """
    first = whole.start if start is None else _seconds("from", start)
    last = whole.end if end is None else _seconds("to", end)
    if last <= first:
        raise ConfigurationError(
            f"the timeline cannot be shown from {first:g} to {last:g} seconds: give a later end in"
            " the address, or leave out ?from= and &to="
        )
    return axis(first, last)


def _seconds(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if math.isfinite(value) and abs(value) <= MOST:
        return value
    raise ConfigurationError(
        f"the timeline cannot be shown with {name}={text!r:.60}: give seconds since the run was"
        f" created, such as {name}=1.5"
    )
