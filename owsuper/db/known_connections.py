"""Which connections of the caller are known to lead to the workflow's database."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakSet

from psycopg import Connection

from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class WhichDatabase:
    """A database. ``identity`` is its own, until its server is restarted."""

    identity: str
    name: str


def read_identity(rows: Sequence[tuple[Any, ...]]) -> WhichDatabase:
    """Return the database that answered ``KnownConnections.query`` with these rows."""
    [(identity, name)] = rows
    return WhichDatabase(identity, name)


class KnownConnections:
    """Remembers connections, and the identity of the database.

    ``query`` asks a connection for that of its own database, see ``read_identity``. A driver's
    connection leads to one database for as long as it lives. ``database`` is None as long as the
    identity is not known.
    """

    def __init__(self, schema: str) -> None:
        self.query = load("which_database", schema)
        self.database: str | None = None
        self._connections: WeakSet[object] = WeakSet()

    def read_own(self, conn: Connection[Any]) -> str:
        """Return the identity of the database to which one of our own connections leads."""
        return read_identity(conn.execute(self.query.query).fetchall()).identity

    def __contains__(self, connection: object) -> bool:
        try:
            return connection in self._connections
        except TypeError:  # weak references to it are impossible
            return False

    def add(self, connection: object) -> None:
        """Remember a connection; without effect if weak references to it are impossible."""
        with contextlib.suppress(TypeError):
            self._connections.add(connection)
