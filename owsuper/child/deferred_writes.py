"""Results that wait a moment for company before they are written.

A step's result usually shares its commit with what follows at once: the end of the run. When
nothing follows within a couple of milliseconds, it is written by itself.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final, Protocol

from owsuper.child.timers import DelayedCalls, Sweep
from owsuper.core.model import StepWrite

_WAIT: Final = 0.002  # seconds; a result waits between one and two of these


class DefersWrites(Protocol):
    """A pass that has recorded results; both methods may be called from any thread."""

    def has_unwritten(self, write: StepWrite) -> bool:
        """Return whether ``write`` has not been written yet."""
        ...

    def flush_deferred(self) -> None:
        """Write everything that is deferred."""
        ...


class DeferredWrites:
    """Passes to flush soon, unless what they recorded is written by then."""

    def __init__(self, timers: DelayedCalls, threads: ThreadPoolExecutor) -> None:
        self._threads = threads
        self._young: list[tuple[DefersWrites, StepWrite]] = []
        self._old: list[tuple[DefersWrites, StepWrite]] = []
        self._sweep = Sweep(timers, _WAIT, self._look)

    def add(self, owner: DefersWrites, write: StepWrite) -> None:
        """Flush ``owner`` soon, in another thread, if ``write`` still waits by then."""
        self._young.append((owner, write))
        self._sweep.arm()

    def _look(self) -> bool:
        due, self._old, self._young = self._old, self._young, []
        for owner, write in due:
            if owner.has_unwritten(write):
                self._threads.submit(owner.flush_deferred)
        return bool(self._old)
