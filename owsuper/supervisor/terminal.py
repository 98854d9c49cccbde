"""The terminal of this process: a HUP means another thing when that is closed."""

from __future__ import annotations

import os
import time
from typing import Final

from owsuper.event_loop import Loop

_PERIOD: Final = 1.0  # seconds between two looks
_HUP_FOLLOWS: Final = 5.0  # seconds; the kernel and shells send it at once


class Terminal:
    """The controlling terminal of this process, if it has one.

    The kernel takes the terminal from the processes of a session before it sends them the HUP. So
    a HUP is from the terminal if there was one until just now.
    """

    def __init__(self, loop: Loop) -> None:
        self._closed_at: float | None = None  # a ``time.monotonic`` moment
        self._open = _is_there()
        self._timer = loop.timers.add("look for the terminal", self._look, period=_PERIOD)
        if self._open:
            self._timer.start()

    @property
    def was_closed(self) -> bool:
        """Whether the terminal was closed just now."""
        self._look()
        return self._closed_at is not None and time.monotonic() - self._closed_at < _HUP_FOLLOWS

    def _look(self) -> None:
        if self._open and not _is_there():
            self._open = False
            self._closed_at = time.monotonic()
            self._timer.cancel()


def _is_there() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_NONBLOCK))
    except OSError:
        return False
    return True
