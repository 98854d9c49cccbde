"""The schedules: when each is due, in words, and what came of its latest ticks."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from owsuper.client.schedule_models import schedule_from_row
from owsuper.core.schedules.timetable import Timetable
from owsuper.dashboard import parameters
from owsuper.dashboard.schedule_reading import read_schedule
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.schedule_store import ScheduleStore
from owsuper.errors import ConfigurationError

_UPCOMING: Final = 5


async def show(visit: Visit) -> Response:
    """Show the schedules by name, page by page."""
    query = visit.request.query_params
    parameters.check_names(query, ("after",))
    after = parameters.text(query, "after", exact=True)
    store = ScheduleStore(visit.schema, visit.namespace)
    rows = await visit.read(store.page(after, parameters.PAGE_SIZE + 1).run)
    shown = [schedule_from_row(row) for row in rows[: parameters.PAGE_SIZE]]
    more = len(rows) > len(shown)
    return visit.render(
        "schedules.html",
        schedules=shown,
        first_url=visit.url("/schedules") if after else None,
        next_url=visit.url("/schedules", {"after": shown[-1].name}) if more else None,
    )


async def show_one(visit: Visit) -> Response:
    """Show a schedule, its next ticks and its latest ones."""
    name = visit.request.path_params["name"]
    schedule, ticks = await visit.read(lambda conn: read_schedule(visit, name, conn))
    upcoming, problem = [], ""
    if schedule.next_at is not None:
        upcoming.append(schedule.next_at)
        try:
            timetable = Timetable(
                cron=schedule.cron,
                every=None if schedule.every is None else schedule.every.total_seconds(),
                timezone=schedule.timezone,
                start=schedule.start,
                end=schedule.end,
            )
        except ConfigurationError as error:  # this host lacks the zone
            problem = str(error)
        else:
            while len(upcoming) < _UPCOMING:
                if (following := timetable.next_after(upcoming[-1])) is None:
                    break
                upcoming.append(following)
    return visit.render(
        "schedule.html", schedule=schedule, ticks=ticks, upcoming=upcoming, problem=problem
    )


SCREEN: Final = Screen(
    title="Schedules", pages={"/schedules": show, "/schedules/{name:path}": show_one}
)
