"""The event loop of a child, in a thread of its own."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from owsuper.child.shortage import Shortage
from owsuper.child.threads import ThreadPool, start_thread

_log = logging.getLogger("owsuper.child")


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
    """An asyncio event loop in a thread of its own, which starts when it is first needed.

    ``executor`` has the threads for user code that calls ``asyncio.to_thread``. ``on_died`` is
    called if the thread ends by itself: no async run of this process can go on then.
    """

    def __init__(
        self, executor: ThreadPool, shortage: Shortage, on_died: Callable[[BaseException], object]
    ) -> None:
        self._executor = executor
        self._shortage = shortage
        self._on_died = on_died
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stopped = False

    def start(self) -> None:
        """Start the thread before it is needed. Raises NoThread."""
        self._started()

    def spawn(self, make: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Start a task on the loop, which calls ``make()`` there. Safe from any thread."""
        loop = self._started()
        loop.call_soon_threadsafe(lambda: _keep(loop.create_task(make())))

    def begin(
        self, awaitable: Awaitable[Any], *, is_over: Callable[[], bool] = lambda: False
    ) -> LoopJob:
        """Await ``awaitable`` on the loop. Safe from any thread.

        Raises NoThread if the thread cannot be started before ``is_over`` returns True.
        """
        return LoopJob(self._started(is_over), awaitable)

    def stop(self) -> None:
        """Stop the loop and its thread, if they have started."""
        if self._loop is not None and self._thread is not None:
            self._stopped = True
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()
        self._executor.close()

    def loops(self) -> list[asyncio.AbstractEventLoop]:
        """Return the event loop, if it has started."""
        return [] if self._loop is None else [self._loop]

    def descriptors(self) -> list[int]:
        """Return the descriptors of the loop itself: of its selector, and of what wakes it.

        None are known of a loop that is not asyncio's own.
        """
        own = (getattr(self._loop, name, None) for name in ("_selector", "_ssock", "_csock"))
        return [each.fileno() for each in own if each is not None]

    def _started(self, is_over: Callable[[], bool] = lambda: False) -> asyncio.AbstractEventLoop:
        if self._loop is not None:
            return self._loop
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                loop.set_default_executor(_PoolExecutor(self._executor))
                try:
                    self._thread = start_thread(
                        lambda: self._run(loop),
                        name="owsuper-loop",
                        shortage=self._shortage,
                        is_over=is_over,
                    )
                except BaseException:
                    loop.close()
                    raise
                self._loop = loop
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._stopped:
                try:
                    loop.run_forever()
                    if not self._stopped:
                        _log.error("user code stopped the event loop; the event loop continues")
                except (SystemExit, KeyboardInterrupt) as exc:
                    # A task that user code started called sys.exit(). The other runs continue.
                    _log.error("a task raised %r; the event loop continues", exc)
        except BaseException as exc:
            self._on_died(exc)


class _PoolExecutor(ThreadPoolExecutor):
    """The default executor of the loop, on our own threads.

    The library's executor keeps a job for which it could not start a thread, and also raises. So
    a step would fail while its job still runs later. And asyncio cannot pass on every exception:
    before Python 3.13, whoever awaits a StopIteration waits forever, and a GeneratorExit closes
    the coroutines that await it.
    """

    def __init__(self, pool: ThreadPool) -> None:
        super().__init__(1)  # starts no thread before the first job, which never comes
        self._pool = pool

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Call ``fn`` in a thread of the pool."""
        return self._pool.submit(_call_for_asyncio, fn, args, kwargs)


def _call_for_asyncio(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return fn(*args, **kwargs)
    except (StopIteration, GeneratorExit) as exc:
        raise RuntimeError(f"a function in a thread raised {type(exc).__name__}") from exc


_tasks: set[asyncio.Task[None]] = set()  # the loop has only weak references to tasks


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable
