"""``--hang-timeout``: children whose main thread gives no sign of life are replaced.

A child beats from its main thread, which does nothing but wait for messages and timers. If it does
not, a step holds the GIL, or the process is stopped. Its leases may be renewed all the same: by the
supervisor. Work in C that keeps the GIL for long is legitimate, so this is off by default.

Only time in which this process itself ran counts: after a pause of the whole machine, children
need a moment, too.
"""

from __future__ import annotations

import logging
import signal
import time
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.fleet import Fleet

_LOOKS: Final = 10  # in a time-out
_DUMP_TIME: Final = 0.5  # seconds for a child to write its stacks

_log = logging.getLogger("owsuper.supervisor")


class HangWatch:
    """Kills the children of ``fleet`` that give no sign of life for ``timeout`` seconds."""

    def __init__(self, loop: Loop, fleet: Fleet, timeout: float) -> None:
        self._fleet = fleet
        self._timeout = timeout
        self._period = timeout / _LOOKS
        self._looked_at = time.monotonic()
        self._hung: list[Child] = []
        self._kill_timer = loop.timers.add("kill children that hang", self._kill)
        loop.timers.add("look for children that hang", self._look, period=self._period).start()

    def _look(self) -> None:
        now = time.monotonic()
        passed, self._looked_at = min(now - self._looked_at, 2 * self._period), now
        for child in self._fleet:
            # Without a run, a child that drains may be in functions of the application, which
            # have a time limit of their own.
            if child.state is ChildState.READY or (child.serving and child.held):
                child.silent += passed
                if child.silent >= self._timeout and child not in self._hung:
                    self._dump(child)

    def _dump(self, child: Child) -> None:
        _log.error(
            "child has given no sign of life for %g s; it is killed, and its stacks follow",
            self._timeout,
            extra=child.log_fields(),
        )
        self._hung.append(child)
        child.cause_of_kill = f"no sign of life for {self._timeout:g} s"
        child.keep_stacks()
        self._kill_timer.at_latest(time.monotonic() + _DUMP_TIME)

    def _kill(self) -> None:
        hung, self._hung = self._hung, []
        for child in hung:
            if child.silent >= self._timeout:
                child.kill(signal.SIGKILL)
            else:
                child.cause_of_kill = None
