"""Calls at a later time, in the child's main thread: running rows, deferred writes, retries."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from owsuper.event_loop import NEVER, Loop, Waker

_log = logging.getLogger("owsuper.child")

_IDLE_PERIODS: Final = 16  # a sweep stops after this many periods without work


class DelayedCalls:
    """Calls functions at a later time in the thread of ``loop``; they must not block."""

    def __init__(self, loop: Loop, waker: Waker) -> None:
        self._timer = loop.timers.add("delayed calls", self._run_due)
        self._waker = waker
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._lock = threading.Lock()
        self._loop_thread: int | None = None

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call ``function`` in ``seconds``. Safe from any thread; the call cannot be canceled."""
        when = time.monotonic() + seconds
        with self._lock:
            heapq.heappush(self._due, (when, next(self._number), function))
            is_earliest = self._due[0][0] == when
            if is_earliest:
                self._timer.due = when
        if is_earliest and threading.get_ident() != self._loop_thread:
            self._waker.wake()

    def _run_due(self) -> None:
        self._loop_thread = threading.get_ident()
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:
                _log.exception("a delayed call failed")

    def _next(self) -> Callable[[], object] | None:
        """Take the next function that is due; None, with the timer set, if there is none."""
        with self._lock:
            when = self._due[0][0] if self._due else NEVER
            if when <= time.monotonic():
                return heapq.heappop(self._due)[2]
            self._timer.due = when
        return None


class Sweep:
    """Calls ``function`` every ``period`` seconds as long as there is work.

    ``function`` returns whether there was or is work. Without work, the sweep continues for a few
    periods. So arming it at every step is cheap, and does not wake the loop in a quick sequence
    of steps.
    """

    def __init__(self, calls: DelayedCalls, period: float, function: Callable[[], bool]) -> None:
        self._calls = calls
        self._period = period
        self._function = function
        self._armed = False
        self._idle_periods = 0

    def arm(self) -> None:
        """Start the calls, if they have stopped. Safe from any thread."""
        if not self._armed:
            self._armed = True
            self._calls.call_later(self._period, self._tick)

    def _tick(self) -> None:
        self._armed = False
        self._idle_periods = 0 if self._function() else self._idle_periods + 1
        if self._idle_periods < _IDLE_PERIODS:
            self.arm()
        else:
            self._idle_periods = 0
