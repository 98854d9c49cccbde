"""The screen Waiting: runs that wait for signals, as an inbox."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from starlette.responses import Response

from owsuper.core.pages import encode_cursor
from owsuper.dashboard import parameters
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard.signal_waits import WaitLists

_SORTS: Final = ("oldest", "newest")


async def show(visit: Visit) -> Response:
    """Show a page of the steps that wait for a signal, those that began first."""
    query = visit.request.query_params
    parameters.check_names(query, ("signal", "workflow", *parameters.PAGING))
    signal, workflow = parameters.text(query, "signal"), parameters.text(query, "workflow")
    sort = parameters.one_of(query, "sort", _SORTS)
    operation = WaitLists(visit.schema, visit.namespace).page(
        parameters.window(query),
        workflow=workflow,
        signal=signal,
        newest_first=sort == "newest",
    )
    page = await visit.read(operation.run)
    same = {"signal": signal, "workflow": workflow, "sort": sort}

    def url(**cursor: str) -> str:
        return visit.url("/waiting", {**same, **cursor})

    return visit.render(
        "waiting.html",
        waits=page.items,
        searched_to=page.searched_to,
        signal=signal,
        workflow=workflow,
        newest_first=sort == "newest",
        at=datetime.now(UTC),
        next_url=page.next and url(after=encode_cursor(page.next)),
        previous_url=page.previous and url(before=encode_cursor(page.previous)),
        first_url=url(),
    )


SCREEN: Final = Screen(title="Waiting", pages={"/waiting": show})
