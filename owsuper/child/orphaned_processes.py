"""Processes that outlive the child that started them, when the supervisor is dead, too.

While the supervisor lives, it ends them: ``owsuper.supervisor.leftovers``.
"""

from __future__ import annotations

import signal
import time
from typing import Final

from owsuper.sessions import members_left, signal_all

_KILL_AFTER: Final = 0.5  # seconds


class OrphanedProcesses:
    """Ends what is left of the sessions of dead children."""

    def __init__(self) -> None:
        self._sessions: list[int] = []

    def end(self, child: int) -> None:
        """Ask the processes to end that were started by the child with this pid, just reaped."""
        if left := members_left(child):
            signal_all(left, signal.SIGTERM)
            self._sessions.append(child)

    def finish(self) -> None:
        """Kill those that have not ended. Call this before the template exits."""
        if self._sessions:
            time.sleep(_KILL_AFTER)
        for child in self._sessions:
            signal_all(members_left(child), signal.SIGKILL)
