"""What a pass asks of the database in the middle: for answers, and for signals to be sent."""

from __future__ import annotations

from owsuper.child.database import ChildDatabase
from owsuper.core.model import ChildRunState, ClaimedRun, DeliveredSignal
from owsuper.core.steps.effects import EnsureChildRun
from owsuper.db.related import RelatedStore


class Inquiries:
    """All of these block, wait through outages, and may be called from any thread."""

    def __init__(self, database: ChildDatabase, store: RelatedStore) -> None:
        self._database = database
        self._store = store

    def look(self, attempt_id: str) -> ChildRunState | DeliveredSignal | None:
        """What has come of that which this step attempt waits for."""
        return self._database.patiently(lambda conn: self._store.look(conn, attempt_id))

    def adopt(self, run: ClaimedRun, effect: EnsureChildRun) -> ChildRunState | None:
        """The child of a step attempt that somebody else began; None if ``run`` is not ours."""
        return self._database.patiently(
            lambda conn: self._store.adopt(
                conn, run.run_id, run.worker_id, effect.attempt_id, effect.child
            )
        )

    def send(self, run_id: str, key: str, signal: str, data: bytes | None, keep: bool) -> list[str]:
        """Send ``signal`` from the step ``key`` of a run, once however often it is asked for; the
        ids of the runs that it reached. ``keep`` it for the next to wait, if it reached none.
        """
        sender = f"__signal:{run_id}:{key}"
        return self._database.patiently(
            lambda conn: self._store.send(conn, signal, data, sender, keep=keep)
        )
