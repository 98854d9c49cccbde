"""Children whose pipe is closed, and whose wait status has not arrived yet."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState
from owsuper.supervisor.exit_status import Evidence, is_exiting

# Seconds from the EOF of a child's pipe until the wait status is no longer expected.
_TIMEOUT: Final = 0.02
_TIMEOUT_IF_EXITING: Final = 2.0
_UNREACHABLE: Final = "it closed its pipe to the supervisor"


class LostChildren:
    """Has those of the ``children`` reaped whose wait status does not arrive in time.

    The wait status of an exiting process is expected for longer: a busy machine is slow. A process
    that still runs has closed its pipe and cannot be reached, so it is killed.
    """

    def __init__(
        self,
        loop: Loop,
        children: Mapping[int, Child],
        reap: Callable[[Child, Evidence], None],
    ) -> None:
        self._children = children
        self._reap = reap
        self._timer = loop.timers.add("wait for evidence", self._reap_overdue)

    def on_lost(self, _child: Child) -> None:
        """Note that the pipe of a child is closed."""
        self._timer.at_latest(time.monotonic() + _TIMEOUT)

    def close(self) -> None:
        """Reap no more children."""
        self._timer.cancel()

    def _reap_overdue(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.state is not ChildState.LOST or child.lost_at is None:
                continue
            exiting = child.pid is not None and is_exiting(child.pid)
            timeout = _TIMEOUT_IF_EXITING if exiting else _TIMEOUT
            if now < child.lost_at + timeout:
                self._timer.at_latest(now + _TIMEOUT)
                continue
            if not exiting and child.cause_of_kill is None:
                child.cause_of_kill = _UNREACHABLE
            child.kill(signal.SIGKILL)
            self._reap(child, Evidence(child.pid))
