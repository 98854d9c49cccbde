"""Putting a failed run back, by a statement that may have to be sent twice."""

from __future__ import annotations

from typing import Any, Final

from psycopg import AsyncConnection, Connection

from owsuper.core.model import RunStatus
from owsuper.db.clients import Operation
from owsuper.errors import RunNotRetryable

_BACK: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING})


class Retry:
    """One retry of a run, to be repeated on another connection when the answer is lost.

    Whoever repeats it may find that the run is back already, which then is no mistake of the
    caller's. (It may even have ended again: then they hear of that.)
    """

    def __init__(self, operation: Operation[None]) -> None:
        self._operation = operation
        self._sent = False

    def run(self, conn: Connection[Any]) -> None:
        """Perform it; raises as ``ClientQueries.retry`` does."""
        repeated, self._sent = self._sent, True
        try:
            self._operation.run(conn)
        except RunNotRetryable as refused:
            if not (repeated and refused.status in _BACK):
                raise

    async def arun(self, conn: AsyncConnection[Any]) -> None:
        """Awaitable ``run``."""
        repeated, self._sent = self._sent, True
        try:
            await self._operation.arun(conn)
        except RunNotRetryable as refused:
            if not (repeated and refused.status in _BACK):
                raise
