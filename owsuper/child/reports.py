"""Writes what runs report beside their results, progress and log lines, in a thread of its own.

Nobody waits for this thread, and it has a connection of its own: a report never delays a commit.
The thread starts with the first report. It writes at once, and then at most once a second.

In a process that a step forks, a report does nothing.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.db.reports import WRITE_SECONDS, NewLine, NewProgress, ReportStore

_log = logging.getLogger("owsuper.child")

_PERIOD: Final = 1.0  # seconds between two writes
_LINES: Final = 1000  # in one statement
_MOST_LINES: Final = 10_000  # that wait to be written
_MOST_CHARACTERS: Final = 16_000_000  # of these lines
_MOST_RUNS: Final = 10_000  # whose progress waits to be written


class Reports:
    """The reports of a child process that are not written yet.

    During an outage they wait, as many as there is room for; the last progress of a run replaces
    the one before. What the database refuses is dropped. Both are logged once.
    """

    def __init__(self, database: ChildDatabase, store: ReportStore) -> None:
        self._database = database
        self._store = store
        self._pid = os.getpid()
        self._progress: dict[str, NewProgress] = {}
        self._lines: deque[NewLine] = deque()
        self._characters = 0  # of the lines, about
        self._lost = 0  # lines without room
        self._failing = False
        self._wake = threading.Event()
        self._closing = threading.Event()
        self._ended = threading.Event()
        self._starting = threading.Lock()
        self._started = False

    def progress(self, progress: NewProgress) -> None:
        """Write this soon, unless the run reports something newer. Raises nothing."""
        if self._is_fork() or (
            len(self._progress) >= _MOST_RUNS and progress.run not in self._progress
        ):
            return
        self._progress[progress.run] = progress
        self._tell()

    def line(self, line: NewLine) -> None:
        """Write this soon, or count it as lost. Raises nothing."""
        if self._is_fork():
            return
        size = len(line.message) + len(line.exception or "")
        if len(self._lines) >= _MOST_LINES or self._characters + size > _MOST_CHARACTERS:
            self._lost += 1
            return
        self._characters += size
        self._lines.append(line)
        self._tell()

    def close(self) -> None:
        """Write what is left, once, and end the thread. Waits for two writes at most."""
        self._closing.set()
        if self._started:
            self._wake.set()
            self._ended.wait(2 * WRITE_SECONDS)

    def _is_fork(self) -> bool:
        return os.getpid() != self._pid

    def _tell(self) -> None:
        if not self._started:
            self._start()
        if not self._wake.is_set():
            self._wake.set()

    def _start(self) -> None:
        with self._starting:
            if self._started:
                return
            thread = threading.Thread(target=self._run, name="owsuper-reports", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the system gives none; the next report tries again
                return
            self._started = True

    def _run(self) -> None:
        over = False
        while not over:
            self._wake.wait()
            self._wake.clear()
            over = self._closing.is_set()
            self._write_all()
            if self._progress or self._lines:  # an outage, or what came meanwhile
                self._wake.set()
            if not over:
                self._closing.wait(_PERIOD)
        self._ended.set()

    # --- in the thread -----------------------------------------------------------------------

    def _write_all(self) -> None:
        # Once: a run that reports all the time must not hold up the lines, or have no pause.
        written = True
        if self._progress:
            batch = [self._progress.popitem()[1] for _ in range(len(self._progress))]
            written = self._write(self._store.store_progress, batch)
            if not written:
                for each in batch:
                    self._progress.setdefault(each.run, each)
        full = True
        while written and full and self._lines:
            lines = [self._lines.popleft() for _ in range(min(_LINES, len(self._lines)))]
            full = len(lines) == _LINES
            written = self._write(self._store.store_lines, lines)
            if written:
                size = sum(len(each.message) + len(each.exception or "") for each in lines)
                self._characters = max(0, self._characters - size) if self._lines else 0
            else:
                self._lines.extendleft(reversed(lines))
        if written and self._lost:
            lost, self._lost = self._lost, 0
            _log.warning("log lines of runs that could not be kept, for want of room: %d", lost)

    def _write(self, store: Callable[[Any, Sequence[Any]], None], batch: Sequence[Any]) -> bool:
        """Write ``batch``, or drop it if the database refuses it; return False in an outage."""
        try:
            self._database.run_for_reports(lambda conn: store(conn, batch))
        except Unavailable as exc:
            self._log_failure("are not stored now, will retry", exc)
            return False
        except Exception as exc:
            self._log_failure("are dropped", exc)
            return True
        self._failing = False
        return True

    def _log_failure(self, what: str, exc: Exception) -> None:
        level = logging.DEBUG if self._failing else logging.WARNING
        self._failing = True
        reason = " ".join(str(exc).split()) or type(exc).__name__
        _log.log(level, "progress and log lines of runs %s: %s", what, reason)
