"""Says that nobody has claimed a run whose result is awaited, and who serves which workflows."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Sequence
from typing import Any, Final

import psycopg
from psycopg import Connection

from owsuper.client.worker_texts import MAX_SHOWN, listed, place, title, who_serves_what
from owsuper.client.workers import worker_from_row
from owsuper.db.waits import Progress, Served, Waits
from owsuper.db.workers import WorkerQueries

# Seconds.
_UNCLAIMED: Final = 5.0  # without an owner after the due time; a shorter delay is normal
_SILENCE: Final = 600.0  # between two messages about one workflow

_log = logging.getLogger("owsuper.client")


class NoticingWaits(Waits):
    """Waits that log when a run has been due for some seconds and nobody has claimed it.

    There is one message for each workflow and version in ten minutes, however many runs wait.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        super().__init__(schema, namespace)
        self._workers = WorkerQueries(schema, namespace)
        self._noticed: dict[tuple[str, str | None], float] = {}  # time.monotonic()

    def read(self, conn: Connection[Any], run_ids: Collection[str]) -> dict[str, Progress]:
        """Return the state of these runs, as ``Waits.read`` does."""
        found = super().read(conn, run_ids)
        for run in found.values():
            if run.unclaimed is not None and run.unclaimed >= _UNCLAIMED:
                self._notice(conn, run)
        return found

    def _notice(self, conn: Connection[Any], run: Progress) -> None:
        now, workflow = time.monotonic(), (run.workflow_name, run.version)
        if now - self._noticed.get(workflow, -_SILENCE) < _SILENCE:
            return
        self._noticed[workflow] = now
        try:
            everyone = [worker_from_row(row) for row in self._workers.all().run(conn)]
            workers = [worker for worker in everyone if worker.here]
            connected, served = (0, []) if workers else self.serving(conn, MAX_SHOWN)
        except psycopg.Error:  # only the message suffers: a broken connection is seen elsewhere
            return
        known = (
            f"Workers of this namespace: {who_serves_what(workers)}."
            if workers
            else _executed(connected, served)
        )
        announced = [each for worker in workers for each in worker.workflows]
        executed = connected and [(each.workflow_name, each.version) for each in served]
        _log.warning("%s", _message(run, known, busy=workflow in (announced or executed or ())))


def _message(run: Progress, known: str, *, busy: bool) -> str:
    advice = (
        "Perhaps all workers of the workflow are busy."
        if busy
        else "Check that a worker with this workflow and version runs in this namespace."
    )
    return (
        f"nobody has claimed run {run.run_id} of {title(run.workflow_name, run.version)} in the"
        f" {run.unclaimed:.0f}s since it was due. {known} {advice}"
    )


def _executed(connected: int, served: Sequence[Served]) -> str:
    """Return what is known without presence: there is no worker, or all are behind poolers."""
    shown = [
        f"{title(each.workflow_name, each.version)} (worker {place(each.worker_id)},"
        f" {each.ago:.0f}s ago)"
        for each in served
    ]
    return (
        f"Workers connected to this database: {connected}. Last executed in this namespace:"
        f" {listed(shown)}."
    )
