"""The methods of OpenWorkflow that cancel and retry many runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase
    from owsuper.client.many_runs import ChangedRuns, ManyRuns, OnProgress


class ChangesRuns:
    """Cancels and retries all runs that match a filter."""

    _database: ClientDatabase

    def cancel_runs(
        self,
        *,
        children: bool = False,
        after: str | None = None,
        on_progress: OnProgress | None = None,
        **filters: Unpack[ManyRuns],
    ) -> ChangedRuns:
        """Cancel all pending and running runs that match; return how many obeyed.

        The filters are those of :meth:`list_runs` but for ``key``. Filters that all runs match are
        refused, unless ``all=True`` says that this is meant. With ``children``, the child runs of
        these runs are canceled as well. Runs are canceled one by one, the newest first; runs that
        start meanwhile are left out. ``on_progress`` is called with what has been done after each
        hundred.

        A call that was interrupted is repeated: what is canceled does not match again. ``after``,
        the ``cursor`` of the last progress, saves it from looking at the rest again. If the program
        was killed, or the database gone for a minute, child runs of the last hundred may be open:
        their ``parent`` finds them. Runs that undo canceled ones do not match, unless ``workflow``
        is theirs, such as ``"undo:order"``.

        Raises ConfigurationError for a filter that cannot be used, DatabaseUnreachable after a
        minute without the database, and MigrationError.
        """
        from owsuper.client import many_runs  # few programs need it

        wanted, work = many_runs.cancelable(**filters), many_runs.canceling(children=children)
        session = self._database.session()
        return many_runs.change(session, wanted, work, after=after, on_progress=on_progress)

    async def acancel_runs(
        self,
        *,
        children: bool = False,
        after: str | None = None,
        on_progress: OnProgress | None = None,
        **filters: Unpack[ManyRuns],
    ) -> ChangedRuns:
        """Awaitable :meth:`cancel_runs`; ``on_progress`` is called in another thread."""
        from owsuper.client import many_runs

        wanted, work = many_runs.cancelable(**filters), many_runs.canceling(children=children)
        session = await self._database.asession()
        return await session.acall(
            lambda: many_runs.change(session, wanted, work, after=after, on_progress=on_progress)
        )

    def retry_runs(
        self,
        *,
        from_step: str | None = None,
        after: str | None = None,
        on_progress: OnProgress | None = None,
        **filters: Unpack[ManyRuns],
    ) -> ChangedRuns:
        """Put all failed runs back that match, as :meth:`RunHandle.retry`; return how many obeyed.

        ``from_step`` is that of the handle's method. A run whose deadline has passed refuses, and
        one without such a step. All else is as in :meth:`cancel_runs`.
        """
        from owsuper.client import many_runs

        wanted, work = many_runs.retryable(**filters), many_runs.retrying(from_step)
        session = self._database.session()
        return many_runs.change(session, wanted, work, after=after, on_progress=on_progress)

    async def aretry_runs(
        self,
        *,
        from_step: str | None = None,
        after: str | None = None,
        on_progress: OnProgress | None = None,
        **filters: Unpack[ManyRuns],
    ) -> ChangedRuns:
        """Awaitable :meth:`retry_runs`; ``on_progress`` is called in another thread."""
        from owsuper.client import many_runs

        wanted, work = many_runs.retryable(**filters), many_runs.retrying(from_step)
        session = await self._database.asession()
        return await session.acall(
            lambda: many_runs.change(session, wanted, work, after=after, on_progress=on_progress)
        )
