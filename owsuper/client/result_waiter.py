"""Waiting for runs to end: one thread and one connection for all who wait in this process.

The database's notification is a hint that makes waiting quick; the look at the tables is the
truth, and goes on behind it: at growing intervals while the end of a run might not be heard,
at long ones when it will be. All who wait share one statement.
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
from typing import Final

from owsuper.client.result_listener import ResultListener
from owsuper.db.waits import Progress
from owsuper.errors import DatabaseUnreachable

ReadRuns = Callable[[list[str]], dict[str, Progress]]
Awaited = Future[Progress | None]
"""How the run ended, or None if there is no such run."""

_FIRST_PAUSE: Final = 0.05  # seconds between looks
_LONGEST_PAUSE: Final = 1.0
_COMMIT: Final = 0.001  # seconds; somebody is just ending the run, and will not notify
_PATIENCE: Final = 30.0  # seconds without anybody waiting, after which the thread leaves
_FAREWELL: Final = 2.0  # seconds for the thread to end; it may be in the midst of connecting
_LOOK_AT_MOST: Final = 100  # runs in one look: their results are in memory at once

_log = logging.getLogger("owsuper.client")


@dataclass(slots=True)
class _Run:
    """A run that somebody waits for, and when to look at it next (``time.monotonic``)."""

    look_at: float
    pause: float
    shortly: float = _COMMIT
    awaited: list[Awaited] = field(default_factory=list)


class ResultWaiter:
    """``expect`` gives a future; a thread, started when there is somebody to wait, fulfils it.

    ``look`` reads the tables; it is repeated after an error that ``passes``, while any other
    reaches those who wait. ``listener`` is None where notifications are not wanted.
    """

    def __init__(
        self, look: ReadRuns, passes: Callable[[Exception], bool], listener: ResultListener | None
    ) -> None:
        self._look = look
        self._passes = passes
        self._listener = listener
        self._runs: dict[str, _Run] = {}  # the thread's own
        self._away = False
        self._arrivals: deque[tuple[str, Awaited]] = deque()
        # Guards the thread's coming and going. Reentrant, because the garbage collector may
        # stop the watcher of a forgotten client at any moment, in any thread.
        self._lock = threading.RLock()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._nudged, self._nudge = socket.socketpair()
        self._nudged.setblocking(False)
        self._nudge.setblocking(False)

    def expect(self, run_id: str) -> Awaited:
        """A future of the end of this run, which was looked at just now; cancel it to let go."""
        awaited: Awaited = Future()
        with self._lock:
            if self._stopped:
                raise _closed()
            self._arrivals.append((run_id, awaited))
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._serve, name="owsuper-results", daemon=True
                )
                self._thread.start()
            self._wake()
        return awaited

    def stop(self) -> None:
        """End the thread. Who still waits is told DatabaseUnreachable."""
        with self._lock:
            if self._stopped:
                return
            self._stopped = True
            thread = self._thread
            if thread is None:
                self._finish()
            else:
                self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join(_FAREWELL)

    def sockets(self) -> list[int]:
        """The descriptor of the connection, if there is one."""
        descriptor = self._listener.fileno() if self._listener is not None else None
        return [] if descriptor is None else [descriptor]

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full, so it is awake
            self._nudge.send(b".")

    # --- in the thread -------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            last_needed = time.monotonic()
            while True:
                self._welcome()
                now = time.monotonic()
                last_needed = now if self._runs else last_needed
                with self._lock:
                    bored = now > last_needed + _PATIENCE and not self._arrivals
                    if self._stopped or bored:
                        self._leave()
                        return
                self._sleep(self._turn(now))
        except Exception as error:  # whatever it is, nobody shall wait in vain
            _log.exception("the thread that waits for results failed")
            with self._lock:
                self._dismiss(error)
                self._leave()

    def _leave(self) -> None:
        """Make way for another thread, which may be started as soon as the lock is released."""
        if self._listener is not None:
            self._listener.close()
        self._thread = None
        if self._stopped:
            self._finish()

    def _finish(self) -> None:
        self._dismiss(_closed())
        self._nudged.close()
        self._nudge.close()

    def _dismiss(self, error: Exception) -> None:
        """Tell all who wait that it is in vain."""
        self._welcome()
        for run_id in list(self._runs):
            self._settle(run_id, error=error)

    def _welcome(self) -> None:
        """Take in who arrived, forget who left."""
        while self._arrivals:
            run_id, awaited = self._arrivals.popleft()
            run = self._runs.setdefault(run_id, _Run(time.monotonic() + _FIRST_PAUSE, _FIRST_PAUSE))
            run.awaited.append(awaited)
        for run_id, run in list(self._runs.items()):
            run.awaited = [each for each in run.awaited if not each.done()]
            if not run.awaited:
                del self._runs[run_id]

    def _turn(self, now: float) -> float:
        """Look at what may have ended; the seconds until there is more to look at."""
        self._look_at([run_id for run_id, run in self._runs.items() if run.look_at <= now])
        if self._listener is not None:
            suspects = self._listener.announce(self._runs) | self._listener.hear()
            self._look_at([run_id for run_id in suspects if run_id in self._runs])
            for run in (self._runs[run_id] for run_id in self._listener.ending & self._runs.keys()):
                run.look_at = min(run.look_at, now + run.shortly)
                run.shortly *= 2
        next_look = min((run.look_at for run in self._runs.values()), default=now + _LONGEST_PAUSE)
        return next_look - time.monotonic()

    def _look_at(self, run_ids: list[str]) -> None:
        for start in range(0, len(run_ids), _LOOK_AT_MOST):
            batch = run_ids[start : start + _LOOK_AT_MOST]
            try:
                found = self._look(batch)
            except Exception as error:
                if self._passes(error):
                    self._tell_of(error)
                    self._postpone(batch)
                else:
                    for run_id in batch:
                        self._settle(run_id, error=error)
                continue
            self._away = False
            running = [run_id for run_id in batch if run_id in found and not found[run_id].ended]
            for run_id in set(batch).difference(running):
                self._settle(run_id, found.get(run_id))
            self._postpone(running)

    def _tell_of(self, error: Exception) -> None:
        """Once in an outage, for it may last."""
        if not self._away:
            _log.warning("still waiting for results, but the database is away: %s", error)
        self._away = True

    def _postpone(self, run_ids: Collection[str]) -> None:
        now = time.monotonic()
        for run_id in run_ids:
            run = self._runs[run_id]
            sure = self._listener is not None and self._listener.is_sure_of(run_id)
            run.look_at = now + (_LONGEST_PAUSE if sure else run.pause)
            run.pause = min(run.pause * 2, _LONGEST_PAUSE)

    def _settle(
        self, run_id: str, end: Progress | None = None, error: Exception | None = None
    ) -> None:
        for awaited in self._runs.pop(run_id).awaited:
            if not awaited.set_running_or_notify_cancel():
                continue
            if error is None:
                awaited.set_result(end)
            else:
                awaited.set_exception(error)

    def _sleep(self, seconds: float) -> None:
        """Until a nudge, a notification, or ``seconds`` have passed."""
        ready = select.poll()
        ready.register(self._nudged, select.POLLIN)
        if self._listener is not None and (listener := self._listener.fileno()) is not None:
            ready.register(listener, select.POLLIN)
        ready.poll(max(0.0, seconds) * 1000)
        with contextlib.suppress(BlockingIOError):
            while self._nudged.recv(4096):
                pass


def _closed() -> DatabaseUnreachable:
    return DatabaseUnreachable("This OpenWorkflow was closed while a result was waited for.")
