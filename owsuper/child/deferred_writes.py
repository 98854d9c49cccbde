"""Delays writing a step's result for about 2 ms, so that it can share a commit.

A step's result usually shares its commit with the next write of the run, such as the outcome. If
there is no other write within that time, the result is written alone.
"""

from __future__ import annotations

from typing import Final, Protocol

from owsuper.child.threads import ThreadPool
from owsuper.child.timers import DelayedCalls, Sweep
from owsuper.core.model import StepWrite

_PERIOD: Final = 0.002  # seconds; a result waits between one and two periods
# Few, since each wakes the process. Beside many other processes, that is what a short run costs
# most.
_IDLE_PERIODS: Final = 3


class DefersWrites(Protocol):
    """An execution with recorded results. Any thread may call its methods."""

    def has_unwritten(self, write: StepWrite) -> bool:
        """Whether ``write`` is recorded and not yet sent to the database."""
        ...

    def flush_deferred(self) -> None:
        """Write the recorded results."""
        ...


class DeferredWrites:
    """Flushes executions soon after they record a result, unless it is written by then."""

    def __init__(self, timers: DelayedCalls, threads: ThreadPool) -> None:
        self._threads = threads
        self._new: list[tuple[DefersWrites, StepWrite]] = []
        self._due: list[tuple[DefersWrites, StepWrite]] = []
        self._sweep = Sweep(timers, _PERIOD, self._flush_due, idle_periods=_IDLE_PERIODS)

    def expect(self) -> None:
        """Be ready for results soon: a run begins. In the loop's thread, so nothing must be woken.

        Otherwise the first result of a short run wakes the loop just before its commit.
        """
        self._sweep.arm()

    def add(self, owner: DefersWrites, write: StepWrite) -> None:
        """Flush ``owner`` soon, in another thread, if ``write`` is still unwritten then."""
        self._new.append((owner, write))
        self._sweep.arm()

    def _flush_due(self) -> bool:
        due, self._due, self._new = self._due, self._new, []
        for owner, write in due:
            if owner.has_unwritten(write):
                self._threads.submit(owner.flush_deferred)
        return bool(self._due)
