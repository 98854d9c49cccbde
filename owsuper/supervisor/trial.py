"""The first child of new code: only when it is ready does the new code replace the old."""

from __future__ import annotations

import logging
import signal
from collections.abc import Callable

from owsuper import shortage
from owsuper.ipc.messages import SHORTAGE, LoadFailed
from owsuper.supervisor.child import Child
from owsuper.supervisor.rollover import Rollover
from owsuper.supervisor.template import StartsChildren

_log = logging.getLogger("owsuper.supervisor")


class Trial:
    """Starts a child of new code by ``start`` when the ``rollover`` has room for it.

    ``child`` is that child until it is ready or given up. It connects to the database before it is
    ready, and counts as none of the fleet's processes.
    """

    def __init__(self, rollover: Rollover, start: Callable[[StartsChildren], Child]) -> None:
        self.child: Child | None = None
        self._rollover = rollover
        self._start = start
        self._waiting: StartsChildren | None = None  # the template, until the child is started
        self._on_ended: Callable[[LoadFailed | None], None] | None = None

    def begin(
        self, template: StartsChildren, on_ended: Callable[[LoadFailed | None], None]
    ) -> None:
        """Start a child of ``template``, now or when there is room.

        ``on_ended`` is called when the child is ready, or with the reason why it cannot be.
        """
        self._waiting, self._on_ended = template, on_ended
        self.start_if_there_is_room()
        if self._waiting is not None:
            _log.info(
                "the reload waits until a process of older code has left; there are %d",
                self._rollover.leaving,
            )

    def start_if_there_is_room(self) -> None:
        """Start the child, if it is to be started and has not been."""
        if self._waiting is None or not self._rollover.has_room:
            return
        template, self._waiting = self._waiting, None
        try:
            self.child = self._start(template)
        except OSError as exc:
            assert self._on_ended is not None
            self._on_ended(LoadFailed(SHORTAGE, shortage.describe(exc)))

    def end(self, child: Child, failure: LoadFailed | None) -> None:
        """Report how the trial has ended, if ``child`` is on trial."""
        if child is self.child:
            child.on_trial = failure is not None
            self.child = None
            assert self._on_ended is not None
            self._on_ended(failure)

    def abandon(self) -> None:
        """End the trial without a report, and kill its child."""
        child = self.child
        self.forget()
        if child is not None:
            if child.staying:
                child.drain()  # it may not have been forked
            child.kill(signal.SIGKILL)

    def forget(self) -> None:
        """End the trial without a report."""
        self.child = self._waiting = None
