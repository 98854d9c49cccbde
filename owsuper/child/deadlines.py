"""Stops passes whose run's deadline comes while its code executes."""

from __future__ import annotations

import math
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from owsuper.child.execution.base import Execution
    from owsuper.child.timers import TimerThread

_LONGEST: Final = 3600.0  # seconds between two looks; a timer cannot wait for thousands of years


class Deadlines:
    """The passes under way in this child whose runs have a deadline.

    The timekeeper takes nothing back, and most runs end long before their deadlines: so it is
    asked for a call at the earliest of them all, and never gets hold of a pass.
    """

    def __init__(self, timers: TimerThread) -> None:
        self._timers = timers
        self._lock = threading.Lock()
        self._watched: dict[Execution, float] = {}  # time.monotonic() of the deadline
        self._next_look = math.inf

    def watch(self, each: Execution) -> None:
        """Have ``each`` told when its deadline has passed; at once if that is so already."""
        deadline = each.run.deadline_at
        if deadline is None:
            return
        left = (deadline - each.now()).total_seconds()
        if left <= 0:
            each.expire()
            return
        with self._lock:
            self._watched[each] = time.monotonic() + left
            self._arm()

    def forget(self, each: Execution) -> None:
        """The pass is over."""
        if each.run.deadline_at is not None:
            with self._lock:
                self._watched.pop(each, None)

    def _arm(self) -> None:
        """See to it that somebody looks in time."""
        if not self._watched:
            return
        now = time.monotonic()
        when = min(now + _LONGEST, *self._watched.values())
        if when < self._next_look:
            self._next_look = when
            self._timers.call_later(when - now, self._look)

    def _look(self) -> None:
        """Tell those whose deadline has passed."""
        now = time.monotonic()
        with self._lock:
            due = [each for each, when in self._watched.items() if when <= now]
            for each in due:
                del self._watched[each]
            if self._next_look <= now:
                self._next_look = math.inf
            self._arm()
        for each in due:
            each.expire()
