"""Looking at what there is: runs, their steps, and how many."""

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

_ALLOWED: Final = ", ".join(each for each in RunStatus if models.current_status(each) is each)

RunsAsked: TypeAlias = Callable[[ListQueries], Operation[Page[Run]]]
AttemptsAsked: TypeAlias = Callable[[ListQueries], Operation[Page[StepAttempt]]]


class Listing:
    """The part of OpenWorkflow that lists and counts."""

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
        """A page of at most ``limit`` runs of this namespace, the newest first.

        ``status`` and ``workflow`` (all versions of it) leave out the others. The status is the
        one that is stored: runs that an old implementation wrote as ``succeeded`` are not found
        as ``completed``. ``after`` and ``before`` are cursors of another page: ``next_cursor``
        leads on to older runs, ``previous_cursor`` back to newer ones.

        Raises ConfigurationError for what cannot be asked.
        """
        asked = _runs(status, workflow, limit, after, before)
        session = self._database.session()
        return session.run(asked(session.lists).run)

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
        asked = _runs(status, workflow, limit, after, before)
        session = await self._database.asession()
        return await session.arun(asked(session.lists).arun)

    def list_step_attempts(
        self,
        run_id: str,
        *,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[StepAttempt]:
        """A page of at most ``limit`` step attempts of a run, the oldest first.

        A function step is listed once it has taken 50 ms, or has ended. Cursors are those of
        :meth:`list_runs`.

        Raises RunNotFound, ConfigurationError.
        """
        asked = _attempts(run_id, limit, after, before)
        session = self._database.session()
        return session.run(asked(session.lists).run)

    async def alist_step_attempts(
        self,
        run_id: str,
        *,
        limit: int = pages.PAGE_SIZE,
        after: str | None = None,
        before: str | None = None,
    ) -> Page[StepAttempt]:
        """Awaitable :meth:`list_step_attempts`."""
        asked = _attempts(run_id, limit, after, before)
        session = await self._database.asession()
        return await session.arun(asked(session.lists).arun)

    def count_runs(self) -> RunCounts:
        """How many runs of this namespace there are of each status.

        All of them are counted when this is called, which takes a while where there are millions.
        """
        session = self._database.session()
        return models.counts(session.run(session.lists.counts().run))

    async def acount_runs(self) -> RunCounts:
        """Awaitable :meth:`count_runs`."""
        session = await self._database.asession()
        return models.counts(await session.arun(session.lists.counts().arun))


def check_run_id(run_id: str) -> str:
    """``run_id``, if a run may have it. Raises ConfigurationError."""
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
) -> RunsAsked:
    """The question after a page of runs; everything in it is checked. Raises ConfigurationError."""
    if status is not None and status not in tuple(RunStatus):
        raise ConfigurationError(f"status: must be one of {_ALLOWED}, not {status!r:.60}")
    name = workflow.name if isinstance(workflow, Workflow) else workflow
    if name is not None:
        check_workflow_name(name)
    window = pages.make_window(limit, after, before)

    def ask(lists: ListQueries) -> Operation[Page[Run]]:
        rows = lists.runs(window, None if status is None else str(status), name)
        return Operation(
            rows.calls,
            lambda results: pages.make_page(
                window, [models.of(row) for row in rows.parse(results)], _position
            ),
        )

    return ask


def _attempts(run_id: str, limit: int, after: str | None, before: str | None) -> AttemptsAsked:
    """The question after a page of step attempts. Raises ConfigurationError."""
    check_run_id(run_id)
    window = pages.make_window(limit, after, before)

    def ask(lists: ListQueries) -> Operation[Page[StepAttempt]]:
        rows = lists.attempts(run_id, window)
        return Operation(
            rows.calls,
            lambda results: pages.make_page(
                window, [models.of_attempt(run_id, row) for row in rows.parse(results)], _position
            ),
        )

    return ask


def _position(item: Run | StepAttempt) -> Position:
    return Position(item.created_at, item.id)
