"""What is left of the session of a dead child: processes that its steps have started.

A child leads a session of its own. Process groups would not do: ``timeout`` and shells with job
control put what they start into groups of their own, and ``setsid`` is what makes a service.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable
from contextlib import suppress


def members_left(leader: int) -> list[int]:
    """Return the processes of the session of ``leader``, which is dead or dies.

    Where the kernel does not list processes, return its process group, as ``kill`` takes it.
    """
    if sys.platform == "linux":
        with suppress(OSError):
            names = os.listdir("/proc")  # noqa: PTH208 -- of all entries, only the names
            pids = [int(name) for name in names if name.isdigit()]
            return [pid for pid in pids if pid != leader and _session_of(pid) == leader]
    return [-leader]


def signal_all(processes: Iterable[int], number: signal.Signals) -> None:
    """Send a signal to what ``members_left`` has returned just now."""
    for process in processes:
        with suppress(OSError):  # it has ended, or runs as another user
            os.kill(process, number)


def _session_of(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None
