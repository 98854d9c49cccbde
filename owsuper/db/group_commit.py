"""Starting runs in company: callers of the same moment share a statement and a commit.

Each run that is stored by itself costs a round trip and a flush of the disk, and processor time
on either side. So one caller stores at a time; who comes meanwhile waits, and then everybody
who has gathered is stored together, by one of them. Nobody waits for company: a caller who
is alone goes at once.

What fails together is tried again by each caller alone, so that all of them learn what became
of their own run. Trying again is harmless: a run's id is made before it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from owsuper.db.clients import NewRun

_MOST: Final = 64  # runs in a group
_PATIENCE: Final = 10.0  # seconds to wait for one's turn
_LARGE: Final = 65536  # bytes of input, with which a run keeps nobody waiting: it goes by itself


def _locked() -> threading.Lock:
    lock = threading.Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Caller:
    """One thread: ``turn`` is released when its run is stored, or it has a group to store."""

    new: NewRun
    turn: threading.Lock = field(default_factory=_locked)
    group: list[_Caller] | None = None
    stored: bool = False


class GroupCommit:
    """For threads. ``store`` stores runs, all or none, and raises what callers should see.

    Who has waited ``patience`` seconds for the one before goes at last without having been told.
    """

    def __init__(
        self, store: Callable[[Sequence[NewRun]], object], *, patience: float = _PATIENCE
    ) -> None:
        self._store = store
        self._patience = patience
        self._lock = threading.Lock()
        self._storing = False
        self._waiting: deque[_Caller] = deque()

    @property
    def waiting(self) -> int:
        """How many callers wait to be stored in the next group."""
        return len(self._waiting)

    def start(self, new: NewRun) -> None:
        """Store this run; raises what ``store`` raises for it."""
        if _is_large(new):
            self._store([new])
            return
        me = _Caller(new)
        with self._lock:
            if self._storing:
                self._waiting.append(me)
            else:
                self._storing = True
                me.group = [me]
        if me.group is None:
            self._wait(me)
        if me.group is not None:
            self._go(me.group)
        if not me.stored:
            self._store([new])

    def _wait(self, me: _Caller) -> None:
        try:
            while not me.turn.acquire(timeout=self._patience):
                with self._lock:
                    if me in self._waiting:
                        # Whoever was to hand over is slow, or gone: thrown out by a signal's
                        # handler, say. This one takes over; two at a time harm nobody.
                        self._waiting.remove(me)
                        me.group = [me]
                        return
        except BaseException:  # KeyboardInterrupt; the others may count on us by now
            with self._lock:
                if me.group is None and me in self._waiting:
                    self._waiting.remove(me)
            if me.group is not None:
                self._leave(me.group)
            raise

    def _go(self, group: list[_Caller]) -> None:
        try:
            self._store([each.new for each in group])
            for each in group:
                each.stored = True
        except Exception:
            if len(group) == 1:
                raise
        finally:
            self._leave(group)

    def _leave(self, group: list[_Caller]) -> None:
        """Wake whoever is to store the next group, and the others of this one."""
        with self._lock:
            following = [self._waiting.popleft() for _ in range(min(_MOST, len(self._waiting)))]
            self._storing = bool(following)
            if following:
                following[0].group = following
        for each in (*following[:1], *group[1:]):
            each.turn.release()


class AsyncGroupCommit:
    """For the tasks of one event loop."""

    def __init__(self, store: Callable[[Sequence[NewRun]], Awaitable[object]]) -> None:
        self._store = store
        self._storing = False
        self._waiting: deque[tuple[NewRun, asyncio.Future[bool]]] = deque()
        self._group: asyncio.Task[None] | None = None  # the loop itself keeps no hold of it

    @property
    def waiting(self) -> int:
        """How many callers wait to be stored in the next group."""
        return len(self._waiting)

    async def start(self, new: NewRun) -> None:
        """Store this run; raises what ``store`` raises for it."""
        if _is_large(new):
            await self._store([new])
        elif self._storing:
            stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
            self._waiting.append((new, stored))
            if not await stored:
                await self._store([new])
        else:
            self._storing = True
            try:
                await self._store([new])
            finally:
                self._leave()

    def _leave(self) -> None:
        there = [each for each in self._waiting if not each[1].done()]  # the others are canceled
        group, self._waiting = there[:_MOST], deque(there[_MOST:])
        self._storing = bool(group)
        if group:
            # A task of its own: any of the callers may be canceled, and harm no other.
            self._group = asyncio.get_running_loop().create_task(self._go(group))

    async def _go(self, group: list[tuple[NewRun, asyncio.Future[bool]]]) -> None:
        done = False
        try:
            with contextlib.suppress(Exception):  # each sees for itself
                await self._store([new for new, _ in group])
                done = True
        finally:
            for _, stored in group:
                if not stored.done():
                    stored.set_result(done)
            self._leave()


def _is_large(new: NewRun) -> bool:
    return new.input_json is not None and len(new.input_json) > _LARGE
