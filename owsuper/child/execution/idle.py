"""Notices when every branch of an awaiting pass waits, so that the run can leave."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from owsuper.core.decisions import Wait

_TURNS: Final = 3  # of the loop: what a branch needs to get from one step to the next
_GRACE: Final = 0.02  # seconds a parallel branch may await something that is not a step


class IdleDetector:
    """Counts what is under way in a pass and keeps its waits; all on the loop's thread.

    When nothing is under way, nothing has moved for a few turns of the loop, and some branch
    waits, ``on_quiet`` is called with the waits. Code between two steps may await anything, of
    which we see nothing: unless the body itself waits, it is given a moment for that.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        is_body: Callable[[asyncio.Task[Any] | None], bool],
        on_quiet: Callable[[list[Wait]], None],
        on_idle: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._is_body = is_body
        self._on_quiet = on_quiet
        self._on_idle = on_idle
        self._under_way = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._moves = 0
        self._looking = False
        self._waits: dict[asyncio.Future[None], tuple[Wait, asyncio.Task[Any] | None]] = {}

    @property
    def busy(self) -> bool:
        """Something is under way: a step's function, or a write that is waited for."""
        return self._under_way > 0

    async def idle(self) -> None:
        """Wait until nothing is under way."""
        while self._under_way:
            await self._idle.wait()

    def begin(self) -> None:
        """Something is under way until the matching ``end``."""
        self._under_way += 1
        self._idle.clear()

    def end(self) -> None:
        self._under_way -= 1
        if not self._under_way:
            self._idle.set()
            self._on_idle()
        self.moved()

    @contextmanager
    def under_way(self) -> Iterator[None]:
        self.begin()
        try:
            yield
        finally:
            self.end()

    def moved(self) -> None:
        """A branch did something: look again whether all is quiet."""
        self._moves += 1
        if self._waits and not self._looking:
            self._looking = True
            self._loop.call_soon(self._look, self._moves, _TURNS)

    async def wait(self, wait: Wait, seconds: float) -> None:
        """Await ``seconds``, or CancelledError when the run leaves."""
        over: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(seconds, _finish, over)
        self._waits[over] = (wait, asyncio.current_task())
        self.moved()
        try:
            await over
        finally:
            timer.cancel()
            del self._waits[over]
            self.moved()

    def cancel(self) -> None:
        """Cancel all who wait."""
        for over in list(self._waits):
            over.cancel()

    def _look(self, moves: int, turns: int) -> None:
        if self._under_way or not self._waits:
            self._looking = False  # its end, or the next wait, looks again
        elif self._moves != moves:
            self._loop.call_soon(self._look, self._moves, _TURNS)
        elif turns > 0:
            self._loop.call_soon(self._look, moves, turns - 1)
        elif turns == 0 and not any(self._is_body(task) for _, task in self._waits.values()):
            # The body awaits something else: its branches, one hopes, but it may be anything.
            self._loop.call_later(_GRACE, self._look, moves, -1)
        else:
            self._looking = False
            self._on_quiet([wait for wait, _ in self._waits.values()])


def _finish(over: asyncio.Future[None]) -> None:
    if not over.done():
        over.set_result(None)
