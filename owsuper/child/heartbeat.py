"""Leases of the runs in this child, renewed from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from owsuper.child.database import Database, Lost
from owsuper.child.passes import Pass
from owsuper.db.runs import RunStore

_log = logging.getLogger("owsuper.child")

_BEATS_PER_LEASE: Final = 3  # two may fail before the lease does
_PAUSE: Final = 1.0  # seconds between tries when the database is away


class Heartbeat:
    """Renews every lease three times while it lasts, and tells passes that lost theirs.

    ``beat`` is called with the worker ids that were renewed.
    """

    def __init__(
        self,
        passes: dict[str, Pass],
        database: Database,
        store: RunStore,
        lease: float,
        beat: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._passes = passes
        self._database = database
        self._store = store
        self._lease = lease
        self._beat = beat
        self._over = threading.Event()
        threading.Thread(target=self._run, name="owsuper-heartbeat", daemon=True).start()

    def stop(self) -> None:
        self._over.set()

    def _run(self) -> None:
        period = self._lease / _BEATS_PER_LEASE
        pause = period
        while not self._over.wait(pause):
            started = time.monotonic()
            try:
                self._renew()
            except Lost as exc:
                _log.warning("heartbeat failed, will retry: %s", exc)
                pause = min(_PAUSE, period)
            except Exception:
                _log.exception("heartbeat failed, will retry")
                pause = min(_PAUSE, period)
            else:
                pause = max(0.0, period - (time.monotonic() - started))

    def _renew(self) -> None:
        held = dict(self._passes)
        if not held:
            return
        leases = [(each.run.run_id, worker_id) for worker_id, each in held.items()]
        renewed = self._database.once(lambda conn: self._store.extend(conn, leases, self._lease))
        for worker_id, each in held.items():
            if worker_id not in renewed and worker_id in self._passes and not each.leaving:
                _log.warning("run %s was taken from us; stopping it", each.run.run_id)
                each.lose()
        if renewed:
            self._beat(tuple(renewed))
