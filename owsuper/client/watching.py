"""Looking at runs, and waiting for their ends, for many callers at once, as web servers do.

A caller that waits costs neither a thread nor a connection. A caller that looks gets its answer or
an error within its own limit, even if all threads are busy with calls that take longer.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from owsuper.client import results
from owsuper.db.waits import Progress
from owsuper.errors import DatabaseUnreachable

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.database import ClientDatabase
    from owsuper.client.handle import RunHandle
    from owsuper.client.result_waiter import ProgressFuture

_SLACK: Final = 0.5  # seconds for a thread to report that the read has reached its limit


async def connect(ow: OpenWorkflow, limit: float) -> None:
    """Connect to the database, and read a table.

    Raises ConfigurationError, and DatabaseError with its subclasses within ``limit`` seconds.
    """
    await _read(ow._database, [], limit)


async def look(run: RunHandle[Any], limit: float) -> Progress:
    """Return the state of the run now, or that of the last run that it has continued as.

    Raises RunNotFound, also for a run of another workflow than that of the handle, and
    DatabaseError with its subclasses, within ``limit`` seconds.
    """
    progress = (await _read(run._database, [run.id], limit)).get(run.id)
    if progress is None or run.workflow_name not in (None, progress.workflow_name):
        raise results.not_found(run.id)
    while (after := progress.continued_as) is not None:
        following = (await _read(run._database, [after], limit)).get(after)
        if following is None:  # it was deleted
            raise results.not_found(after)
        progress = following
    return progress


def end_of(run: RunHandle[Any], *, patient: bool) -> ProgressFuture:
    """Return a future of the end of this run, at which the caller has just looked.

    Cancel the future to stop waiting. One that is not ``patient`` fails when the database is away.
    """
    return run._database.session().waiter.future_of(run.id, patient=patient)


async def _read(database: ClientDatabase, run_ids: list[str], limit: float) -> dict[str, Progress]:
    session = await database.asession()
    give_up_at = time.monotonic() + limit
    read = session.acall(partial(session.read_progress, run_ids, give_up_at))
    try:
        return await asyncio.wait_for(read, limit + _SLACK)
    except TimeoutError:
        raise DatabaseUnreachable(
            f"The database has not answered within {limit:g} s, or all threads that ask it are busy"
        ) from None
