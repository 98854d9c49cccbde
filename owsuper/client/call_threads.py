"""Threads that make blocking calls for the tasks of event loops."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

T = TypeVar("T")

_IDLE: Final = 10.0  # seconds; a thread ends after this long without a call


class CallThreads:
    """At most ``size`` threads, started when needed, for any number of event loops.

    They are daemon threads: the program does not wait at its end for an abandoned call.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()  # guards the fields below
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._threads: set[threading.Thread] = set()
        self._free = 0  # threads without a call, less the calls that wait for a thread

    async def run(self, call: Callable[[], T]) -> T:
        """Return ``call()``, called in another thread; its exception is raised.

        A call whose task is canceled is not begun; if it has begun, it goes on unobserved.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def perform() -> None:
            if future.cancelled():
                return
            result: Any = None
            error: BaseException | None = None
            try:
                result = call()
            except BaseException as exc:
                error = exc
            with suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(_resolve, future, result, error)

        self._submit(perform)
        return await future

    def stop(self, timeout: float) -> None:
        """End the threads, each after its current call; wait ``timeout`` seconds for that.

        Threads start again when needed.
        """
        with self._lock:
            threads, self._threads = self._threads, set()
            calls, self._calls = self._calls, SimpleQueue()
            self._free = 0
        for _ in threads:
            calls.put(None)
        give_up = time.monotonic() + timeout
        for thread in threads:
            thread.join(max(0.0, give_up - time.monotonic()))

    def _submit(self, perform: Callable[[], None]) -> None:
        with self._lock:
            self._free -= 1
            if self._free < 0 and len(self._threads) < self._size:
                thread = threading.Thread(
                    target=self._serve, args=(self._calls,), name="owsuper-call", daemon=True
                )
                try:
                    thread.start()
                    self._threads.add(thread)
                    self._free += 1
                except RuntimeError:  # no memory or process left for a thread
                    if not self._threads:
                        self._free += 1
                        raise
            self._calls.put(perform)

    def _serve(self, calls: SimpleQueue[Callable[[], None] | None]) -> None:
        while True:
            try:
                call = calls.get(timeout=_IDLE)
            except Empty:
                with self._lock:
                    if calls is not self._calls:
                        continue  # ``stop`` has queued a None for this thread
                    if calls.empty():
                        self._threads.discard(threading.current_thread())
                        self._free -= 1
                        return
                continue
            if call is None:
                return
            call()
            del call  # and what it refers to
            with self._lock:
                if calls is self._calls:
                    self._free += 1


def _resolve(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
