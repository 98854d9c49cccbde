"""Detects when every branch of an async execution waits, so that the run can be parked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from owsuper.core.decisions import Wait

_TURNS: Final = 3  # turns of the event loop that a branch needs between two steps
_GRACE: Final = 0.02  # seconds a parallel branch may await something that is not a step


class IdleDetector:
    """Counts the running operations of an execution, and keeps its waits. For the loop's thread.

    An operation is a step's function, or a call of the database that a branch awaits. When none is
    running, nothing has changed for a few turns of the loop and some branch waits,
    ``on_all_waiting`` is called with the waits. Code between two steps may await anything, which
    cannot be observed. So branches get a short time for that, unless the body itself waits.
    ``on_idle`` is called whenever the last running operation has ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        is_body: Callable[[asyncio.Task[Any] | None], bool],
        on_all_waiting: Callable[[list[Wait]], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._is_body = is_body
        self._on_all_waiting = on_all_waiting
        self._on_idle = on_idle
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._changes = 0
        self._checking = False
        self._waits: dict[asyncio.Future[None], tuple[Wait, asyncio.Task[Any] | None]] = {}

    @property
    def busy(self) -> bool:
        """Whether an operation is running."""
        return self._running > 0

    async def idle(self) -> None:
        """Wait until no operation is running."""
        while self._running:
            await self._idle.wait()

    def begin(self) -> None:
        """Count an operation as running until the matching ``end``."""
        self._running += 1
        self._idle.clear()

    def end(self) -> None:
        """End the operation of the matching ``begin``."""
        self._running -= 1
        if not self._running:
            self._idle.set()
            self._on_idle()
        self._changed()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count an operation as running for the duration of a ``with`` block."""
        self.begin()
        try:
            yield
        finally:
            self.end()

    async def wait(self, wait: Wait, seconds: float) -> None:
        """Wait for ``seconds``. Raises CancelledError after ``cancel_waits``."""
        over: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(seconds, _finish, over)
        self._waits[over] = (wait, asyncio.current_task())
        self._changed()
        try:
            await over
        finally:
            timer.cancel()
            del self._waits[over]
            self._changed()

    def cancel_waits(self) -> None:
        """Cancel all waits."""
        for over in list(self._waits):
            over.cancel()

    def _changed(self) -> None:
        """Check again whether every branch waits."""
        self._changes += 1
        if self._waits and not self._checking:
            self._checking = True
            self._loop.call_soon(self._check, self._changes, _TURNS)

    def _check(self, changes: int, turns: int) -> None:
        if self._running or not self._waits:
            self._checking = False  # the end of an operation, or the next wait, checks again
        elif self._changes != changes:
            self._loop.call_soon(self._check, self._changes, _TURNS)
        elif turns > 0:
            self._loop.call_soon(self._check, changes, turns - 1)
        elif turns == 0 and not any(self._is_body(task) for _, task in self._waits.values()):
            # The body awaits something that is not a step: its branches, or anything else.
            self._loop.call_later(_GRACE, self._check, changes, -1)
        else:
            self._checking = False
            self._on_all_waiting([wait for wait, _ in self._waits.values()])


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
