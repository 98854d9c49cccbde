"""The ``running`` rows of steps, written late: a step that takes a millisecond needs none.

They tell people (and the other language's dashboard) what is going on; nothing is decided by
them, so they are not waited for and do not go to disk at once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.child.timers import DelayedCalls, Sweep
from owsuper.core.model import WriteSet
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_LATE: Final = 0.05  # seconds; a row for every shorter step would double the writes


class RunningRows:
    """The steps in flight in this child, and the rows of those that take long."""

    def __init__(
        self,
        database: ChildDatabase,
        store: RunStore,
        timers: DelayedCalls,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._database = database
        self._store = store
        self._threads = threads
        self._fresh: dict[str, tuple[float, Callable[[], WriteSet]]] = {}
        self._sweep = Sweep(timers, _LATE / 2, self._look)

    def began(self, attempt_id: str, describe: Callable[[], WriteSet]) -> None:
        """A step's function starts; ``describe`` gives its row if it takes long."""
        self._fresh[attempt_id] = (time.monotonic(), describe)
        self._sweep.arm()

    def ended(self, attempt_id: str) -> None:
        """A step's function has ended, so that its row is not needed."""
        self._fresh.pop(attempt_id, None)

    def _look(self) -> bool:
        before = time.monotonic() - _LATE
        late = [
            (attempt_id, describe)
            for attempt_id, (since, describe) in list(self._fresh.items())
            if since <= before
        ]
        writes = []
        for attempt_id, describe in late:
            if self._fresh.pop(attempt_id, None) is not None:
                writes.append(describe())
        if writes:
            self._threads.submit(self._write, writes)
        return bool(self._fresh)

    def _write(self, writes: list[WriteSet]) -> None:
        try:
            self._database.run_once(lambda conn: self._store.mark_running(conn, writes))
        except Unavailable as exc:
            _log.debug("no running rows written: %s", exc)
        except Exception:
            _log.exception("could not write running rows")
