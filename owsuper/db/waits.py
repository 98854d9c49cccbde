"""Statements of clients that wait for runs to end.

The transaction that ends a run notifies only if a client holds a shared lock on the run's key.
So a client listens, locks, and then reads: a run that ended before the lock is read as ended, and
the end of any other run is notified.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, Cursor

from owsuper.core.model import RunStatus
from owsuper.db.listen import results_channel
from owsuper.db.statement import Statement, load

_ENDED = frozenset(status.value for status in RunStatus if status.is_terminal)


@dataclass(frozen=True, slots=True)
class Progress:
    """The state of a run; ``output`` and ``error`` are JSON text or None.

    ``unclaimed`` is for how many seconds the run has been due without an owner, or None.
    ``continued_as`` is the id of the successor of a run that continued as new.
    """

    run_id: str
    workflow_name: str
    version: str | None
    status: str
    output: str | None
    error: str | None
    unclaimed: float | None
    continued_as: str | None = None

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.status in _ENDED


@dataclass(frozen=True, slots=True)
class Served:
    """The last execution of a workflow by a worker, so many seconds ago."""

    workflow_name: str
    version: str | None
    worker_id: str
    ago: float


class Waits:
    """The statements of waiting, for one schema and namespace.

    All but ``read`` need a session: a connection without a transaction pooler in between.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lock = load("wait_lock", schema)
        self._unlock = load("wait_unlock", schema)
        self._look = load("wait_look", schema)
        self._who_serves = load("who_serves", schema)
        self.channel = results_channel(schema)

    def listen(self, conn: Connection[Any]) -> None:
        """Listen on ``conn`` for the ids of runs that end while locked."""
        conn.execute(f'LISTEN "{self.channel}"'.encode())

    def notify(self, conn: Connection[Any], text: str) -> None:
        """Send ``text`` to all connections that listen."""
        conn.execute("SELECT pg_notify($1, $2)", (self.channel, text))

    def lock_and_read(
        self, conn: Connection[Any], run_ids: Collection[str]
    ) -> tuple[set[str], dict[str, Progress]]:
        """Lock the keys of these runs, and then read the runs, as ``read`` does.

        Return the ids for which the lock succeeded. The other runs are about to end: their locks
        are free again after the commit. This is one transaction in one round trip, and each of the
        two statements has a snapshot of its own.
        """
        with conn.pipeline():
            locked = self._execute(conn, self._lock, run_ids)
            found = self._execute(conn, self._look, run_ids)
            return {row[0] for row in locked}, {row[0]: Progress(*row) for row in found}

    def unlock(self, conn: Connection[Any], run_ids: Collection[str]) -> None:
        """Release the locks of ``lock``."""
        self._execute(conn, self._unlock, run_ids).fetchall()

    def read(self, conn: Connection[Any], run_ids: Collection[str]) -> dict[str, Progress]:
        """Return the state of these runs by id, without those that do not exist."""
        return {row[0]: Progress(*row) for row in self._execute(conn, self._look, run_ids)}

    def serving(self, conn: Connection[Any], limit: int) -> tuple[int, list[Served]]:
        """Return how many workers are connected, and the last executions of workflows."""
        rows = conn.execute(self._who_serves.query, (self._namespace, limit)).fetchall()
        return rows[0][-1], [Served(*row[:-1]) for row in rows if row[0] is not None]

    def _execute(
        self, conn: Connection[Any], statement: Statement, run_ids: Collection[str]
    ) -> Cursor[Any]:
        return conn.execute(statement.query, (self._namespace, list(run_ids)))
