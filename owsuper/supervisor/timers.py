"""Duties with a due time. The loop sleeps until the earliest and runs those that are due."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final

NEVER: Final = float("inf")


class Timer:
    """One named duty. ``due`` is a ``time.monotonic`` moment; NEVER while it is off.

    With a ``period`` it is due again so long after each run.
    """

    def __init__(self, name: str, run: Callable[[], None], *, period: float | None = None) -> None:
        self.name = name
        self.due = NEVER
        self._run = run
        self._period = period

    def start(self) -> None:
        """Due one period from now."""
        assert self._period is not None, f"{self.name} has no period"
        self.due = time.monotonic() + self._period

    def after(self, seconds: float) -> None:
        """Due so long from now, whatever it was before."""
        self.due = time.monotonic() + seconds

    def at_latest(self, moment: float) -> None:
        """Due at ``moment`` unless it is due earlier."""
        self.due = min(self.due, moment)

    def cancel(self) -> None:
        self.due = NEVER

    def fire(self, now: float) -> None:
        self.due = NEVER if self._period is None else now + self._period
        self._run()

    def __repr__(self) -> str:
        return f"<Timer {self.name!r} due {self.due:.3f}>"


class Timers:
    """All duties of one loop."""

    def __init__(self) -> None:
        self._timers: list[Timer] = []

    def add(self, name: str, run: Callable[[], None], *, period: float | None = None) -> Timer:
        """A new timer, off until it is started. A Timer may be added or dropped at any time."""
        timer = Timer(name, run, period=period)
        self._timers.append(timer)
        return timer

    def drop(self, timer: Timer) -> None:
        timer.cancel()
        self._timers.remove(timer)

    def earliest(self) -> float:
        return min((timer.due for timer in self._timers), default=NEVER)

    def run_due(self) -> None:
        """Run what is due now, once each, earliest first."""
        now = time.monotonic()
        for timer in sorted((t for t in self._timers if t.due <= now), key=lambda t: t.due):
            if timer.due <= now:  # an earlier one may have moved it
                timer.fire(now)


class Backoff:
    """Growing delays with jitter, for what may fail many times in a row. Seconds."""

    def __init__(self, first: float, *, factor: float = 2.0, limit: float) -> None:
        self.failures = 0
        self._first = first
        self._factor = factor
        self._limit = limit

    def next(self) -> float:
        """Note a failure; how long to wait now, 50 to 100 % of the nominal delay."""
        nominal = min(self._first * self._factor ** min(self.failures, 64), self._limit)
        self.failures += 1
        return nominal * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        self.failures = 0
