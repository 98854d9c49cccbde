"""Those who wait for the committer, each with a write set, and how they are told of its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

from owsuper.core.model import WriteSet


class CommitWaiter:
    """A write set on its way, and what became of it: None is success.

    A blocking caller sleeps on ``wake`` until it is done, or is to lead. While it is ``apart``
    another thread sees to it.
    """

    __slots__ = ("apart", "done", "error", "future", "repeated", "wake", "write")

    def __init__(self, write: WriteSet, future: asyncio.Future[None] | None = None) -> None:
        self.write = write
        self.future = future
        self.wake = threading.Lock()
        self.done = False
        self.apart = False
        self.repeated = False  # an earlier try may have succeeded
        self.error: Exception | None = None


def seen(future: asyncio.Future[None]) -> None:
    """A caller that was cancelled does not come back for the error; that is no news."""
    if not future.cancelled():
        future.exception()


def settle(served: Sequence[CommitWaiter]) -> None:
    """Tell the callers that it is over."""
    for waiting in served:
        waiting.done = True
        if waiting.future is None:
            waiting.wake.release()
    _answer([waiting for waiting in served if waiting.future is not None])


def _answer(served: Sequence[CommitWaiter]) -> None:
    """Wake the awaiting callers, one hop a loop."""
    if not served:
        return

    def wake() -> None:
        for waiting in served:
            future = waiting.future
            assert future is not None
            if future.done():
                continue
            if waiting.error is None:
                future.set_result(None)
            else:
                future.set_exception(waiting.error)

    future = served[0].future
    assert future is not None
    future.get_loop().call_soon_threadsafe(wake)
