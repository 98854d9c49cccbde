"""Waiting for runs to end: the questions, and the locks that make the end audible.

Whoever ends a run notifies only if somebody holds a shared lock on the run's key. The order
matters: listen, lock, then look. What ended before the lock is seen by the look; what ends
after it is heard.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from owsuper.core.model import RunStatus
from owsuper.db.listen import results_channel
from owsuper.db.statement import Statement, load

_ENDED = frozenset(status.value for status in RunStatus if status.is_terminal)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is; ``output`` and ``error`` are JSON text or None."""

    run_id: str
    workflow_name: str
    status: str
    output: str | None
    error: str | None

    @property
    def ended(self) -> bool:
        return self.status in _ENDED


class Waits:
    """The statements of waiting, for one schema and namespace.

    All but ``look`` belong to a session: they need a connection without a transaction pooler
    in between.
    """

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lock = load("wait_lock", schema)
        self._unlock = load("wait_unlock", schema)
        self._look = load("wait_look", schema)
        self.channel = results_channel(schema)

    def listen(self, conn: Connection[Any]) -> None:
        """Have ``conn`` hear the ids of runs that end while locked."""
        conn.execute(f'LISTEN "{self.channel}"'.encode())

    def call_out(self, conn: Connection[Any], text: str) -> None:
        """Send ``text`` to all who listen."""
        conn.execute("SELECT pg_notify($1, $2)", (self.channel, text))

    def lock(self, conn: Connection[Any], run_ids: Collection[str]) -> set[str]:
        """Lock the keys of these runs; the ids for which that succeeded.

        The others are just ending: their locks are free again after the commit.
        """
        return {row[0] for row in self._execute(conn, self._lock, run_ids)}

    def unlock(self, conn: Connection[Any], run_ids: Collection[str]) -> None:
        """Release what ``lock`` locked."""
        self._execute(conn, self._unlock, run_ids)

    def look(self, conn: Connection[Any], run_ids: Collection[str]) -> dict[str, Progress]:
        """How far these runs are, by id. One that does not exist is not among them."""
        return {row[0]: Progress(*row) for row in self._execute(conn, self._look, run_ids)}

    def _execute(
        self, conn: Connection[Any], statement: Statement, run_ids: Collection[str]
    ) -> list[Any]:
        query = statement.query
        return conn.execute(query, (self._namespace, list(run_ids))).fetchall()
