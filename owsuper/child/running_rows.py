"""The ``running`` rows of steps, written only for steps that take longer than 50 ms.

They are informational only, for users and the TypeScript dashboard, so they are written
asynchronously and without a flush.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.child.threads import ThreadPool
from owsuper.child.timers import DelayedCalls, Sweep
from owsuper.core.model import WriteSet
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_LATE: Final = 0.05  # seconds; rows for shorter steps would double the writes
_IDLE_PERIODS: Final = 16


class RunningRows:
    """Tracks the running steps of this child, and writes rows for the slow ones."""

    def __init__(
        self,
        database: ChildDatabase,
        store: RunStore,
        timers: DelayedCalls,
        threads: ThreadPool,
    ) -> None:
        self._database = database
        self._store = store
        self._threads = threads
        self._without_row: dict[str, tuple[float, Callable[[], WriteSet]]] = {}
        self._sweep = Sweep(timers, _LATE / 2, self._write_late, idle_periods=_IDLE_PERIODS)

    def began(self, attempt_id: str, describe: Callable[[], WriteSet]) -> None:
        """Note the start of a step's function; ``describe`` returns its row if it takes long."""
        self._without_row[attempt_id] = (time.monotonic(), describe)
        self._sweep.arm()

    def ended(self, attempt_id: str) -> None:
        """Note the end of a step's function."""
        self._without_row.pop(attempt_id, None)

    def _write_late(self) -> bool:
        before = time.monotonic() - _LATE
        late = [
            (attempt_id, describe)
            for attempt_id, (since, describe) in list(self._without_row.items())
            if since <= before
        ]
        writes = []
        for attempt_id, describe in late:
            if self._without_row.pop(attempt_id, None) is not None:
                writes.append(describe())
        if writes:
            self._threads.submit(self._write, writes)
        return bool(self._without_row)

    def _write(self, writes: list[WriteSet]) -> None:
        try:
            self._database.run_once(lambda conn: self._store.mark_running(conn, writes))
        except Unavailable as exc:
            _log.debug("no running rows written: %s", exc)
        except Exception:
            _log.exception("could not write running rows")
