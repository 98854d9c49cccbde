"""Listing what happened to a run: step attempts, retries, skipped signals, post-mortems."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from owsuper.client import models
from owsuper.client.listing import check_run_id, position_of
from owsuper.client.models import RunRetry, SkippedSignal, StepAttempt
from owsuper.client.post_mortem import PostMortem, from_row
from owsuper.core import pages
from owsuper.core.pages import Page
from owsuper.db.clients import Operation
from owsuper.db.lists import ListQueries

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase


AttemptsQuery: TypeAlias = Callable[[ListQueries], Operation[Page[StepAttempt]]]


class RunHistory:
    """The methods of OpenWorkflow that list what happened to a run."""

    _database: ClientDatabase

    def list_step_attempts(
        self,
        run_id: str,
        *,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[StepAttempt]:
        """Return a page of at most ``limit`` step attempts of a run, the oldest first.

        A function step is listed when it has taken 50 ms, or has ended. Failed attempts that a
        retry of the run has set aside are listed with their ``retried_at``. Cursors work as in
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

    def list_retries(self, run_id: str) -> list[RunRetry]:
        """Return the retries of a run by ``retry()``, the oldest first.

        Raises RunNotFound, ConfigurationError if no run can have this id, DatabaseUnreachable and
        MigrationError.
        """
        check_run_id(run_id)
        session = self._database.session()
        return [
            models.retry_from_row(row) for row in session.run(session.lists.retries(run_id).run)
        ]

    async def alist_retries(self, run_id: str) -> list[RunRetry]:
        """Awaitable :meth:`list_retries`."""
        check_run_id(run_id)
        session = await self._database.asession()
        rows = await session.arun(session.lists.retries(run_id).run)
        return [models.retry_from_row(row) for row in rows]

    def list_skipped_signals(self, run_id: str) -> list[SkippedSignal]:
        """Return the signals that steps of a run have skipped, in the order in which they did.

        Raises RunNotFound, ConfigurationError if no run can have this id, DatabaseUnreachable and
        MigrationError.
        """
        check_run_id(run_id)
        session = self._database.session()
        rows = session.run(session.lists.skipped_signals(run_id).run)
        return [models.skipped_from_row(run_id, row) for row in rows]

    async def alist_skipped_signals(self, run_id: str) -> list[SkippedSignal]:
        """Awaitable :meth:`list_skipped_signals`."""
        check_run_id(run_id)
        session = await self._database.asession()
        rows = await session.arun(session.lists.skipped_signals(run_id).run)
        return [models.skipped_from_row(run_id, row) for row in rows]

    def list_post_mortems(self, run_id: str) -> list[PostMortem]:
        """Return how processes died that executed the run, the first death first.

        They are kept as long as the run, also after it completed.

        Raises RunNotFound, ConfigurationError if no run can have this id, DatabaseUnreachable and
        MigrationError.
        """
        check_run_id(run_id)
        session = self._database.session()
        rows = session.run(session.lists.post_mortems(run_id).run)
        return [from_row(run_id, row) for row in rows]

    async def alist_post_mortems(self, run_id: str) -> list[PostMortem]:
        """Awaitable :meth:`list_post_mortems`."""
        check_run_id(run_id)
        session = await self._database.asession()
        rows = await session.arun(session.lists.post_mortems(run_id).run)
        return [from_row(run_id, row) for row in rows]


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
                position_of,
            ),
        )

    return query
