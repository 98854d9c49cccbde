"""Waiting for runs to end, with one thread and one connection for the whole process.

Notifications are fast but can be lost, so the thread also polls: at growing intervals until a
notification is guaranteed, then at long ones. Each poll reads all due runs in one statement.
"""

from __future__ import annotations

import contextlib
import logging
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from owsuper.client.result_listener import MAX_READ, ResultListener
from owsuper.db.waits import Progress
from owsuper.errors import DatabaseUnreachable

ReadRuns: TypeAlias = Callable[[list[str]], dict[str, Progress]]
ProgressFuture: TypeAlias = Future[Progress | None]
"""A future of the end of a run; its result is None if there is no such run."""

# Seconds.
_FIRST_PAUSE: Final = 0.05  # between the first two reads of a run
_LONGEST_PAUSE: Final = 1.0
# The first re-read of a run whose ending transaction is still open: that transaction sends no
# notification.
_COMMIT_SECONDS: Final = 0.001
_IDLE_SECONDS: Final = 30.0  # the thread ends after this long without a run to wait for

_log = logging.getLogger("owsuper.client")


@dataclass(slots=True)
class _AwaitedRun:
    """A run that callers wait for. ``read_at`` is the time of its next read, monotonic.

    The ``impatient`` of the ``futures`` fail when the run cannot be read.
    """

    read_at: float
    pause: float
    commit_pause: float = _COMMIT_SECONDS
    futures: list[ProgressFuture] = field(default_factory=list)
    impatient: set[ProgressFuture] = field(default_factory=set)


