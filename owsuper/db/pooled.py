"""Cursors for connections through a pooler: each statement stands for itself.

Nothing is prepared, since the pooler may give the next statement to a session that does not
know it, or that knows another by the same name. The planner's settings go in front of each
statement, in the same transaction.

Not in a pipeline of psycopg's: it ends with a Sync and a Flush. When the Flush arrives after the
answer to the Sync, PgBouncer (1.18, for one) lends a session for it, waits for an answer that a
Flush does not have, and never takes the session back.
"""

from __future__ import annotations

from typing import Any, Self

from psycopg import Connection, RawCursor
from psycopg.abc import Params
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

from owsuper.db.pooler import LOCAL


def adapt(conn: Connection[Any]) -> None:
    """Have ``conn`` use it right behind a pooler."""
    conn.prepare_threshold = None
    conn.cursor_factory = PooledCursor


def is_adapted(conn: Connection[Any]) -> bool:
    """Whether ``adapt`` was needed for ``conn``."""
    return conn.cursor_factory is PooledCursor


class PooledCursor(RawCursor[Row]):
    """Within a transaction of the caller's, statements go as they are."""

    def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        if not _stands_alone(self.connection):
            return super().execute(query, params, prepare=prepare, binary=binary)
        with self.connection.transaction():
            RawCursor(self.connection).execute(LOCAL)
            return super().execute(query, params, prepare=prepare, binary=binary)


def _stands_alone(conn: Connection[Any]) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE
