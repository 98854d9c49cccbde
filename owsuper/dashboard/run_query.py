"""The filter of the list of runs, as it stands in an address and in the fields of a form.

Address and filter say the same: ``RunQuery.read(query.parameters)`` gives the same filter again, so
an action on all runs that match passes the parameters on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException

from owsuper.core.pages import Position, Window
from owsuper.dashboard import parameters
from owsuper.dashboard.visit import Visit, refuse
from owsuper.db.clients import Operation
from owsuper.db.dashboard.run_lists import MOST_BEGINNINGS, RunLists, RunPage, RunSearch
from owsuper.errors import DatabaseUnreachable

STATUSES: Final = ("pending", "running", "completed", "failed", "canceled")
"""The statuses that a filter knows; they are those of RunStatus without the old names."""

SORTS: Final = ("newest", "oldest")
FILTERS: Final = (
    "q", "status", "workflow", "version", "created_from", "created_until", "finished_from",
    "finished_until", "parent", "crashed", "attribute",
)  # fmt: skip
"""The names of the parameters that filter."""

_TIMES: Final = ("created_from", "created_until", "finished_from", "finished_until")
_BATCH: Final = 500  # ids
_PAUSE, _MOST_PAUSES = 1.0, 60  # seconds, while the database is away


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A filter, its order, and the parameters from which it was read, without those of a page."""

    search: RunSearch
    oldest_first: bool
    parameters: QueryParams

    @classmethod
    def read(cls, query: QueryParams) -> RunQuery:
        """Return the filter of these query parameters.

        Raises HTTPException, with status 400 and a message that names the parameter.
        """
        parameters.check_names(query, (*FILTERS, *parameters.PAGING))
        search = RunSearch(
            statuses=parameters.some_of(query, "status", STATUSES),
            workflow=parameters.text(query, "workflow"),
            version=parameters.text(query, "version"),
            created_from=parameters.moment(query, "created_from"),
            created_until=parameters.moment(query, "created_until"),
            finished_from=parameters.moment(query, "finished_from"),
            finished_until=parameters.moment(query, "finished_until"),
            parent=parameters.text(query, "parent"),
            crashed=parameters.one_of(query, "crashed", ("1",)) is not None,
            text=parameters.text(query, "q"),
            attributes=parameters.attributes(query, "attribute"),
        )
        sort = parameters.one_of(query, "sort", SORTS)
        kept = [(name, value) for name, value in query.multi_items() if value and name in FILTERS]
        return cls(search, sort == "oldest", QueryParams(kept))

    @classmethod
    def from_text(cls, text: str) -> RunQuery:
        """Return the filter that ``text`` of another one gives. Raises HTTPException."""
        return cls.read(QueryParams(parse_qsl(text)))

    def fixed(self) -> RunQuery:
        """Return the same filter with times in place of how long ago they are.

        So it finds later what it finds now.
        """
        moments = ((name, getattr(self.search, name)) for name in _TIMES)
        times = {name: moment.isoformat() for name, moment in moments if moment is not None}
        given = self.parameters.multi_items()
        fixed = [(name, times.get(name, text)) for name, text in given]
        return replace(self, parameters=QueryParams(fixed))

    @property
    def text(self) -> str:
        """The filter as a query string."""
        return urlencode(self.parameters.multi_items())

    @property
    def is_empty(self) -> bool:
        """Whether all runs match."""
        return not self.parameters.multi_items()

    def value(self, name: str) -> str:
        """Return what stands in the field of a parameter."""
        return str(self.parameters.get(name, ""))

    def changed(self, **changes: object) -> Mapping[str, object]:
        """Return the parameters with others; for ``Visit.url``."""
        given: dict[str, object] = {name: self.parameters.getlist(name) for name in self.parameters}
        return given | {"sort": "oldest" if self.oldest_first else None} | changes


async def matching_ids(
    visit: Visit, search: RunSearch, *, size: int = _BATCH
) -> AsyncIterator[list[str]]:
    """Yield the ids of all runs that match, in lists of at most ``size``, the newest first.

    Each list is read in a transaction of its own. Runs that are created meanwhile are not among
    them. A list may be empty. Waits for a database that is away, for a minute at most.

    Raises HTTPException if the ids of too many runs begin with the text that was searched, and
    DatabaseError.
    """
    lists = RunLists(visit.schema, visit.namespace)
    position: Position | None = None
    while True:
        page = await _patiently(visit, lists.page(search, Window(size, position)))
        if not page.has_all:
            raise too_many_ids(search)
        yield [run.id for run in page.items]
        if page.next is None:
            return
        position = page.next


def too_many_ids(search: RunSearch) -> HTTPException:
    """Return the error for a search that finds the beginnings of too many ids."""
    return refuse(
        f"q: the ids of {MOST_BEGINNINGS} runs or more begin with {search.text!r:.60};"
        " write more of the id"
    )


async def _patiently(visit: Visit, operation: Operation[RunPage]) -> RunPage:
    for _ in range(_MOST_PAUSES):
        with suppress(DatabaseUnreachable):
            return await visit.read(operation.run)
        await asyncio.sleep(_PAUSE)
    return await visit.read(operation.run)
