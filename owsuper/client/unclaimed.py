"""Says that nobody has claimed a run whose result is awaited, and who serves which workflows."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import Any, Final

import psycopg
from psycopg import Connection

from owsuper.db.waits import Progress, Served, Waits

# Seconds.
_UNCLAIMED: Final = 5.0  # without an owner after the due time; a shorter delay is normal
_SILENCE: Final = 600.0  # between two messages about one workflow
_MAX_SERVED: Final = 5  # workflows in a message

_log = logging.getLogger("owsuper.client")


class NoticingWaits(Waits):
    """Waits that log when a run has been due for some seconds and nobody has claimed it.

    There is one message for each workflow and version in ten minutes, however many runs wait.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        super().__init__(schema, namespace)
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
            connected, served = self.serving(conn, _MAX_SERVED)
        except psycopg.Error:  # only the message suffers: a broken connection is seen elsewhere
            return
        _log.warning("%s", _message(run, connected, served))


def _message(run: Progress, connected: int, served: list[Served]) -> str:
    workflow = _title(run.workflow_name, run.version)
    known = [_title(each.workflow_name, each.version) for each in served]
    executed = ", ".join(
        f"{title} (worker {':'.join(each.worker_id.split(':')[:2])}, {each.ago:.0f}s ago)"
        for title, each in zip(known, served, strict=True)
    )
    if workflow in known and connected:
        advice = "Perhaps all workers of the workflow are busy."
    else:
        advice = "Check that a worker with this workflow and version runs in this namespace."
    return (
        f"nobody has claimed run {run.run_id} of {workflow} in the {run.unclaimed:.0f}s since it"
        f" was due. Workers connected to this database: {connected}. Last executed in this"
        f" namespace: {executed or 'nothing'}. {advice}"
    )


def _title(name: str, version: str | None) -> str:
    return name if version is None else f"{name} (version {version})"
