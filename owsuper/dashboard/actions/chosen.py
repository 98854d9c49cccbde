"""The runs that an action is for: one, some that were selected, or all that match a filter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from psycopg import Connection
from starlette.datastructures import QueryParams

from owsuper.client.models import Run, run_from_row
from owsuper.core.durations import parse_iso
from owsuper.core.pages import Window
from owsuper.dashboard.run_query import RunQuery, matching_ids, too_many_ids
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.dashboard.run_lists import RunCount, RunLists, RunSearch
from owsuper.db.dashboard.run_page import RunPageQueries

MOST_SELECTED: Final = 1000
"""The most runs that can be selected one by one; a filter selects any number."""

_BATCH: Final = 100  # runs of one part of the answer
_LONGEST_ID: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class Chosen:
    """``run_ids``, or all runs that match ``query`` and were created before ``until``.

    Without ``undos``, runs that undo others match only if the query names their workflow.
    """

    run_ids: tuple[str, ...] = ()
    query: RunQuery | None = None
    until: datetime | None = None
    undos: bool = True

    @property
    def target(self) -> Mapping[str, Any]:
        """The same as query parameters; see ``read``."""
        if self.query is None:
            return {"id": list(self.run_ids)}
        until = None if self.until is None else self.until.isoformat()
        return {"match": self.query.text, "all": "1", "until": until}

    def ids(self, visit: Visit) -> AsyncIterator[list[str]]:
        """Return the ids of the runs, in lists."""
        if self.query is None:
            return _lists(self.run_ids)
        return matching_ids(visit, self.search, size=_BATCH)

    @property
    def search(self) -> RunSearch:
        """The search for all that match: no run that was created after the page was shown."""
        assert self.query is not None
        search = self.query.search
        bounds = [each for each in (search.created_until, self.until) if each is not None]
        return replace(search, created_until=min(bounds, default=None), undos=self.undos)


def read(params: QueryParams, *, undos: bool = True) -> Chosen:
    """Return the runs that the parameters choose. Raises HTTPException.

    ``id`` may be repeated. With ``all``, it is the filter ``match``, up to the time ``until``.
    """
    if params.get("all"):
        query = RunQuery.from_text(params.get("match", ""))
        return Chosen(query=query.fixed(), until=_until(params), undos=undos)
    run_ids = tuple(dict.fromkeys(each for each in params.getlist("id") if each))
    if not run_ids:
        raise refuse("No run is selected. Go back, and select at least one.")
    if len(run_ids) > MOST_SELECTED:
        raise refuse(
            f"id: more than {MOST_SELECTED} runs are selected. Choose all that match a filter."
        )
    if any(len(each) > _LONGEST_ID for each in run_ids):
        raise refuse("id: one of the ids is no id of a run.")
    return Chosen(run_ids)


def _until(params: QueryParams) -> datetime:
    text = params.get("until")
    if not text:
        return datetime.now(UTC)
    if (until := parse_iso(text)) is None:
        raise refuse(f"until: {text[:60]!r} is no time.")
    return until


def one_run(visit: Visit, run_id: str, conn: Connection[Any]) -> Run:
    """Return a run without its input and output. Raises RunNotFound."""
    queries = RunPageQueries(visit.schema, visit.namespace)
    return run_from_row(queries.run(run_id).run(conn))


def count(visit: Visit, search: RunSearch, conn: Connection[Any]) -> RunCount:
    """Return how many runs match. Raises HTTPException if that cannot be known."""
    lists = RunLists(visit.schema, visit.namespace)
    if search.few:
        page = lists.page(search, Window(1)).run(conn)
        if not page.has_all:
            raise too_many_ids(search)
        return RunCount(page.total or 0, read_all=True)
    return lists.count(search).run(conn)


async def _lists(run_ids: tuple[str, ...]) -> AsyncIterator[list[str]]:
    for start in range(0, len(run_ids), _BATCH):
        yield list(run_ids[start : start + _BATCH])
