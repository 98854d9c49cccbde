"""One thread that calls back later: late markers, deferred writes, resumed branches."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("owsuper.child")

_IDLE: Final = 16  # periods without anything to do, after which a sweep rests


class TimerThread:
    """Calls functions at a later time, in its own thread; they must not block."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._number = itertools.count()
        self._changed = threading.Condition()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="owsuper-timekeeper", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread; what was due later is forgotten."""
        with self._changed:
            self._stopped = True
            self._changed.notify()
        self._thread.join()

    def call_later(self, seconds: float, function: Callable[[], object]) -> None:
        """Call ``function`` in ``seconds``; there is no taking it back."""
        when = time.monotonic() + seconds
        with self._changed:
            heapq.heappush(self._due, (when, next(self._number), function))
            if self._due[0][0] == when:
                self._changed.notify()

    def _run(self) -> None:
        while (function := self._next()) is not None:
            try:
                function()
            except Exception:
                _log.exception("a timed duty failed")

    def _next(self) -> Callable[[], object] | None:
        """What is due next, once it is; None when stopped."""
        with self._changed:
            while not self._stopped:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None


class Sweep:
    """Calls ``function`` every ``period`` seconds for as long as there is something to do.

    It goes on for a few periods longer: so that arming it at every step, as its users do,
    costs next to nothing and never wakes the timekeeper's thread while steps follow on each
    other. ``function`` says whether there was or is anything to do.
    """

    def __init__(self, timers: TimerThread, period: float, function: Callable[[], bool]) -> None:
        self._timers = timers
        self._period = period
        self._function = function
        self._armed = False
        self._idle = 0

    def arm(self) -> None:
        if not self._armed:
            self._armed = True
            self._timers.call_later(self._period, self._tick)

    def _tick(self) -> None:
        self._armed = False
        self._idle = 0 if self._function() else self._idle + 1
        if self._idle < _IDLE:
            self.arm()
        else:
            self._idle = 0
