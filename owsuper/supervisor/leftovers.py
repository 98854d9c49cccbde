"""Processes that steps have started, and that outlive the child that executed the step.

Each child leads a session of its own. What is left of the session ends with the child, however the
child ends: the step may be executed again elsewhere, and its first call must not go on in a process
that nobody knows. On Linux the supervisor adopts and reaps them.

A process that a step has put into another session (a service) is left alone, and it is named when
the worker stops.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from owsuper.event_loop import Loop
from owsuper.sessions import members_left, signal_all

_log = logging.getLogger("owsuper.supervisor")

# Seconds. Trackers of multiprocessing disregard TERM: they notice the end of their process, and
# then remove its shared memory.
_KILL_AFTER: Final = 0.5
_GIVE_UP_AFTER: Final = 5.0  # from then on; a process can be killed and not end
_LONGEST_WAIT: Final = 1.0  # for the end of all, when the worker stops
_PERIOD: Final = 0.02
_SHOWN: Final = 10  # processes that are named
_COMMAND_LENGTH: Final = 80  # characters


class Leftovers:
    """Ends what is left of the sessions of dead children."""

    def __init__(self, loop: Loop) -> None:
        self._kill_at: dict[int, float] = {}  # time.monotonic() by session
        self._timer = loop.timers.add("kill what a dead child left", self._kill_due)

    def end(self, child: int) -> None:
        """End the processes that were started by the child with this pid, which is dead."""
        if child == os.getpid():  # with --foreground
            return
        if left := members_left(child):
            _log.info("ending processes that steps of process %d left: %s", child, _describe(left))
        signal_all(left, signal.SIGTERM)
        self._kill_at[child] = time.monotonic() + _KILL_AFTER
        self._timer.at_latest(self._kill_at[child])

    def _kill_due(self) -> None:
        now = time.monotonic()
        for child, kill_at in list(self._kill_at.items()):
            if kill_at > now:
                self._timer.at_latest(kill_at)
                continue
            left = members_left(child)
            signal_all(left, signal.SIGKILL)
            if left and now < kill_at + _GIVE_UP_AFTER:
                self._timer.at_latest(now + _PERIOD)  # for those that were forked meanwhile
            else:
                del self._kill_at[child]


def await_end(loop: Loop) -> None:
    """Wait a moment for the children of this process to end, then warn of those that are left.

    Call this when no child and no template is left. ``loop`` must reap.
    """
    give_up_at = time.monotonic() + _LONGEST_WAIT
    tick = loop.timers.add("look for processes that are left", lambda: None, period=_PERIOD)
    tick.start()
    while (left := _adopted()) and time.monotonic() < give_up_at:
        loop.turn()
    loop.timers.drop(tick)
    if left:
        _log.warning("processes that steps started are left: %s", _describe(left))


def _adopted() -> list[int]:
    """Return the children of this process; none if the kernel does not list them."""
    if sys.platform != "linux":
        return []
    with suppress(OSError):
        text = Path("/proc/thread-self/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]
    return []


def _describe(pids: list[int]) -> str:
    shown = [f"{pid} ({_command(pid)})" for pid in pids[:_SHOWN]]
    more = f" and {len(pids) - _SHOWN} more" if len(pids) > _SHOWN else ""
    return ", ".join(shown) + more


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "ended"
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")[:_COMMAND_LENGTH]
