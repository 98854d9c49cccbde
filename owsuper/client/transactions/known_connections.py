"""Which connections of the caller are known to lead to the workflow's database."""

from __future__ import annotations

import contextlib
from weakref import WeakSet


class KnownConnections:
    """Remembers connections, and the identity of the database (``ClientQueries.which_database``).

    A driver's connection leads to one database for as long as it lives. ``database`` is None as
    long as the identity is not known.
    """

    def __init__(self) -> None:
        self.database: str | None = None
        self._connections: WeakSet[object] = WeakSet()

    def __contains__(self, connection: object) -> bool:
        try:
            return connection in self._connections
        except TypeError:  # weak references to it are impossible
            return False

    def add(self, connection: object) -> None:
        """Remember a connection; without effect if weak references to it are impossible."""
        with contextlib.suppress(TypeError):
            self._connections.add(connection)
