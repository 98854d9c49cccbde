"""Processes that steps started and that are left when the worker stops.

On Linux the supervisor adopts them when their parents end. The worker leaves them alone, since a
step may have started a service on purpose, but it names them.
"""

from __future__ import annotations

import logging
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from owsuper.event_loop import Loop

_log = logging.getLogger("owsuper.supervisor")

_GRACE: Final = 0.5  # seconds; trackers of multiprocessing notice the end of their process
_PERIOD: Final = 0.02  # seconds
_SHOWN: Final = 10  # processes that are named
_COMMAND_LENGTH: Final = 80  # characters


def await_end(loop: Loop) -> None:
    """Wait a moment for the children of this process to end, then warn of those that are left.

    Call this when no child and no template is left. ``loop`` must reap.
    """
    give_up_at = time.monotonic() + _GRACE
    tick = loop.timers.add("look for processes that are left", lambda: None, period=_PERIOD)
    tick.start()
    while (left := _children()) and time.monotonic() < give_up_at:
        loop.turn()
    loop.timers.drop(tick)
    if left:
        shown = [f"{pid} ({_command(pid)})" for pid in left[:_SHOWN]]
        more = f" and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        _log.warning("processes that steps started are left: %s%s", ", ".join(shown), more)


def _children() -> list[int]:
    """Return the children of this process; none if the kernel does not list them."""
    if sys.platform != "linux":
        return []
    with suppress(OSError):
        text = Path("/proc/thread-self/children").read_text(encoding="ascii")
        return [int(pid) for pid in text.split()]
    return []


def _command(pid: int) -> str:
    try:
        raw = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "ended"
    return raw.rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")[:_COMMAND_LENGTH]
