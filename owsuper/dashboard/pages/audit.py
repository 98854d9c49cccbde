"""What people did: the list of actions, and the answer of each."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from psycopg import Connection
from starlette.exceptions import HTTPException
from starlette.responses import Response

from owsuper.core import pages
from owsuper.core.pages import Page, Window
from owsuper.dashboard.actions import performing
from owsuper.dashboard.screen import Screen
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.audit import (
    KEPT_DAYS,
    ActionEntry,
    AuditQueries,
    PartialAnswer,
    position_of,
)
from owsuper.errors import ConfigurationError

_PAGE: Final = 50  # entries
_MOST_REFUSALS: Final = 200  # on the page of an action
_FRESH: Final = 15.0  # seconds in which another process may be about to write an answer
_REFRESH: Final = 2  # seconds between two looks at an action that is under way


def _page(visit: Visit, window: Window, conn: Connection[Any]) -> Page[ActionEntry]:
    queries = AuditQueries(visit.schema, visit.namespace)
    return pages.make_page(window, queries.entries(window).run(conn), position_of)


async def show(visit: Visit) -> Response:
    """Show a page of the actions, the newest first."""
    try:
        window = pages.make_window(_PAGE, visit.query("after"), None)
    except ConfigurationError as error:
        raise refuse(str(error)) from None
    page = await visit.read(partial(_page, visit, window))
    return visit.render("audit.html", page=page, subject=_subject, kept_days=KEPT_DAYS)


def _subject(entry: ActionEntry) -> str:
    """Return on what an action was performed, in a few words."""
    target = entry.target
    if isinstance(run_ids := target.get("id"), list):
        return f"{len(run_ids)} runs"
    if target.get("all"):
        return f"all runs: {target.get('match') or 'every run'}"
    names = (run_ids, *(target.get(name) for name in ("signal", "workflow", "worker", "schedule")))
    return str(next((each for each in names if each), ""))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _entry(
    visit: Visit, entry_id: str, conn: Connection[Any]
) -> tuple[ActionEntry | None, list[PartialAnswer]]:
    queries = AuditQueries(visit.schema, visit.namespace)
    entry = queries.entry(entry_id).run(conn)
    return entry, [] if entry is None else queries.answers(entry_id).run(conn)


async def show_entry(visit: Visit) -> Response:
    """Show an action with its answer, or how far it has come."""
    entry_id = visit.request.path_params["entry_id"]
    entry, answers = await visit.read(partial(_entry, visit, entry_id))
    if entry is None:
        raise HTTPException(404, "There is no such entry. It may be too old.")
    latest = max([entry.asked_at, *(each.answered_at for each in answers)])
    age = (datetime.now(UTC) - latest).total_seconds()
    is_open = entry.answered_at is None
    under_way = is_open and (performing.is_under_way(entry_id) or age < _FRESH)
    again = None
    if is_open and not under_way and visit.options.allow_actions:
        again = visit.url(f"/actions/{entry.action}", {"key": entry.id, **entry.target})
    refusals = [each for part in answers for each in part.details.get("refusals", ())]
    return visit.render(
        "audit_entry.html",
        entry=entry,
        target=_json(entry.target),
        arguments=_json(entry.arguments),
        refusals=refusals[:_MOST_REFUSALS],
        runs=[each for part in answers for each in part.details.get("runs", ())],
        message=next((each.details["message"] for each in answers[::-1]), ""),
        under_way=under_way,
        refresh=_REFRESH,
        again=again,
        at=datetime.now(UTC),
    )


SCREEN: Final = Screen(title="Audit", pages={"/audit": show, "/audit/{entry_id}": show_entry})
