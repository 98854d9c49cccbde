"""Boot failures: children that die before they can be of use, and how long to wait after them."""

from __future__ import annotations

import logging
import time
from typing import Final

from owsuper.event_loop import Backoff

STABLE: Final = 5.0
"""Seconds after which the death of a child that is ready is no boot failure."""

_LONGEST_PAUSE: Final = 30.0  # seconds
_MOST_AT_START: Final = 3  # in a row, if no child was ever ready: nothing works here

_log = logging.getLogger("owsuper.supervisor")


class BootFailures:
    """The boot failures in a row.

    Children that were started together fail together: the pause grows once for all of them.
    """

    def __init__(self) -> None:
        self.in_a_row = 0
        self.next_start = 0.0
        """The ``time.monotonic`` moment at which children may be started again."""
        self._backoff = Backoff(0.1, limit=_LONGEST_PAUSE)
        self._paused_at = 0.0
        self._ever_ready = False
        self._recovered = True

    def __str__(self) -> str:
        return "" if self._recovered else f"failed starts in a row: {self.in_a_row}"

    @property
    def hopeless(self) -> bool:
        """Whether the first children have failed so often that the worker should end."""
        return not self._ever_ready and self.in_a_row >= _MOST_AT_START

    def on_ready(self, *, all_ready: bool) -> None:
        """Note that a child takes runs."""
        self._ever_ready = True
        if all_ready and not self._recovered:
            self._recovered = True
            _log.info("all child processes are ready again")

    def on_served(self) -> None:
        """Note the death of a child that was of use."""
        self.in_a_row = 0
        self._backoff.reset()

    def on_failed(self, *, requested_at: float, was_ready: bool) -> None:
        """Count a boot failure, and set ``next_start``.

        The child was ``requested_at`` this ``time.monotonic`` moment. The first failure of a child
        that was ready delays nothing.
        """
        now = time.monotonic()
        self.in_a_row += 1
        if requested_at < self._paused_at or self.hopeless:
            return
        delay = self._backoff.next()
        if was_ready and self._backoff.failures == 1:
            return
        self._paused_at = now
        self._recovered = False
        self.next_start = max(self.next_start, now + delay)
        _log.error(
            "child processes end at or soon after their start; failures in a row: %d;"
            " starting others in %.1f s",
            self.in_a_row,
            delay,
        )
