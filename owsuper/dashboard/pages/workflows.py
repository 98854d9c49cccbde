"""The screen Workflows: names and versions, who serves them, numbers of the last day, and steps."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

from psycopg import Connection
from starlette.responses import Response

from owsuper.client.workers import WorkerStatus, worker_from_row
from owsuper.client.workflow_status import PausedWorkflow, read_pauses
from owsuper.dashboard import parameters
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard.workflows import (
    MOST_COUNTED,
    MOST_RUNS,
    MOST_TIMED,
    StepStatistics,
    WorkflowLists,
    WorkflowStatistics,
)
from owsuper.db.pauses import PauseQueries
from owsuper.db.workers import WorkerQueries

_NAMES: Final = 25  # on a page
_STEPS: Final = 15  # in each list of steps
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class ServedVersion:
    """A version of a workflow, and the connected workers that serve it."""

    version: str | None
    workers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """``workflows`` with their versions; ``next`` is the name after which the next page begins."""

    workflows: list[tuple[WorkflowStatistics, list[ServedVersion]]]
    pauses: dict[str, PausedWorkflow]
    steps: list[StepStatistics]
    next: str | None


async def show(visit: Visit) -> Response:
    """Show a page of the workflows, and the steps of one of them if it is chosen."""
    query = visit.request.query_params
    parameters.check_names(query, ("workflow", "after"))
    chosen, after = parameters.text(query, "workflow"), parameters.text(query, "after")
    at = datetime.now(UTC)
    found = await visit.read(partial(_read, visit, chosen, after, at))
    failing = sorted(
        (step for step in found.steps if step.failed),
        key=lambda step: (-step.failure_rate, -step.failed),
    )
    return visit.render(
        "workflows.html",
        workflows=found.workflows,
        pauses=found.pauses,
        chosen=chosen,
        slowest=[step for step in found.steps if step.p95 is not None][:_STEPS],
        failing=failing[:_STEPS],
        at=at,
        is_first=after is None,
        next_url=found.next and visit.url("/workflows", {"after": found.next}),
        most_counted=MOST_COUNTED,
        most_timed=MOST_TIMED,
        most_runs=MOST_RUNS,
        day_start=at - _DAY,
    )


def _read(
    visit: Visit, chosen: str | None, after: str | None, at: datetime, conn: Connection[Any]
) -> _Found:
    rows = WorkerQueries(visit.schema, visit.namespace).all().run(conn)
    workers = [worker for row in rows if (worker := worker_from_row(row)).here]
    pauses = read_pauses(PauseQueries(visit.schema, visit.namespace), conn)
    lists, since = WorkflowLists(visit.schema, visit.namespace), at - _DAY
    if chosen is not None:
        names = [chosen]
    else:
        known = {name for worker in workers for name, _ in worker.workflows} | {*pauses}
        names = lists.names(_NAMES + 1, after=after or "", known=known).run(conn)
    shown = names[:_NAMES]
    numbers = lists.statistics(shown, since).run(conn)
    return _Found(
        workflows=[(numbers[name], _versions(numbers[name], workers)) for name in shown],
        pauses=pauses,
        steps=[] if chosen is None else lists.steps(chosen, since).run(conn),
        next=shown[-1] if len(names) > _NAMES else None,
    )


def _versions(
    statistics: WorkflowStatistics, workers: Iterable[WorkerStatus]
) -> list[ServedVersion]:
    """Return the versions that are served, or of which runs have completed."""
    serving: dict[str | None, list[str]] = {version: [] for version in statistics.versions}
    for worker in workers:
        for name, version in worker.workflows:
            if name == statistics.name:
                serving.setdefault(version, []).append(f"{worker.host}:{worker.pid}")
    ordered = sorted(serving, key=lambda version: (version is not None, version or ""))
    return [ServedVersion(version, tuple(serving[version])) for version in ordered]


SCREEN: Final = Screen(title="Workflows", pages={"/workflows": show})
