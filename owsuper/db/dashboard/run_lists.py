"""Statements of the dashboard that list and count runs.

A list never reads more than a bound of runs, whatever its filters are. Where the bound ends a
search before the page is full, the page says how far it has come, and the next page goes on there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.core.model import RunStatus
from owsuper.core.pages import Position, Window
from owsuper.db.clients import Operation, Rows
from owsuper.db.lists import LAST_ID, beside, driving_attribute, id_bounds, just_before
from owsuper.db.statement import Statement, load

MOST_COUNTED: Final = 10_000
"""The largest number that ``RunLists.count`` counts exactly."""

MOST_BEGINNINGS: Final = 1000
"""The most runs whose id begins with a text: no others are found."""

_MOST_READ: Final = 10_000  # runs (of each status) for a page, where no index serves a filter


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSearch:
    """Which runs the dashboard lists: those for which all of these hold; None is no condition.

    ``statuses`` are current ones; none are no condition. ``created_from`` and ``finished_from`` are
    the first times, ``created_until`` and ``finished_until`` are after the last ones. ``parent`` is
    the id of the run that started them. With ``crashed``, they were given up because they kept
    killing their process. ``text`` is an id, the beginning of one, or an idempotency key. They have
    all of the ``attributes``, pairs of a name and a value; each name is given once. Without
    ``undos``, they undo no other runs, unless ``workflow`` or ``text`` says so.
    """

    statuses: tuple[str, ...] = ()
    workflow: str | None = None
    version: str | None = None
    created_from: datetime | None = None
    created_until: datetime | None = None
    finished_from: datetime | None = None
    finished_until: datetime | None = None
    parent: str | None = None
    crashed: bool = False
    text: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    undos: bool = True

    @property
    def few(self) -> bool:
        """Whether all runs that are found are read for each page."""
        return self.parent is not None or self.text is not None

    @property
    def exact(self) -> bool:
        """Whether the index that is read has the runs that match, and hardly any others."""
        rest = (self.version, self.finished_from, self.finished_until)
        if any(each is not None for each in rest):
            return False
        if self.attributes:
            more = (self.crashed, self.statuses, self.workflow, len(self.attributes) > 1)
            return not any(more)
        return not self.crashed or not (self.statuses or self.workflow)

    @property
    def named(self) -> str | None:
        """The name of the workflow in statements: empty for all workflows that undo no others."""
        free = self.workflow is None and self.text is None
        return "" if free and not self.undos else self.workflow

    @property
    def stored_statuses(self) -> list[str]:
        """The values of the column."""
        wanted = self.statuses
        return [each.value for each in RunStatus if not wanted or each.current in wanted]


@dataclass(frozen=True, slots=True)
class RunSummary:
    """A run as a list shows it, without its values; see ``client.models.Run``.

    ``error`` is the beginning of the message, or None if there is none or it is very large.
    """

    id: str
    workflow_name: str
    version: str | None
    stored_status: str
    attempts: int
    idempotency_key: str | None
    error: str | None
    worker_id: str | None
    available_at: datetime | None
    deadline_at: datetime | None
    created_at: datetime
    began_at: datetime | None
    finished_at: datetime | None
    parent_run_id: str | None
    crashed: bool | None
    attributes_json: str | None

    @property
    def attributes(self) -> dict[str, str]:
        """The attributes of the run, by name."""
        if self.attributes_json is None:
            return {}
        found: dict[str, str] = orjson.loads(self.attributes_json)
        return found

    @property
    def status(self) -> RunStatus:
        """The current name of the status."""
        return RunStatus(self.stored_status).current

    @property
    def parked(self) -> bool:
        """Whether the run has begun and waits, owned by nobody."""
        return self.status == "running" and self.worker_id is None


@dataclass(frozen=True, slots=True)
class RunPage:
    """Some runs in the order of the list.

    ``next`` is the ``after`` position of the next page, ``previous`` the ``before`` position of the
    previous page; None if there is none. ``searched_to`` is not None if the search ended before the
    page was full: it is the time of creation that it has come to. ``total`` is the number of runs
    that match, if the search does not go on with another page; ``has_all`` is false if only some of
    them were found, because very many ids begin with the text.
    """

    items: tuple[RunSummary, ...]
    next: Position | None
    previous: Position | None
    searched_to: datetime | None
    total: int | None
    has_all: bool = True


@dataclass(frozen=True, slots=True)
class RunCount:
    """How many runs match.

    ``counted`` is exact if ``read_all``. Else at least as many match, and ``estimate`` is what the
    planner expects; None if it has no statistics.
    """

    counted: int
    read_all: bool
    estimate: int | None = None


class RunLists:
    """The lists of runs of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._runs = load("dashboard_runs", schema)
        self._by_status = load("dashboard_runs_by_status", schema)
        self._of_workflow = load("dashboard_runs_of_workflow", schema)
        self._crashed = load("dashboard_crashed_runs", schema)
        self._with_attributes = load("dashboard_runs_with_attributes", schema)
        self._count_with_attributes = load("dashboard_count_with_attributes", schema)
        self._of_parent = load("dashboard_runs_of_parent", schema)
        self._search = load("dashboard_search_runs", schema)
        self._count = load("dashboard_count_runs", schema)
        self._count_by_status = load("dashboard_count_by_status", schema)
        self._count_of_workflow = load("dashboard_count_of_workflow", schema)
        self._count_crashed = load("dashboard_count_crashed", schema)
        self._estimate = load("dashboard_estimate_runs", schema)

    def page(
        self, search: RunSearch, window: Window, *, oldest_first: bool = False
    ) -> Operation[RunPage]:
        """Return a page of runs, the newest first unless ``oldest_first``."""
        to_newer = window.backward != oldest_first
        if search.few:
            most = MOST_BEGINNINGS
        else:
            most = window.limit + 1 if search.exact else max(_MOST_READ, window.limit + 1)
        created, finished = _times(search)
        common = (
            self._namespace,
            *beside(window.position, to_older=not to_newer),
            window.limit + 1,
            to_newer,
            *created,
            most,
            search.version,
            *finished,
            search.stored_statuses,
            search.named,
        )
        statement, more = self._select(search)
        return Operation(
            ((statement, (*common, *more)),),
            lambda results: _page(results[0], window, to_newer=to_newer, few=search.few),
        )

    def _select(self, search: RunSearch) -> tuple[Statement, tuple[Any, ...]]:
        """Return the statement that an index serves best, with its own parameters."""
        attributes = orjson.dumps(dict(search.attributes)).decode()
        if search.parent is not None:
            return self._of_parent, (search.parent, search.crashed, attributes, search.text)
        if search.text is not None:
            bounds: tuple[str | None, str | None] = (None, None)
            if any(char in "0123456789" for char in search.text):
                bounds = id_bounds(search.text)
            return self._search, (search.text, search.crashed, attributes, *bounds)
        if search.attributes:
            name, value, others = driving_attribute(search.attributes)
            return self._with_attributes, (name, search.crashed, others, value)
        if search.crashed:
            return self._crashed, ()
        if search.workflow is not None:
            return self._of_workflow, ()
        return (self._by_status if search.statuses else self._runs), ()

    def count(self, search: RunSearch) -> Operation[RunCount]:
        """Return the number of runs that match; ``search`` must not find ``few``."""
        more: tuple[Any, ...] = ()
        if search.attributes:
            statement = self._count_with_attributes
            more = (*driving_attribute(search.attributes), search.crashed)
        elif search.crashed:
            statement = self._count_crashed
        elif search.workflow is not None:
            statement = self._count_of_workflow
        else:
            statement = self._count_by_status if search.statuses else self._count
        created, finished = _times(search)
        statuses = search.stored_statuses
        params = (
            self._namespace, *created, search.version, *finished, statuses, search.named,
        )  # fmt: skip
        calls = ((statement, (*params, MOST_COUNTED + 1, *more)), (self._estimate, params))

        def parse(results: list[Rows]) -> RunCount:
            [(read, matching)], plan = results
            if read <= MOST_COUNTED:
                return RunCount(matching, read_all=True)
            unknown = search.crashed or search.attributes
            estimate = None if unknown else _expected(plan)
            return RunCount(min(matching, MOST_COUNTED), read_all=False, estimate=estimate)

        return Operation(calls, parse)


