"""Stopping by degrees: ask politely, then less so."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.fleet import Fleet

_log = logging.getLogger("owsuper.supervisor")

_TO_STOP: Final = 2.0  # seconds to reach a step boundary and release
_TO_STOP_IN_A_HURRY: Final = 0.5
_TO_DIE: Final = 0.5  # of TERM


class Shutdown:
    """drain (until the graceful time-out) → stop → TERM → KILL. ``hurry`` takes the next step."""

    def __init__(self, loop: Loop, fleet: Fleet, graceful_timeout: float) -> None:
        self._fleet = fleet
        self._steps: list[tuple[Callable[[], None], float]] = [
            (self._drain, graceful_timeout),
            (self._stop, _TO_STOP),
            (self._terminate, _TO_DIE),
            (self._kill, _TO_DIE),
        ]
        self._taken = 0
        self._next = loop.timers.add("stop by degrees", self._take_next)

    @property
    def begun(self) -> bool:
        return self._taken > 0

    def begin(self) -> None:
        if not self.begun:
            self._take_next()

    def hurry(self) -> None:
        """Stop now: no more waiting for runs to finish."""
        self._steps[1] = (self._stop, _TO_STOP_IN_A_HURRY)
        if not self.begun:
            self._take_next()
        self._take_next()

    def _take_next(self) -> None:
        if self._taken < len(self._steps):
            step, patience = self._steps[self._taken]
            self._taken += 1
            step()
            self._next.after(patience)

    def _drain(self) -> None:
        _log.info("draining; runs to finish: %d", self._fleet.busy)
        self._fleet.drain()

    def _stop(self) -> None:
        if self._fleet.busy:
            _log.warning("stopping at the next step; runs: %d", self._fleet.busy)
        self._fleet.stop()

    def _terminate(self) -> None:
        if len(self._fleet):
            _log.warning("terminating children that do not stop: %d", len(self._fleet))
        self._fleet.kill(signal.SIGTERM)

    def _kill(self) -> None:
        if len(self._fleet):
            _log.warning("killing children that do not terminate: %d", len(self._fleet))
        self._fleet.kill(signal.SIGKILL)
