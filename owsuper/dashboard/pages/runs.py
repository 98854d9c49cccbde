"""The screen Runs: a list with filters."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from psycopg import Connection
from starlette.responses import Response

from owsuper.core.pages import Window, encode_cursor
from owsuper.dashboard import parameters
from owsuper.dashboard.run_query import STATUSES, RunQuery
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard.run_lists import RunCount, RunLists, RunPage

_MORE: Final = (
    "attribute", "version", "created_from", "created_until", "finished_from", "finished_until",
    "parent", "crashed",
)  # fmt: skip
"""Fields that are folded as long as none of them is used."""


def _read(
    visit: Visit, query: RunQuery, window: Window, conn: Connection[Any]
) -> tuple[RunPage, RunCount]:
    lists = RunLists(visit.schema, visit.namespace)
    page = lists.page(query.search, window, oldest_first=query.oldest_first).run(conn)
    if page.total is not None:
        return page, RunCount(page.total, read_all=page.has_all)
    return page, lists.count(query.search).run(conn)


async def show(visit: Visit) -> Response:
    """Show a page of the runs that match the filter."""
    query = RunQuery.read(visit.request.query_params)
    window = parameters.window(visit.request.query_params)
    page, count = await visit.read(partial(_read, visit, query, window))
    following = page.next and query.changed(after=encode_cursor(page.next))
    preceding = page.previous and query.changed(before=encode_cursor(page.previous))
    return visit.render(
        "runs.html",
        query=query,
        statuses=STATUSES,
        more=any(query.value(name) for name in _MORE),
        runs=page.items,
        searched_to=page.searched_to,
        count=count,
        at=datetime.now(UTC),
        next_url=following and visit.url("/runs", following),
        previous_url=preceding and visit.url("/runs", preceding),
        first_url=visit.url("/runs", query.changed()),
    )


SCREEN: Final = Screen(title="Runs", pages={"/runs": show})
