"""Stops executions whose run reaches its deadline while user code runs."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from owsuper.child.timers import Alarms, DelayedCalls
from owsuper.core.model import ClaimedRun


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
    """The executions in this child whose runs have a deadline."""

    def __init__(self, timers: DelayedCalls) -> None:
        self._alarms = Alarms(timers)

    def watch(self, execution: HasDeadline) -> None:
        """Stop ``execution`` when its deadline passes; at once if it has passed already."""
        deadline = execution.run.deadline_at
        if deadline is None:
            return
        left = (deadline - execution.now()).total_seconds()
        if left <= 0:
            execution.fail_at_deadline()
        else:
            self._alarms.set(execution, left, execution.fail_at_deadline)

    def forget(self, execution: HasDeadline) -> None:
        """Stop watching an execution that has ended."""
        if execution.run.deadline_at is not None:
            self._alarms.cancel(execution)
