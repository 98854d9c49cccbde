"""Threads of a child: slots for ``def`` workflows, and the event loop for ``async def``."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

_log = logging.getLogger("owsuper.child")


class SlotThreads:
    """Runs jobs in as many threads as there are jobs at once; idle threads are kept."""

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._lock = threading.Lock()
        self._idle = 0

    def start(self, job: Callable[[], None]) -> None:
        """Run ``job``, which must not raise, in a thread that does nothing else meanwhile."""
        with self._lock:
            if self._idle:
                self._idle -= 1
            else:
                threading.Thread(target=self._work, name="owsuper-slot", daemon=True).start()
        self._jobs.put(job)

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            job()
            del job  # do not hold a run's data while waiting for the next
            with self._lock:
                self._idle += 1


class LoopJob:
    """An awaitable that runs on the event loop while a thread waits for its result."""

    def __init__(self, loop: asyncio.AbstractEventLoop, awaitable: Awaitable[Any]) -> None:
        self._loop = loop
        self._task: asyncio.Task[Any] | None = None
        self._future: Future[Any] = Future()
        loop.call_soon_threadsafe(self._begin, awaitable)

    def result(self) -> Any:
        """Block until the awaitable ends; return its result or raise its exception.

        Must not be called in the loop's thread.
        """
        return self._future.result()

    def cancel(self) -> None:
        """Cancel the awaitable, which may take its time to end. Safe from any thread."""
        self._loop.call_soon_threadsafe(self._cancel)

    def _begin(self, awaitable: Awaitable[Any]) -> None:
        self._task = self._loop.create_task(_await(awaitable))
        self._task.add_done_callback(self._copy_result)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _copy_result(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._future.set_exception(asyncio.CancelledError())
        elif (exc := task.exception()) is not None:
            self._future.set_exception(exc)
        else:
            self._future.set_result(task.result())


class LoopThread:
    """An asyncio event loop in a thread of its own, which starts when it is first needed."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task on the loop, which calls ``make()`` there. Safe from any thread."""
        loop = self._started()
        loop.call_soon_threadsafe(lambda: _keep(loop.create_task(make())))

    def begin(self, awaitable: Awaitable[Any]) -> LoopJob:
        """Await ``awaitable`` on the loop. Safe from any thread."""
        return LoopJob(self._started(), awaitable)

    def stop(self) -> None:
        """Stop the loop and its thread, if they have started."""
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
            # A task that user code started called sys.exit(). The other runs continue.
            _log.error("a task raised %r; the event loop continues", exc)


_tasks: set[asyncio.Task[None]] = set()  # the loop has only weak references to tasks


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
