"""The leases of the runs in this child: renewing them, and noticing that one is lost."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.db.runs import RunStore

if TYPE_CHECKING:
    from owsuper.child.execution.base import Execution

_log = logging.getLogger("owsuper.child")

_PAUSE: Final = 0.2  # seconds between tries while the database, or somebody's lock, is in the way


class Leases:
    """``seconds`` is what each renewal is good for."""

    def __init__(self, database: ChildDatabase, store: RunStore, seconds: float) -> None:
        self.seconds = seconds
        self._database = database
        self._store = store

    def renew(self, held: Collection[Execution]) -> set[str]:
        """Renew the leases of these passes, and tell those that have lost theirs.

        The worker ids that were renewed. Raises one of ``Lost`` in an outage.
        """
        began = time.monotonic()
        asked = [(each.run.run_id, each.run.worker_id) for each in held]
        good = self._database.once(lambda conn: self._store.extend(conn, asked, self.seconds))
        for each in held:
            renewed = good.get(each.run.worker_id)
            if renewed:
                each.leased_until = began + self.seconds
            elif renewed is None and not each.leaving:
                _log.warning("run %s was canceled, or taken from us; stopping it", each.run.run_id)
                each.lose()
        return {worker for worker, renewed in good.items() if renewed}

    def confirm(self, each: Execution) -> None:
        """Make sure that the run is still ours, if its lease may have run out unnoticed.

        That is so after this process stood still for a while, or the database was away. Blocks
        until it is known; a run that is not ours any more is told so.
        """
        while time.monotonic() >= each.leased_until and each.verdict is None:
            try:
                self.renew([each])
            except Unavailable as exc:
                self._database.tell_away(exc)
            if time.monotonic() >= each.leased_until and self._database.closing.wait(_PAUSE):
                return
