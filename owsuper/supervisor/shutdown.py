"""Shutdown in stages: drain, stop, TERM, KILL."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.fleet import Fleet

_log = logging.getLogger("owsuper.supervisor")

# Seconds.
_STOP_TIMEOUT: Final = 2.0  # children reach a step boundary and release their runs
_STOP_NOW_TIMEOUT: Final = 0.5
_TERM_TIMEOUT: Final = 0.5


class Shutdown:
    """Four stages: drain, stop, TERM, KILL.

    A stage begins when the time-out of the stage before has passed and children are left.
    The time-out of the first stage is ``graceful_timeout`` seconds.
    """

    def __init__(self, loop: Loop, fleet: Fleet, graceful_timeout: float) -> None:
        self._fleet = fleet
        self._stages: list[tuple[Callable[[], None], float]] = [
            (self._drain, graceful_timeout),
            (self._stop, _STOP_TIMEOUT),
            (self._terminate, _TERM_TIMEOUT),
            (self._kill, _TERM_TIMEOUT),
        ]
        self._begun_stages = 0
        self._timer = loop.timers.add("next stage of shutdown", self._begin_next)

    @property
    def begun(self) -> bool:
        """Whether the shutdown has begun."""
        return self._begun_stages > 0

    def begin(self) -> None:
        """Begin with the first stage, unless the shutdown has begun."""
        if not self.begun:
            self._begin_next()

    def stop_now(self) -> None:
        """Begin the next stage without waiting for runs to finish."""
        self._stages[1] = (self._stop, _STOP_NOW_TIMEOUT)
        if not self.begun:
            self._begin_next()
        self._begin_next()

    def _begin_next(self) -> None:
        if self._begun_stages < len(self._stages):
            begin, timeout = self._stages[self._begun_stages]
            self._begun_stages += 1
            begin()
            self._timer.after(timeout)

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
