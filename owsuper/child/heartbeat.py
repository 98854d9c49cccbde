"""Leases of the runs in this child, renewed from a thread of its own."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.child.execution.base import Execution
from owsuper.child.leases import Leases

_log = logging.getLogger("owsuper.child")

_BEATS_PER_LEASE: Final = 3  # two may fail before the lease does
_PAUSE: Final = 1.0  # seconds between tries when the database is away


class Heartbeat:
    """Renews every lease three times while it lasts, and tells passes that lost theirs.

    ``beat`` is called with the worker ids that were renewed.
    """

    def __init__(
        self,
        executions: dict[str, Execution],
        database: ChildDatabase,
        leases: Leases,
        beat: Callable[[tuple[str, ...]], None],
    ) -> None:
        self._executions = executions
        self._database = database
        self._leases = leases
        self._beat = beat
        self._over = False
        self._asked = threading.Event()
        threading.Thread(target=self._run, name="owsuper-heartbeat", daemon=True).start()

    def stop(self) -> None:
        self._over = True
        self._asked.set()

    def now(self) -> None:
        """Renew at once, and so find out which leases are lost."""
        self._asked.set()

    def _run(self) -> None:
        period = self._leases.seconds / _BEATS_PER_LEASE
        pause = period
        while True:
            self._asked.wait(pause)
            self._asked.clear()
            if self._over:
                return
            started = time.monotonic()
            try:
                all_good = self._renew()
            except Unavailable as exc:
                self._database.tell_away(exc)
                all_good = False
            except Exception:
                _log.exception("heartbeat failed, will retry")
                all_good = False
            if all_good:
                pause = max(0.0, period - (time.monotonic() - started))
            else:
                pause = min(_PAUSE, period)

    def _renew(self) -> bool:
        """Whether all leases could be renewed that are not lost."""
        held = list(self._executions.values())
        if not held:
            return True
        renewed = self._leases.renew(held)
        if renewed:
            self._beat(tuple(renewed))
        return all(
            each.run.worker_id in renewed or each.leaving or each.verdict is not None
            for each in held
        )
