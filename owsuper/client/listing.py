"""Listing runs, page by page, and counting runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypedDict, Unpack

from owsuper.client import models, new_run
from owsuper.client.models import Run, RunCounts, StepAttempt
from owsuper.core import pages
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import MIN_TIME, Duration, add_ms, in_utc, milliseconds
from owsuper.core.model import RunStatus
from owsuper.core.names import check_workflow_name, has_lone_surrogate
from owsuper.core.pages import Page, Position
from owsuper.db.clients import Operation
from owsuper.db.lists import ListQueries, RunFilter
from owsuper.errors import ConfigurationError, InvalidDuration
from owsuper.workflow.definition import Workflow

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

_STATUSES: Final = ", ".join(
    status for status in RunStatus if models.current_status(status) is status
)

RunsQuery: TypeAlias = Callable[[ListQueries], Operation[Page[Run]]]


class _Conditions(TypedDict, total=False):
    status: RunStatus | str | None
    workflow: Workflow[Any, Any] | str | None
    key: str | None
    parent: str | None
    crashed: bool
    since: datetime | Duration | None
    until: datetime | Duration | None
    attributes: Mapping[str, str] | None


class RunFilters(_Conditions, total=False):
    """Which runs ``list_runs`` returns; every filter may be left out.

    ``status`` is compared with the stored status, so ``completed`` does not find runs that an old
    implementation stored as ``succeeded``. ``workflow`` selects all versions of a workflow.
    ``key`` is the idempotency key, ``parent`` the id of the run that started them. ``crashed``
    selects failed runs that were given up because they kept killing their process; a retry ends
    that. ``attributes`` selects runs that have all of these: runs with the first one are read, and
    all else is compared. Runs created at ``since`` or later and before ``until`` are listed: aware
    times, or durations such as ``"1h"`` before now.

    ``limit`` is the most runs on the page, 100 by default. ``after`` and ``before`` are cursors.
    """

    limit: int
    after: str | None
    before: str | None


class Listing:
    """The methods of OpenWorkflow that list and count."""

    _database: ClientDatabase

    def list_runs(self, **filters: Unpack[RunFilters]) -> Page[Run]:
        """Return a page of runs of this namespace, the newest first.

        See :class:`RunFilters` for the filters, which hold together, and for ``limit``. ``after``
        and ``before`` are cursors of another page with the same filters: pass its ``next_cursor``
        as ``after`` for older runs, its ``previous_cursor`` as ``before`` for newer runs.

        Raises ConfigurationError for an argument that cannot be used, DatabaseUnreachable and
        MigrationError.
        """
        query = _runs(**filters)
        session = self._database.session()
        return session.run(query(session.lists).run)

    async def alist_runs(self, **filters: Unpack[RunFilters]) -> Page[Run]:
        """Awaitable :meth:`list_runs`."""
        query = _runs(**filters)
        session = await self._database.asession()
        return await session.arun(query(session.lists).run)

    def find_run_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """Return the ids of at most ``limit`` runs of this namespace that begin with this text.

        If the text is the whole id of a run, only this id is returned. New ids begin with the time
        in seconds, so runs of one minute have eight characters in common. A text of several
        letters after its last digit makes the search slower, and one without any digit reads all
        ids of the namespace.

        Raises ConfigurationError for an argument that cannot be used, DatabaseUnreachable and
        MigrationError.
        """
        check_run_id(beginning)
        pages.make_window(limit, None, None)
        session = self._database.session()
        return session.run(session.lists.find_ids(beginning, limit).run)

    async def afind_run_ids(self, beginning: str, *, limit: int = 10) -> list[str]:
        """Awaitable :meth:`find_run_ids`."""
        check_run_id(beginning)
        pages.make_window(limit, None, None)
        session = await self._database.asession()
        return await session.arun(session.lists.find_ids(beginning, limit).run)

    def count_runs(self) -> RunCounts:
        """Return the number of runs of this namespace, by status.

        Each call counts all runs, which takes a while if there are millions of them.
        Raises DatabaseUnreachable and MigrationError.
        """
        session = self._database.session()
        return models.counts_from_rows(session.run(session.lists.counts().run))

    async def acount_runs(self) -> RunCounts:
        """Awaitable :meth:`count_runs`."""
        session = await self._database.asession()
        return models.counts_from_rows(await session.arun(session.lists.counts().run))


def check_run_id(run_id: str) -> str:
    """Return ``run_id`` if a run can have this id. Raises ConfigurationError."""
    if not isinstance(run_id, str) or "\0" in run_id or has_lone_surrogate(run_id):
        raise ConfigurationError(
            f"run_id: {run_id!r} must be text, without U+0000 and lone surrogates"
        )
    return run_id


def _runs(
    *,
    limit: int = pages.PAGE_SIZE,
    after: str | None = None,
    before: str | None = None,
    **filters: Unpack[_Conditions],
) -> RunsQuery:
    """Check the arguments and make the query for a page of runs. Raises ConfigurationError."""
    wanted = _filter(**filters)
    window = pages.make_window(limit, after, before)

    def query(lists: ListQueries) -> Operation[Page[Run]]:
        rows = lists.runs(window, wanted)
        return Operation(
            rows.calls,
            lambda results: pages.make_page(
                window, [models.run_from_row(row) for row in rows.parse(results)], position_of
            ),
        )

    return query


def _filter(
    *,
    status: RunStatus | str | None = None,
    workflow: Workflow[Any, Any] | str | None = None,
    key: str | None = None,
    parent: str | None = None,
    crashed: bool = False,
    since: datetime | Duration | None = None,
    until: datetime | Duration | None = None,
    attributes: Mapping[str, str] | None = None,
) -> RunFilter:
    """Check these conditions. Raises ConfigurationError."""
    if status is not None and status not in tuple(RunStatus):
        raise ConfigurationError(f"status: must be one of {_STATUSES}, not {status!r:.60}")
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    return RunFilter(
        status=None if status is None else str(status),
        workflow=None if name is None else check_workflow_name(name),
        key=new_run.check_key(key),
        parent=None if parent is None else check_run_id(parent),
        crashed=bool(crashed),
        since=None if since is None else past(since, "since"),
        before=None if until is None else past(until, "until"),
        attributes=check_attributes(attributes),
    )


def past(when: datetime | Duration, parameter: str, now: datetime | None = None) -> datetime:
    """Return the time ``when``, or so long before ``now``, by default that of this host's clock.

    Raises ConfigurationError and InvalidDuration.
    """
    if isinstance(when, datetime):
        if when.utcoffset() is None:
            raise ConfigurationError(f"{parameter}: {when!r} has no time zone; make it aware")
        return in_utc(when, parameter)
    ago = milliseconds(when)
    if ago < 0:
        raise ConfigurationError(
            f"{parameter}: must be an aware time, or how long ago, such as '1h', not {when!r:.60}"
        )
    try:
        return add_ms(now or datetime.now(UTC), -ago)
    except InvalidDuration:
        return MIN_TIME


def position_of(item: Run | StepAttempt) -> Position:
    """Return the place of ``item`` in its list, for cursors."""
    return Position(item.created_at, item.id)
