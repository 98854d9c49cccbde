"""Stops executions whose run reaches its deadline while user code runs."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime
from typing import Final, Protocol

from owsuper.child.timers import DelayedCalls
from owsuper.core.model import ClaimedRun

_LONGEST_PAUSE: Final = 3600.0  # seconds between two checks; a timer cannot wait for millennia


class HasDeadline(Protocol):
    """The part of an execution that concerns its deadline."""

    @property
    def run(self) -> ClaimedRun:
        """The run, which may have a deadline."""
        ...

    def now(self) -> datetime:
        """Return the time on the database's clock."""
        ...

    def fail_at_deadline(self) -> None:
        """Stop: the deadline has passed."""
        ...


class Deadlines:
    """The executions in this child whose runs have a deadline.

    A delayed call cannot be canceled, and most runs end long before their deadlines. So there
    is one delayed call for the earliest deadline, and no call refers to an execution.
    """

    def __init__(self, timers: DelayedCalls) -> None:
        self._timers = timers
        self._lock = threading.Lock()
        self._watched: dict[HasDeadline, float] = {}  # time.monotonic() of the deadline
        self._next_check = math.inf

    def watch(self, execution: HasDeadline) -> None:
        """Stop ``execution`` when its deadline passes; at once if it has passed already."""
        deadline = execution.run.deadline_at
        if deadline is None:
            return
        left = (deadline - execution.now()).total_seconds()
        if left <= 0:
            execution.fail_at_deadline()
            return
        with self._lock:
            self._watched[execution] = time.monotonic() + left
            self._schedule_check()

    def forget(self, execution: HasDeadline) -> None:
        """Stop watching an execution that has ended."""
        if execution.run.deadline_at is not None:
            with self._lock:
                self._watched.pop(execution, None)

    def _schedule_check(self) -> None:
        """Schedule a check at the earliest deadline, unless one comes before it."""
        if not self._watched:
            return
        now = time.monotonic()
        when = min(now + _LONGEST_PAUSE, *self._watched.values())
        if when < self._next_check:
            self._next_check = when
            self._timers.call_later(when - now, self._check)

    def _check(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [execution for execution, when in self._watched.items() if when <= now]
            for execution in due:
                del self._watched[execution]
            if self._next_check <= now:
                self._next_check = math.inf
            self._schedule_check()
        for execution in due:
            execution.fail_at_deadline()
