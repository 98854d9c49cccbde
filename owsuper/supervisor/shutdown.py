"""Shutdown in stages: drain, stop, TERM, KILL, give up.

Each stage has a time-out, so that a shutdown always ends. What still runs at the end of the first
stage is logged by name, and again if it ends with its process.
"""

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
_KILL_TIMEOUT: Final = 5.0  # a killed process frees its memory before it is gone


class Shutdown:
    """Five stages: drain, stop, TERM, KILL, give up.

    A stage begins when the time-out of the stage before has passed and children are left.
    The time-out of the first stage is ``graceful_timeout`` seconds.
    """

    def __init__(self, loop: Loop, fleet: Fleet, graceful_timeout: float) -> None:
        self._fleet = fleet
        self._stages: list[tuple[Callable[[], None], float]] = [
            (self._drain, graceful_timeout),
            (self._stop, _STOP_TIMEOUT),
            (self._terminate, _TERM_TIMEOUT),
            (self._kill, _KILL_TIMEOUT),
            (self._give_up, 0.0),
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
        self._log_runs(logging.WARNING, "run is not finished; it stops at its next step")
        self._fleet.stop()

    def _terminate(self) -> None:
        if len(self._fleet):
            _log.warning("terminating children that do not stop: %d", len(self._fleet))
        self._fleet.kill(signal.SIGTERM)

    def _kill(self) -> None:
        if len(self._fleet):
            _log.warning("killing children that do not terminate: %d", len(self._fleet))
        self._log_runs(logging.WARNING, "run did not reach another step; it is killed and released")
        self._fleet.kill(signal.SIGKILL)

    def _give_up(self) -> None:
        """Leave processes that the kernel does not end, for example in a lost file system.

        They end without executing another instruction, so their runs may be released.
        """
        for child in self._fleet:
            _log.error("child does not end although it was killed", extra=child.log_fields())
        self._fleet.abandon()

    def _log_runs(self, level: int, message: str) -> None:
        for child in self._fleet:
            for slot, held in child.held.items():
                fields = child.log_fields(held) | {"step": child.steps_in_flight(slot)}
                _log.log(level, message, extra=fields)
