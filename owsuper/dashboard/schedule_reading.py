"""What pages and actions read of one schedule."""

from __future__ import annotations

from typing import Any, Final

from psycopg import Connection
from starlette.exceptions import HTTPException

from owsuper.client.schedule_models import PastTick, ScheduleStatus, schedule_from_row
from owsuper.dashboard.visit import Visit
from owsuper.db.schedule_store import ScheduleStore

_TICKS: Final = 50
NOT_THERE: Final = "There is no such schedule. It may have been deleted."


def read_schedule(
    visit: Visit, name: str, conn: Connection[Any]
) -> tuple[ScheduleStatus, list[PastTick]]:
    """Return a schedule with its latest ticks. Raises HTTPException if there is none."""
    store = ScheduleStore(visit.schema, visit.namespace)
    _, row = store.get(name).run(conn)
    if row is None:
        raise HTTPException(404, NOT_THERE)
    ticks = store.ticks(name, _TICKS).run(conn)
    return schedule_from_row(row), [
        PastTick(at=at, outcome=outcome, run_id=run_id, decided_at=decided_at)
        for at, outcome, run_id, decided_at in ticks
    ]
