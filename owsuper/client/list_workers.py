"""Listing workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from owsuper.client.workers import WorkerStatus, worker_from_row
from owsuper.db.workers import SupervisorRow

if TYPE_CHECKING:
    from owsuper.client.database import ClientDatabase

# Seconds.
_PATIENCE: Final = 5.0  # for stacks; a worker waits for its processes for two
_PERIOD: Final = 0.1  # between two looks, at first; of many workers, a look reads much
_LONGEST_PERIOD: Final = 1.0


class ListsWorkers:
    """The methods of OpenWorkflow about workers."""

    _database: ClientDatabase

    def list_workers(self, *, stacks: bool = False) -> list[WorkerStatus]:
        """Return the workers of this namespace on all hosts, by host and pid.

        A worker that was killed is listed as ``missing`` until another worker notices.

        With ``stacks``, each process says where its code is; see ``ProcessStatus``. The processes
        go on meanwhile. This takes a moment, and up to five seconds if a worker does not answer.
        One that hears no notifications, such as a worker behind a connection pooler, never does.

        Raises DatabaseUnreachable and MigrationError.
        """
        session = self._database.session()
        if not stacks:
            return [worker_from_row(row) for row in session.run(session.workers.all().run)]
        token, give_up_at = uuid4().hex, time.monotonic() + _PATIENCE
        session.run(session.workers.ask_for_stacks(token).run)
        pause = _PERIOD
        while not _complete(rows := session.run(session.workers.all().run), token, give_up_at):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PERIOD)
        return [worker_from_row(row, token) for row in rows]

    async def alist_workers(self, *, stacks: bool = False) -> list[WorkerStatus]:
        """Awaitable :meth:`list_workers`."""
        session = await self._database.asession()
        if not stacks:
            return [worker_from_row(row) for row in await session.arun(session.workers.all().run)]
        token, give_up_at = uuid4().hex, time.monotonic() + _PATIENCE
        await session.arun(session.workers.ask_for_stacks(token).run)
        pause = _PERIOD
        while not _complete(
            rows := await session.arun(session.workers.all().run), token, give_up_at
        ):
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PERIOD)
        return [worker_from_row(row, token) for row in rows]


def _complete(rows: Sequence[SupervisorRow], token: str, give_up_at: float) -> bool:
    """Return whether all workers that are connected have answered, or the time is over."""
    answered = all(row.silent or not row.connected or row.stacks(token) is not None for row in rows)
    return answered or time.monotonic() >= give_up_at
