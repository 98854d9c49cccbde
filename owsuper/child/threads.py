"""The event loop of a child: one thread, started when something first needs it."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import Any

_log = logging.getLogger("owsuper.child")


class Job:
    """Something that is awaited on the loop on behalf of a thread."""

    def __init__(self, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._future: Future[Any] = Future()
        loop.call_soon_threadsafe(self._begin, awaitable)

    def result(self) -> Any:
        """What it gave; blocks. Raises what it raised. Not for the loop's thread."""
        return self._future.result()

    def cancel(self) -> None:
        """Cancel it where it awaits; it may take its time to end. Safe from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self, awaitable: Awaitable[Any]) -> None:
        self._task = self._loop.create_task(_await(awaitable))
        self._task.add_done_callback(self._settle)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _settle(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._future.set_exception(asyncio.CancelledError())
        elif (exc := task.exception()) is not None:
            self._future.set_exception(exc)
        else:
            self._future.set_result(task.result())


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

    def begin(self, awaitable: Awaitable[Any]) -> Job:
        """Await ``awaitable`` on the loop. Safe from any thread."""
        return Job(self._started(), awaitable)

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
