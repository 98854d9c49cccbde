"""The overview: how many runs are where, how fast they go, and what needs a look.

Its figures are of one moment, and are read at most every few seconds, for all pages that are open
together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from psycopg import Connection
from starlette.responses import Response

from owsuper.client.workers import WorkerStatus
from owsuper.dashboard.charts import bars
from owsuper.dashboard.pages import workers as workers_page
from owsuper.dashboard.run_query import STATUSES
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard.overview import (
    DueRuns,
    OddRun,
    OverviewQueries,
    RecentRuns,
    StatusCount,
    WorkflowFailures,
)

_MINUTE, _MINUTES = 60.0, 60
_HALF_HOUR, _HALF_HOURS = 1800.0, 48
_MINUTES_OF_HALF_HOUR = 30

_FRESH: Final = 3.0  # seconds for which figures are used again, at least

_CRASHED_WITHIN: Final = timedelta(days=7)
_LAPSED: Final = 60.0  # seconds since the end of a lease; sweeps release lapsed ones sooner
_FAR: Final = 400 * 24 * 3600.0  # seconds: beyond the year for which signals are awaited
_UNSERVED: Final = 30.0  # seconds for which a run may be due before it needs a look
_SHOWN: Final = 5  # runs of each kind
_MOST_ROWS: Final = 12  # of a table


@dataclass(frozen=True, slots=True)
class Figures:
    """All of one moment: ``at``, by the database's clock."""

    at: datetime
    now: Mapping[str, StatusCount]
    hour: Mapping[str, RecentRuns]
    day: Mapping[str, RecentRuns]
    failures: Sequence[WorkflowFailures]
    queues: Sequence[DueRuns]
    odd: Sequence[OddRun]


def _first_stretch(at: datetime, seconds: float, stretches: int) -> datetime:
    """Return the beginning of the first of these stretches, the last of which goes on at ``at``."""
    last = at.timestamp() // seconds * seconds
    return datetime.fromtimestamp(last - (stretches - 1) * seconds, UTC)


def _read(queries: OverviewQueries, conn: Connection[Any]) -> Figures:
    row = conn.execute(b"SELECT now()").fetchone()
    assert row is not None
    at = row[0]
    odd = queries.attention(at - _CRASHED_WITHIN, lapsed=_LAPSED, far=_FAR, most=_SHOWN + 1)
    day = _first_stretch(at, _HALF_HOUR, _HALF_HOURS)
    minutes = int((at - day).total_seconds() // _MINUTE) + 1
    recent = queries.recent(day, _MINUTE, minutes).run(conn)
    return Figures(
        at=at,
        now=queries.now().run(conn),
        hour={status: each.last(_MINUTES) for status, each in recent.items()},
        day={status: each.joined(_MINUTES_OF_HALF_HOUR) for status, each in recent.items()},
        failures=queries.failures(day).run(conn),
        queues=queries.queues().run(conn),
        odd=odd.run(conn),
    )


def unserved(
    queues: Sequence[DueRuns], workers: Sequence[WorkerStatus], at: datetime
) -> list[DueRuns]:
    """Return the queues that wait, and that no connected worker serves."""
    return [
        queue
        for queue in queues
        if (at - queue.oldest).total_seconds() > _UNSERVED
        and not any(each.here and each.serves(queue.workflow, queue.version) for each in workers)
    ]


def _by_kind(odd: Sequence[OddRun]) -> dict[str, list[OddRun]]:
    return {
        kind: [each for each in odd if each.kind == kind]
        for kind in ("crashed", "lapsed", "never", "far")
    }


def _by_status(recent: Mapping[str, RecentRuns], stretches: int) -> dict[str, RecentRuns]:
    none = RecentRuns((0,) * stretches, False)
    return {status: recent.get(status, none) for status in STATUSES}


async def show(visit: Visit) -> Response:
    """Show the overview."""
    queries = OverviewQueries(visit.schema, visit.namespace)
    found, workers = await asyncio.gather(
        visit.kept("overview", _FRESH, lambda conn: _read(queries, conn)),
        workers_page.read_workers(visit),
    )
    hour = _by_status(found.hour, _MINUTES)
    day = _by_status(found.day, _HALF_HOURS)
    return visit.render(
        "overview.html",
        statuses=STATUSES,
        now=found.now,
        hour=hour,
        day=day,
        hour_chart=bars(
            {status: hour[status].counts for status in reversed(STATUSES)},
            f"{sum(each.total for each in hour.values())} runs created in the last hour,"
            " by minute and present status",
            height=90,
        ),
        sparks={
            status: bars(
                {status: each.counts},
                f"{status} runs created in the last 24 hours, by half hour",
            )
            for status, each in day.items()
        },
        failures=found.failures[:_MOST_ROWS],
        queues=found.queues[:_MOST_ROWS],
        more_queues=len(found.queues) - _MOST_ROWS,
        odd=_by_kind(found.odd),
        most_odd=_SHOWN,
        most_unserved=_MOST_ROWS,
        unserved=unserved(found.queues, workers, found.at),
        missing=[each for each in workers if not each.here],
        workers=workers,
        totals=workers_page.totals(workers),
        at=found.at,
    )


SCREEN: Final = Screen(title="Overview", pages={"/": show})
