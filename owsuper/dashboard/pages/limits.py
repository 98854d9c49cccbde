"""The screen Limits: how many runs hold a place and how many wait, for each limit and each key."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.dashboard import parameters
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit
from owsuper.db.limit_reads import MOST_COUNTED, LimitKeyRow, LimitReads, LimitRow


async def show(visit: Visit) -> Response:
    """Show all limits, or one with a page of the keys in use, which are parts of inputs."""
    query = visit.request.query_params
    parameters.check_names(query, ("limit", "after"))
    name = parameters.text(query, "limit", exact=True)
    after = parameters.text(query, "after", exact=True)
    reads = LimitReads(visit.schema, visit.namespace)

    def read(conn: Any) -> tuple[list[LimitRow], list[LimitKeyRow]]:
        limits = reads.all(name).run(conn)
        if name is None or not limits or visit.options.hide_values:
            return limits, []
        return limits, reads.keys(name, parameters.PAGE_SIZE + 1, after).run(conn)

    limits, keys = await visit.read(read)
    if name is not None and not limits:
        raise HTTPException(404, f"No limit has the name {name[:100]!r}.")
    shown = keys[: parameters.PAGE_SIZE]
    more = len(keys) > len(shown)
    return visit.render(
        "limits.html",
        limits=limits,
        name=name,
        keys=shown,
        most=MOST_COUNTED,
        at=datetime.now(UTC),
        first_url=visit.url("/limits", {"limit": name}) if after else None,
        next_url=visit.url("/limits", {"limit": name, "after": shown[-1].key}) if more else None,
    )


SCREEN: Final = Screen(title="Limits", pages={"/limits": show})
