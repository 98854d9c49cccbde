"""Draining a worker, and looking where the code of its processes is."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Final
from weakref import WeakKeyDictionary

from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.client.session import Session
from owsuper.client.workers import WorkerStatus
from owsuper.dashboard.actions import performing
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.workers import SupervisorRow

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow

_KEPT: Final = 5.0  # seconds for which stacks are shown again: all workers answer each question
_GONE: Final = "No such worker is connected. It may have ended meanwhile."
_DEAF: Final = (
    "This worker hears no notifications, because it was started with --no-listen or reaches the"
    " database through a connection pooler. Stop it on its host, by TERM."
)


def _find(worker_id: str, session: Session) -> SupervisorRow | None:
    rows = session.run(session.workers.all().run)
    return next((each for each in rows if each.id == worker_id and each.connected), None)


async def confirm_drain(visit: Visit) -> Response:
    """Show which worker is going to be drained, and what it does."""
    performing.permit(visit)
    listed = await visit.ow.alist_workers()
    worker = next((each for each in listed if each.id == visit.query("worker")), None)
    if worker is None or not worker.here:
        raise HTTPException(404, _GONE)
    return visit.render("confirm_drain.html", worker=worker, identity=performing.identity(visit))


async def drain(visit: Visit) -> Response:
    """Ask a worker to finish its runs, take no others, and end."""
    performing.permit(visit)
    worker_id = visit.field("worker")
    if not worker_id:
        raise refuse("worker: no worker is named.")
    action = Action(name="drain", target={"worker": worker_id})
    return await performing.perform(visit, action, partial(_drain, worker_id))


def _drain(worker_id: str, session: Session, _key: str) -> ActionAnswer:
    row = _find(worker_id, session)
    if row is None:
        return ActionAnswer(refused=1, message=_GONE)
    if row.pooled or (isinstance(row.status, dict) and row.status.get("listening") is False):
        return ActionAnswer(refused=1, message=_DEAF)
    session.run(session.workers.drain(worker_id).run)
    return ActionAnswer(
        done=1,
        message="The worker was asked to drain. It finishes its runs, takes no others, and ends.",
    )


async def show_stacks(visit: Visit) -> Response:
    """Show where the code of a worker's processes is. Their runs go on meanwhile."""
    session = await visit.ow._database.asession()
    listed = await session.acall(partial(_stacks.read, visit.ow))
    worker = next((each for each in listed if each.id == visit.query("worker")), None)
    if worker is None:
        raise HTTPException(404, _GONE)
    number = visit.query("child")
    shown = [each for each in worker.processes if number in (None, str(each.number))]
    return visit.render("stacks.html", worker=worker, processes=shown)


class _RecentStacks:
    """The stacks of all workers, asked for once for all who look at the same time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: WeakKeyDictionary[OpenWorkflow, tuple[float, list[WorkerStatus]]] = (
            WeakKeyDictionary()
        )

    def read(self, ow: OpenWorkflow) -> list[WorkerStatus]:
        """Return the workers with their stacks, of a few seconds ago."""
        with self._lock:
            at, found = self._found.get(ow, (-_KEPT, []))
            if time.monotonic() - at > _KEPT:
                found = ow.list_workers(stacks=True)
                self._found[ow] = time.monotonic(), found
            return found


_stacks: Final = _RecentStacks()