class ResultWaiter:
    """Completes the futures that ``future_of`` returns, in a thread.

    The end of a run that has continued as new is that of its last successor.

    The thread starts with the first future. It ends after _IDLE_SECONDS without a pending future.

    ``read`` reads the tables. After an error that ``is_transient``, the read is repeated; any
    other error is set as the exception of the futures, and for impatient ones every error is.
    ``listener`` is None if notifications are not wanted.
    """

    def __init__(
        self,
        read: ReadRuns,
        is_transient: Callable[[Exception], bool],
        listener: ResultListener | None,
    ) -> None:
        self._read = read
        self._is_transient = is_transient
        self._listener = listener
        self._runs: dict[str, _AwaitedRun] = {}  # the thread's, or used under the lock without one
        self._outage = False
        self._arrivals: deque[tuple[str, ProgressFuture, bool]] = deque()
        # Guards the start and the end of the thread. Reentrant, because the garbage collector may
        # stop the waiter of a client that nothing refers to at any moment, in any thread.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)

    def future_of(self, run_id: str, *, patient: bool = True) -> ProgressFuture:
        """Return a future of the end of this run, which the caller has just read.

        Cancel the future to stop waiting. One that is not ``patient`` does not outlast an outage:
        it fails with the error of the first read. Raises DatabaseUnreachable after ``stop``, and
        as ``Thread.start`` does.
        """
        future: ProgressFuture = Future()
        with self._lock:
            if self._stopped:
                raise _closed_error()
            if self._thread is None:
                self._start_thread()
            self._arrivals.append((run_id, future, patient))
            self._wake()
        return future

    def _start_thread(self) -> None:
        thread = threading.Thread(target=self._serve, name="owsuper-results", daemon=True)
        thread.start()
        # An interrupt may end ``start`` after the thread began: such a thread finds that it is not
        # the waiter's, and ends.
        self._thread = thread

    def stop(self, timeout: float) -> None:
        """End the thread; wait ``timeout`` seconds for that, since it may be connecting.

        The futures that are not done get DatabaseUnreachable.
        """
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            thread = self._thread
            if thread is None:
                self._close_sockets()
            else:
                self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)

    def sockets(self) -> list[int]:
        """Return the descriptor of the listener's connection, as a list; empty without one."""
        descriptor = self._listener.fileno() if self._listener is not None else None
        return [] if descriptor is None else [descriptor]

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # the buffer is full, so the thread is awake
            self._wake_writer.send(b".")

    # --- in the thread -------------------------------------------------------------------

    def _serve(self) -> None:
        with self._lock:
            if self._thread is not threading.current_thread():
                return
        try:
            last_needed = time.monotonic()
            while True:
                self._update_runs()
                now = time.monotonic()
                last_needed = now if self._runs else last_needed
                with self._lock:
                    idle = now > last_needed + _IDLE_SECONDS and not self._arrivals
                    if self._stopped or idle:
                        self._detach_thread()
                        return
                self._sleep(self._read_due(now))
        except Exception as error:  # no caller may wait for a thread that has failed
            _log.exception("the thread that waits for results failed")
            with self._lock:
                self._fail_all(error)
                self._detach_thread()

    def _detach_thread(self) -> None:
        """Let ``future_of`` start another thread. The caller holds the lock."""
        if self._listener is not None:
            self._listener.close()
        self._thread = None
        if self._stopped:
            self._close_sockets()

    def _close_sockets(self) -> None:
        self._fail_all(_closed_error())
        self._wake_reader.close()
        self._wake_writer.close()

    def _fail_all(self, error: Exception) -> None:
        self._update_runs()
        for run_id in list(self._runs):
            self._resolve(run_id, error=error)

    def _update_runs(self) -> None:
        """Add the futures that have arrived; drop those that are done or canceled."""
        while self._arrivals:
            run_id, future, patient = self._arrivals.popleft()
            run = self._runs.setdefault(
                run_id, _AwaitedRun(time.monotonic() + _FIRST_PAUSE, _FIRST_PAUSE)
            )
            run.futures.append(future)
            if not patient:
                run.impatient.add(future)
        for run_id, run in list(self._runs.items()):
            run.futures = [future for future in run.futures if not future.done()]
            run.impatient.intersection_update(run.futures)
            if not run.futures:
                del self._runs[run_id]

    def _read_due(self, now: float) -> float:
        """Read the runs that may have ended; return the seconds until the next read."""
        self._read_runs([run_id for run_id, run in self._runs.items() if run.read_at <= now])
        if self._listener is not None:
            # A run that is newly watched may have ended before the watch began.
            for run_ids, found in self._listener.watch(self._runs):
                self._take(run_ids, found)
            notified = self._listener.notified()
            self._read_runs([run_id for run_id in notified if run_id in self._runs])
            # A run that could not be watched is ending now: read it soon, at growing intervals.
            for run in (self._runs[run_id] for run_id in self._listener.ending & self._runs.keys()):
                run.read_at = min(run.read_at, now + run.commit_pause)
                run.commit_pause *= 2
        next_read = min((run.read_at for run in self._runs.values()), default=now + _LONGEST_PAUSE)
        return next_read - time.monotonic()

    def _read_runs(self, run_ids: list[str]) -> None:
        for start in range(0, len(run_ids), MAX_READ):
            batch = run_ids[start : start + MAX_READ]
            try:
                found = self._read(batch)
            except Exception as error:
                if self._is_transient(error):
                    self._log_outage(error)
                    self._fail_impatient(batch, error)
                    self._schedule(batch)
                else:
                    for run_id in batch:
                        self._resolve(run_id, error=error)
                continue
            self._outage = False
            self._take(batch, found)

    def _take(self, run_ids: Collection[str], found: dict[str, Progress]) -> None:
        """Resolve those of these runs that have ended or do not exist; schedule the others."""
        running = [run_id for run_id in run_ids if run_id in found and not found[run_id].ended]
        for run_id in set(run_ids).difference(running):
            end = found.get(run_id)
            if end is not None and end.continued_as is not None:
                self._follow(run_id, end.continued_as)
            else:
                self._resolve(run_id, end)
        self._schedule(running)

    def _log_outage(self, error: Exception) -> None:
        """Log ``error``, once per outage."""
        if not self._outage:
            _log.warning("still waiting for results, but the database gives no answer: %s", error)
        self._outage = True

    def _fail_impatient(self, run_ids: Collection[str], error: Exception) -> None:
        for run_id in run_ids:
            run = self._runs[run_id]
            failed, run.impatient = run.impatient, set()
            run.futures = [future for future in run.futures if future not in failed]
            for future in failed:
                if future.set_running_or_notify_cancel():
                    future.set_exception(error)

    def _schedule(self, run_ids: Collection[str]) -> None:
        """Set the time of the next read of these runs."""
        now = time.monotonic()
        for run_id in run_ids:
            run = self._runs[run_id]
            covered = self._listener is not None and self._listener.covers(run_id)
            run.read_at = now + (_LONGEST_PAUSE if covered else run.pause)
            run.pause = min(run.pause * 2, _LONGEST_PAUSE)

    def _follow(self, run_id: str, successor: str) -> None:
        """Let those who wait for a run that has continued as new wait for its successor."""
        run = self._runs.pop(run_id)
        for future in run.futures:
            self._arrivals.append((successor, future, future not in run.impatient))
        self._wake()

    def _resolve(
        self, run_id: str, end: Progress | None = None, error: Exception | None = None
    ) -> None:
        for future in self._runs.pop(run_id).futures:
            if not future.set_running_or_notify_cancel():
                continue
            if error is None:
                future.set_result(end)
            else:
                future.set_exception(error)

    def _sleep(self, seconds: float) -> None:
        """Wait for ``_wake``, for a notification, or for ``seconds``."""
        poll = select.poll()
        poll.register(self._wake_reader, select.POLLIN)
        if self._listener is not None and (listener := self._listener.fileno()) is not None:
            poll.register(listener, select.POLLIN)
        poll.poll(max(0.0, seconds) * 1000)
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(4096):
                pass


def _closed_error() -> DatabaseUnreachable:
    return DatabaseUnreachable("This OpenWorkflow was closed while waiting for a result.")
