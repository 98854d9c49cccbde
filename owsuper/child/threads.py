"""Threads of a child: pools for jobs, and threads that start together.

The system may give a process no thread for a while. What user code asked for is then begun later,
or not at all, but never twice and never in part.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from owsuper.child.shortage import THREADS, NoThread, Shortage
from owsuper.child.timers import DelayedCalls
from owsuper.shortage import is_thread_error

T = TypeVar("T")

_RETRY_PAUSE: Final = 0.05  # seconds between two attempts to start a thread
_LONGEST_WAIT: Final = 10.0  # seconds that a caller waits for its thread


class ThreadPool:
    """At most ``most`` daemon threads for jobs; a thread starts when no other is free.

    Without a free thread, a job waits until one is free or can be started. ``on_died`` is called
    with the exception that ended a thread.
    """

    def __init__(
        self,
        name: str,
        most: int,
        timers: DelayedCalls,
        shortage: Shortage,
        on_died: Callable[[BaseException], object],
    ) -> None:
        self._name = name
        self._most = most
        self._timers = timers
        self._shortage = shortage
        self._on_died = on_died
        self._jobs: SimpleQueue[Callable[[bool], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._free = 0  # threads without a job; negative: jobs without a thread
        self._growing_later = False

    def start(self, count: int) -> None:
        """Start threads until there are ``count``, before they are needed. Raises NoThread."""
        while self._threads < min(count, self._most):
            start_thread(self._serve, name=self._name)
            with self._lock:
                self._threads += 1
                self._free += 1

    def submit(self, function: Callable[..., T], *arguments: Any) -> Future[T]:
        """Call ``function`` in a thread; return the future of its result. Never fails.

        The future has the exception NoThread if ``refuse_waiting`` was called meanwhile.
        """
        future: Future[T] = Future()
        self._enqueue(partial(_call, future, function, arguments))
        return future

    def run(self, job: Callable[[], None]) -> None:
        """Call ``job``, which must not raise, in a thread."""
        self._enqueue(partial(_run, job))

    def refuse_waiting(self) -> None:
        """Refuse the submitted jobs that wait for a thread."""
        while True:
            try:
                job = self._jobs.get_nowait()
            except Empty:
                return
            with self._lock:
                self._free += 1
            if job is not None:
                job(False)

    def close(self) -> None:
        """End the threads when all jobs are done. Does not wait for them."""
        for _ in range(self._threads):
            self._jobs.put(None)

    def _enqueue(self, job: Callable[[bool], None]) -> None:
        self._jobs.put(job)
        with self._lock:
            self._free -= 1
            if self._free < 0:
                self._grow()

    def _grow(self) -> None:
        """Start the threads that are missing, as many as possible. The lock is held."""
        while self._free < 0 and self._threads < self._most:
            thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
            if not _try(thread.start, self._shortage):
                if not self._growing_later:
                    self._growing_later = True
                    self._timers.call_later(_RETRY_PAUSE, self._grow_later)
                return
            self._threads += 1
            self._free += 1

    def _grow_later(self) -> None:
        with self._lock:
            self._growing_later = False
            self._grow()

    def _serve(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                job(True)
                del job  # do not hold a run's data while waiting for the next
                with self._lock:
                    self._free += 1
        except BaseException as exc:
            self._on_died(exc)


def _run(job: Callable[[], None], begin: bool) -> None:
    if begin:
        job()


def _call(
    future: Future[Any], function: Callable[..., Any], arguments: Sequence[Any], begin: bool
) -> None:
    if not begin:
        future.set_exception(NoThread())
        return
    if not future.set_running_or_notify_cancel():
        return
    try:
        value = function(*arguments)
    except BaseException as exc:
        future.set_exception(exc)
    else:
        future.set_result(value)


def start_thread(
    target: Callable[[], None],
    *,
    name: str,
    shortage: Shortage | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> threading.Thread:
    """Start a daemon thread. Blocks while the system gives none.

    Raises NoThread after ten seconds, or once ``is_over`` returns True.
    """
    started: list[threading.Thread] = []

    def start() -> None:
        # Anew each time: Python 3.13 starts no thread that it could not start once.
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        started.append(thread)

    insist(start, shortage=shortage, is_over=is_over)
    return started[0]


def insist(
    start: Callable[[], object],
    *,
    shortage: Shortage | None = None,
    is_over: Callable[[], bool] = lambda: False,
) -> None:
    """Call ``start``, which starts a thread, again and again until it succeeds.

    Raises NoThread after ten seconds, or once ``is_over`` returns True.
    """
    end = time.monotonic() + _LONGEST_WAIT
    while not _try(start, shortage):
        if is_over() or time.monotonic() >= end:
            raise NoThread
        time.sleep(_RETRY_PAUSE)


def start_together(
    jobs: Sequence[Callable[[], None]],
    *,
    name: str,
    shortage: Shortage,
    is_over: Callable[[], bool],
) -> None:
    """Call each job in a thread of its own; begin none before all threads have started.

    Raises NoThread, as ``start_thread`` does; then no job is begun. If some threads started and
    others did not, these jobs need too many: that is no shortage of the process.
    """
    gate = threading.Event()
    opened = False

    def behind_gate(job: Callable[[], None]) -> None:
        gate.wait()
        if opened:
            job()

    try:
        for number, job in enumerate(jobs):
            start_thread(
                partial(behind_gate, job),
                name=name,
                shortage=None if number else shortage,
                is_over=is_over,
            )
        opened = True
    finally:
        gate.set()


def _try(start: Callable[[], object], shortage: Shortage | None) -> bool:
    """Return whether ``start`` could start its thread."""
    try:
        start()
    except (RuntimeError, MemoryError) as exc:
        if not isinstance(exc, MemoryError) and not is_thread_error(exc):
            raise
        if shortage is not None:
            shortage.failed(THREADS)
        return False
    if shortage is not None:
        shortage.ended(THREADS)
    return True
