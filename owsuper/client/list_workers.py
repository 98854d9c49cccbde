"""Listing workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from owsuper.client.workers import WorkerStatus, worker_from_row

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase


class ListsWorkers:
    """The methods of OpenWorkflow about workers."""

    _database: ClientDatabase

    def list_workers(self) -> list[WorkerStatus]:
        """Return the workers of this namespace on all hosts, by host and pid.

        A worker that was killed is listed as ``missing`` until another worker notices.

        Raises DatabaseUnreachable and MigrationError.
        """
        session = self._database.session()
        return [worker_from_row(row) for row in session.run(session.workers.all().run)]

    async def alist_workers(self) -> list[WorkerStatus]:
        """Awaitable :meth:`list_workers`."""
        session = await self._database.asession()
        return [worker_from_row(row) for row in await session.arun(session.workers.all().run)]
