"""The workers of all hosts: supervisors, their child processes, and what each does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from starlette.responses import Response

from owsuper.client.workers import WorkerState, WorkerStatus, worker_from_row
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.workers import WorkerQueries

_FRESH: Final = 1.0  # seconds; workers announce themselves within some seconds of a change

# The order of the page: first what needs a look.
_ORDER: Final = (
    WorkerState.ORPHANED,
    WorkerState.MISSING,
    WorkerState.UNKNOWN,
    WorkerState.STARTING,
    WorkerState.DRAINING,
    WorkerState.SERVING,
)


@dataclass(frozen=True, slots=True)
class WorkerTotals:
    """Sums over the workers that are connected; memory in bytes."""

    workers: int
    hosts: int
    gone: int
    processes: int
    busy: int
    slots: int
    rss_bytes: int


async def read_workers(visit: Visit) -> list[WorkerStatus]:
    """Return the workers of the namespace, those that need a look first."""
    queries = WorkerQueries(visit.schema, visit.namespace)
    rows = await visit.kept("workers", _FRESH, queries.all().run)
    workers = [worker_from_row(row) for row in rows]
    return sorted(workers, key=lambda each: (_ORDER.index(each.state), each.host, each.pid))


def totals(workers: Sequence[WorkerStatus]) -> WorkerTotals:
    """Return the sums for the head of the page."""
    here = [each for each in workers if each.here]
    processes = [process for each in here for process in each.processes]
    return WorkerTotals(
        workers=len(here),
        hosts=len({each.host for each in here}),
        gone=len(workers) - len(here),
        processes=len(processes),
        busy=sum(each.busy for each in here),
        slots=sum(each.slots for each in here),
        rss_bytes=sum(each.rss_bytes or 0 for each in here)
        + sum(process.rss_bytes or 0 for process in processes),
    )


async def show(visit: Visit) -> Response:
    """Show all workers."""
    workers = await read_workers(visit)
    return visit.render("workers.html", workers=workers, totals=totals(workers))


SCREEN: Final = Screen(title="Workers", pages={"/workers": show})
