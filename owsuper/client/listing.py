"""Listing runs and step attempts, page by page, and counting runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from owsuper.client import models
from owsuper.client.models import Run, RunCounts, StepAttempt
from owsuper.core import pages
from owsuper.core.model import RunStatus
from owsuper.core.names import check_workflow_name, has_lone_surrogate
from owsuper.core.pages import Page, Position
from owsuper.db.clients import Operation
from owsuper.db.lists import ListQueries
from owsuper.errors import ConfigurationError
from owsuper.workflow.definition import Workflow

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

_STATUSES: Final = ", ".join(
    status for status in RunStatus if models.current_status(status) is status
)

RunsQuery: TypeAlias = Callable[[ListQueries], Operation[Page[Run]]]
AttemptsQuery: TypeAlias = Callable[[ListQueries], Operation[Page[StepAttempt]]]


class Listing:
    """The methods of OpenWorkflow that list and count."""

    _database: ClientDatabase

    def list_runs(
        self,
        *,
        status: RunStatus | str | None = None,
        workflow: Workflow[Any, Any] | str | None = None,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[Run]:
        """Return a page of at most ``limit`` runs of this namespace, the newest first.

        ``status`` and ``workflow`` (all its versions) select runs. ``status`` is compared with
        the stored status, so ``completed`` does not find runs that an old implementation stored
        as ``succeeded``. ``after`` and ``before`` are cursors of another page: pass its
        ``next_cursor`` as ``after`` for older runs, its ``previous_cursor`` as ``before`` for
        newer runs.

        Raises ConfigurationError for an argument that cannot be used, DatabaseUnreachable and
        MigrationError.
        """
        query = _runs(status, workflow, limit, after, before)
        session = self._database.session()
        return session.run(query(session.lists).run)

    async def alist_runs(
        self,
        *,
        status: RunStatus | str | None = None,
        workflow: Workflow[Any, Any] | str | None = None,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[Run]:
        """Awaitable :meth:`list_runs`."""
        query = _runs(status, workflow, limit, after, before)
        session = await self._database.asession()
        return await session.arun(query(session.lists).run)

    def list_step_attempts(
        self,
        run_id: str,
        *,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[StepAttempt]:
        """Return a page of at most ``limit`` step attempts of a run, the oldest first.

        A function step is listed when it has taken 50 ms, or has ended. Cursors work as in
        :meth:`list_runs`.

        Raises RunNotFound, ConfigurationError for an argument that cannot be used,
        DatabaseUnreachable and MigrationError.
        """
        query = _attempts(run_id, limit, after, before)
        session = self._database.session()
        return session.run(query(session.lists).run)

    async def alist_step_attempts(
        self,
        run_id: str,
        *,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[StepAttempt]:
        """Awaitable :meth:`list_step_attempts`."""
        query = _attempts(run_id, limit, after, before)
        session = await self._database.asession()
        return await session.arun(query(session.lists).run)

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
    status: RunStatus | str | None,
    workflow: Workflow[Any, Any] | str | None,
    limit: int,
    after: str | None,
    before: str | None,
) -> RunsQuery:
    """Check the arguments and make the query for a page of runs. Raises ConfigurationError."""
    if status is not None and status not in tuple(RunStatus):
        raise ConfigurationError(f"status: must be one of {_STATUSES}, not {status!r:.60}")
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    if name is not None:
        check_workflow_name(name)
    window = pages.make_window(limit, after, before)

    def query(lists: ListQueries) -> Operation[Page[Run]]:
        rows = lists.runs(window, None if status is None else str(status), name)
        return Operation(
            rows.calls,
            lambda results: pages.make_page(
                window, [models.run_from_row(row) for row in rows.parse(results)], _position
            ),
        )

    return query


def _attempts(run_id: str, limit: int, after: str | None, before: str | None) -> AttemptsQuery:
    """Check the arguments and make the query for a page of step attempts.

    Raises ConfigurationError.
    """
    check_run_id(run_id)
    window = pages.make_window(limit, after, before)

    def query(lists: ListQueries) -> Operation[Page[StepAttempt]]:
        rows = lists.attempts(run_id, window)
        return Operation(
            rows.calls,
            lambda results: pages.make_page(
                window,
                [models.attempt_from_row(run_id, row) for row in rows.parse(results)],
                _position,
            ),
        )

    return query


def _position(item: Run | StepAttempt) -> Position:
    return Position(item.created_at, item.id)
