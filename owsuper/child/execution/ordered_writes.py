"""The writes of an async execution, one after the other, whichever of its branches is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from owsuper.core.model import WriteSet


class OrderedWrites:
    """Sends writes with ``begin``, each when the one before it is over.

    If the branch that awaits a write is cancelled, the write continues, and the next caller awaits
    it: the next step must not begin before. ``unwritten`` is the latest write, unless it succeeded.
    """

    def __init__(self, begin: Callable[[WriteSet], asyncio.Future[None]]) -> None:
        self._begin = begin
        self._turn = asyncio.Lock()
        self._sent: asyncio.Future[None] | None = None  # a write whose result is not known yet
        self.unwritten: WriteSet | None = None

    @property
    def busy(self) -> bool:
        """Whether a write is in flight, or is about to be sent."""
        return self._turn.locked() or self._sent is not None

    async def send(self, take: Callable[[], WriteSet | None]) -> None:
        """Await the write in flight, then send what ``take`` returns, and await that.

        Raises the error of either write, and what ``take`` raises.
        """
        async with self._turn:
            await self._await_sent()
            write = take()
            if write is not None:
                self.unwritten = write
                self._sent = self._begin(write)
                await self._await_sent()

    async def _await_sent(self) -> None:
        if (sent := self._sent) is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(sent)
            self._sent = None
            sent.result()
            self.unwritten = None
