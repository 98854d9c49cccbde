"""Replacing children that work: another is started first, and the old one drains when it is ready.

A child is to be replaced if it is ``outdated``, because there is newer code, or ``used_up``,
because it has taken its number of runs. It takes runs until another child is ready. Then it is
``superseded``: it finishes its runs and exits, and no longer counts as one of the fleet's
processes. After the graceful time-out its runs stop at their next step boundary, and continue in
other children. It is never killed: a step may take as long as it takes.

So there may be more processes than were asked for, but no more than twice as many and one. For new
code there may be up to five more, so that a reload need not wait for the only process. Beyond that,
outdated children drain before others are started, used up ones serve on, and new code is not tried
out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import Child
from owsuper.supervisor.child_state import ChildState

_ALWAYS_ROOM_FOR: Final = 4  # leaving children, however few there should be

_log = logging.getLogger("owsuper.supervisor")


class Rollover:
    """Decides which of the ``children`` are let go, and when others must be started.

    ``size`` is the number of those that there should be.
    """

    def __init__(
        self, loop: Loop, children: Mapping[int, Child], *, size: int, graceful_timeout: float
    ) -> None:
        self.size = size
        self._children = children
        self._graceful_timeout = graceful_timeout
        self._stop_timer = loop.timers.add("stop replaced children", self._stop_overdue)

    @property
    def present(self) -> list[Child]:
        """The children that count as the fleet's processes."""
        return [
            child
            for child in self._children.values()
            if not (child.superseded or child.on_trial or child.state is ChildState.EXITED)
        ]

    @property
    def ready(self) -> int:
        """The number of children that are ready."""
        return sum(child.state is ChildState.READY for child in self._children.values())

    @property
    def complete(self) -> bool:
        """Whether no child has outdated code."""
        return not any(child.outdated for child in self.present)

    @property
    def leaving(self) -> int:
        """The number of children that were asked to finish their runs and exit."""
        return sum(child.stop_at is not None for child in self._children.values())

    @property
    def has_room(self) -> bool:
        """Whether so few children are leaving that new code may have one beyond ``size``."""
        return self.leaving < max(self.size, _ALWAYS_ROOM_FOR)

    def missing(self) -> int:
        """Return how many children to start now, so that ``size`` are there.

        While all are there, those that are to be replaced are, one by one. Without room for more,
        outdated ones drain instead.
        """
        present = self.present
        replaceable = [child for child in present if child.replaceable]
        if len(present) != self.size or not replaceable:
            return max(self.size - len(present), 0)
        new_code = any(child.outdated for child in replaceable)
        if self.has_room if new_code else self.leaving < self.size:
            return 1
        for child in replaceable:
            if child.outdated:
                self._drain(child)
        return 0

    def let_go(self) -> None:
        """Supersede children that are to be replaced, if more than ``size`` are ready."""
        ready = [child for child in self.present if child.state is ChildState.READY]
        replaceable = sorted(
            (child for child in ready if child.replaceable),
            key=lambda child: (not child.outdated, len(child.held)),
        )
        for child in replaceable[: max(len(ready) - self.size, 0)]:
            self._supersede(child)

    def resize(self, size: int) -> None:
        """Supersede children beyond ``size``, those first that take no runs yet."""
        self.size = size
        present = sorted(
            self.present,
            key=lambda child: (
                child.state is ChildState.READY,
                not child.replaceable,
                len(child.held),
            ),
        )
        for child in present[: max(len(present) - size, 0)]:
            self._supersede(child)

    def close(self) -> None:
        """Stop no more children."""
        self._stop_timer.cancel()

    def _supersede(self, child: Child) -> None:
        child.superseded = True
        self._drain(child)

    def _drain(self, child: Child) -> None:
        if child.staying:
            child.drain()
            child.stop_at = time.monotonic() + self._graceful_timeout
            self._stop_timer.at_latest(child.stop_at)

    def _stop_overdue(self) -> None:
        now = time.monotonic()
        for child in list(self._children.values()):
            if child.stop_at is None or child.state is not ChildState.DRAINING:
                continue
            if now < child.stop_at:
                self._stop_timer.at_latest(child.stop_at)
                continue
            for held in child.held.values():
                _log.info(
                    "moving a run to another process at its next step", extra=child.log_fields(held)
                )
            child.stop()
