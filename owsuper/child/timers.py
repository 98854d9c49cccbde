"""Calls at a later time, in the child's main thread: running rows, deferred writes, retries."""

from __future__ import annotations

import heapq
import itertools
import logging
import math
import threading
import time
from collections.abc import Callable
from typing import Final

from owsuper.event_loop import NEVER, Loop, Waker

_log = logging.getLogger("owsuper.child")

_LONGEST_PAUSE: Final = 3600.0  # seconds between two checks; a timer cannot wait for millennia


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


class Alarms:
    """Calls at a later time that can be canceled, as most of them are, long before they are due.

    A delayed call cannot be canceled. So there is one delayed call, for the earliest alarm, and no
    call refers to what is canceled.
    """

    def __init__(self, calls: DelayedCalls) -> None:
        self._calls = calls
        self._lock = threading.Lock()
        self._alarms: dict[object, tuple[float, Callable[[], object]]] = {}
        self._next_check = math.inf  # time.monotonic(), as in the alarms

    def set(self, key: object, seconds: float, function: Callable[[], object]) -> None:
        """Call ``function`` in ``seconds``, in place of an earlier alarm of this ``key``.

        Safe from any thread. The function must not block.
        """
        when = time.monotonic() + seconds
        with self._lock:
            self._alarms[key] = (when, function)
            self._schedule_check(when)

    def cancel(self, key: object) -> None:
        """Cancel the alarm of this key, if there is one."""
        with self._lock:
            self._alarms.pop(key, None)

    def _schedule_check(self, when: float) -> None:
        """Schedule a check for an alarm, unless one comes before it. The caller holds the lock."""
        now = time.monotonic()
        when = min(when, now + _LONGEST_PAUSE)
        if when < self._next_check:
            self._next_check = when
            self._calls.call_later(when - now, self._check)

    def _check(self) -> None:
        now = time.monotonic()
        with self._lock:
            due = [(key, call) for key, (when, call) in self._alarms.items() if when <= now]
            for key, _ in due:
                del self._alarms[key]
            if self._next_check <= now:
                self._next_check = math.inf
            if self._alarms:
                self._schedule_check(min(when for when, _ in self._alarms.values()))
        for _, function in due:
            function()


class Sweep:
    """Calls ``function`` every ``period`` seconds as long as there is work.

    ``function`` returns whether there was or is work. Without work, the sweep continues for a few
    periods, ``idle_periods``. So arming it at every step is cheap, and does not wake the loop in a
    quick sequence of steps.
    """

    def __init__(
        self,
        calls: DelayedCalls,
        period: float,
        function: Callable[[], bool],
        *,
        idle_periods: int,
    ) -> None:
        self._most_idle_periods = idle_periods
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
        if self._idle_periods < self._most_idle_periods:
            self.arm()
        else:
            self._idle_periods = 0
