"""Step results that wait a moment for a common commit before they are written.

A step's result usually shares its commit with what follows at once: the end of the run. When
nothing follows within a couple of milliseconds, it is written by itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from owsuper.child.timers import DelayedCalls, Sweep
from owsuper.core.model import StepWrite

_PERIOD: Final = 0.002  # seconds; a result waits between one and two periods


class DefersWrites(Protocol):
    """An execution that has recorded results. Any thread may call its methods."""

    def has_unwritten(self, write: StepWrite) -> bool:
        """Whether ``write`` is recorded and not yet on its way to the database."""
        ...

    def flush_deferred(self) -> None:
        """Write what is recorded."""
        ...


class DeferredWrites:
    """The executions to flush soon, unless what they recorded is written by then."""

    def __init__(self, timers: DelayedCalls, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._new: list[tuple[DefersWrites, StepWrite]] = []
        self._due: list[tuple[DefersWrites, StepWrite]] = []
        self._sweep = Sweep(timers, _PERIOD, self._flush_due)

    def add(self, owner: DefersWrites, write: StepWrite) -> None:
        """Flush ``owner`` soon, in another thread, if ``write`` still waits by then."""
        self._new.append((owner, write))
        self._sweep.arm()

    def _flush_due(self) -> bool:
        due, self._due, self._new = self._due, self._new, []
        for owner, write in due:
            if owner.has_unwritten(write):
                self._threads.submit(owner.flush_deferred)
        return bool(self._due)
