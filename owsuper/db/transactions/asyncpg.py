"""Connections of asyncpg, also those that its pool lends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from owsuper.db.transactions.transaction import (
    Rows,
    autocommits,
    closed,
    is_idle,
    is_instance,
    with_text_json,
)


class AsyncpgTransaction:
    """A transaction on a connection of asyncpg."""

    def __init__(self, conn: Any) -> None:
        if conn.is_closed():
            raise closed("asyncpg connection")
        if not conn.is_in_transaction():
            raise autocommits(
                "asyncpg connection", "use it within `async with connection.transaction():`"
            )
        self.identity = conn

    async def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises asyncpg.PostgresError."""
        return [tuple(row) for row in await self.identity.fetch(with_text_json(text), *params)]

    async def finish(self) -> bool:
        """Return whether the connection is still in a transaction."""
        return not is_idle(self.identity)


async def async_transaction(connection: object) -> AsyncpgTransaction | None:
    """Return the transaction, unless this is not an asyncpg connection."""
    return AsyncpgTransaction(connection) if is_async(connection) else None


def is_async(connection: object) -> bool:
    """Whether ``arun`` takes this connection."""
    return is_instance(connection, "asyncpg.Connection", "asyncpg.PoolConnectionProxy")