def _times(search: RunSearch) -> tuple[tuple[str, str], tuple[str | None, str | None]]:
    """Return the parameters for the times of creation and of the end."""
    created = (
        "-infinity" if search.created_from is None else search.created_from.isoformat(),
        "infinity" if search.created_until is None else just_before(search.created_until),
    )
    finished = (
        None if search.finished_from is None else search.finished_from.isoformat(),
        None if search.finished_until is None else just_before(search.finished_until),
    )
    return created, finished


def _page(rows: Rows, window: Window, *, to_newer: bool, few: bool) -> RunPage:
    found = [RunSummary(*row[:-2]) for row in rows if row[0] is not None]
    total, edge = rows[0][-2:]
    kept, onward = found[: window.limit], None
    searched_to = None
    if len(found) > window.limit:
        onward = _place(kept[-1])
    elif edge is not None and not few:
        onward, searched_to = Position(edge, LAST_ID if to_newer else ""), edge
        if kept and len(found) == window.limit:
            searched_to = None
    back = None
    if window.position is not None:
        back = _place(kept[0]) if kept else window.position
    items = tuple(kept[::-1] if window.backward else kept)
    if window.backward:
        onward, back = back, onward
    has_all = not few or edge is None
    return RunPage(items, onward, back, searched_to, total if few else None, has_all)


def _place(run: RunSummary) -> Position:
    return Position(run.created_at, run.id)


def _expected(plan: Sequence[tuple[Any, ...]]) -> int | None:
    """Return the number of rows that a plan in JSON expects, to two digits: it is no better."""
    try:
        rows = int(plan[0][0][0]["Plan"]["Plan Rows"])
    except (IndexError, KeyError, TypeError, ValueError):
        return None
    return round(rows, 2 - len(str(rows)))
