"""The event loop of a child: one thread, started when something first needs it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

_log = logging.getLogger("owsuper.child")


class LoopThread:
    """An event loop in a thread of its own."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task on the loop; ``make()`` is called there. Safe from any thread."""
        loop = self._started()
        loop.call_soon_threadsafe(lambda: _keep(loop.create_task(make())))

    def wait_for(self, awaitable: Awaitable[Any]) -> Any:
        """The result of ``awaitable``, awaited on the loop; blocks. Not for the loop's thread."""
        return asyncio.run_coroutine_threadsafe(_await(awaitable), self._started()).result()

    def stop(self) -> None:
        """Stop the loop and its thread, if they ever ran."""
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_run, args=(self._loop,), name="owsuper-loop", daemon=True
                )
                self._thread.start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    while True:
        try:
            loop.run_forever()
            return
        except (SystemExit, KeyboardInterrupt) as exc:
            # A task that user code started called sys.exit(): the other runs go on.
            _log.error("a task raised %r; the event loop goes on", exc)


_tasks: set[asyncio.Task[None]] = set()  # the loop itself refers to tasks only weakly


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
