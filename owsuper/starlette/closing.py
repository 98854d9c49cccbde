"""Tells requests that wait that their server is about to stop.

Servers such as uvicorn let open requests finish before they tell the application that they stop,
and a stream of events would never finish. So what begins the stop, a signal, is noticed here, and
then goes to the server as before.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class Closing:
    """Whether this process has been told to stop, and the futures of those who want to know."""

    def __init__(self) -> None:
        self._begun = False
        self._futures: weakref.WeakSet[asyncio.Future[None]] = weakref.WeakSet()

    def future(self) -> asyncio.Future[None]:
        """Return a future of the running loop, which is done when the server is about to stop."""
        future = asyncio.get_running_loop().create_future()
        if self._begun:
            future.set_result(None)
        else:
            self._futures.add(future)
        return future

    @contextmanager
    def noticed(self) -> Iterator[None]:
        """Notice the signals that stop the server, if this is the main thread, within the block.

        The server must have set its handlers. They are called as before.
        """
        self._begun = False
        loop = asyncio.get_running_loop()
        handlers: dict[signal.Signals, tuple[Any, Any]] = {}
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                before = signal.getsignal(number)
                if callable(before):
                    ours = self._noticing(loop, before)
                    signal.signal(number, ours)
                    handlers[number] = (ours, before)
        try:
            yield
        finally:
            for number, (ours, before) in handlers.items():
                if signal.getsignal(number) is ours:
                    signal.signal(number, before)

    def _noticing(
        self, loop: asyncio.AbstractEventLoop, before: Callable[[int, Any], Any]
    ) -> Callable[[int, Any], Any]:
        def handle(number: int, frame: Any) -> None:
            self._begun = True
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(self._tell)
            before(number, frame)

        return handle

    def _tell(self) -> None:
        for future in list(self._futures):
            with suppress(RuntimeError):
                future.get_loop().call_soon_threadsafe(_complete, future)


def _complete(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


closing: Final = Closing()
"""That of this process."""
