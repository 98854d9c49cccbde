"""Storing through a connection of the caller, in the caller's transaction.

A program passes what it has: a connection or cursor of psycopg, a Session or Connection of
SQLAlchemy, Django's connection or its alias, or a connection of asyncpg. The libraries are known by
the names of their types, so that none is imported that the program does not use.
"""

from __future__ import annotations

from typing import Final

from owsuper.db.transactions import asyncpg, django, psycopg, sqlalchemy
from owsuper.db.transactions.transaction import AsyncTransaction, SyncTransaction
from owsuper.errors import ConfigurationError

_KNOWN: Final = (
    "a psycopg connection or cursor, a SQLAlchemy Session or Connection, Django's connection or its"
    " alias"
)
_KNOWN_ASYNC: Final = (
    "a psycopg AsyncConnection or its cursor, a SQLAlchemy AsyncSession or AsyncConnection, or a"
    " connection of asyncpg"
)


def sync_transaction(connection: object) -> SyncTransaction:
    """Return the transaction that is open on ``connection``. Raises ConfigurationError.

    A new one is begun where the library begins transactions by itself.
    """
    found: SyncTransaction | None
    for library in (psycopg, sqlalchemy, django):
        found = library.sync_transaction(connection)
        if found is not None:
            return found
    if any(library.is_async(connection) for library in (psycopg, sqlalchemy, asyncpg)):
        raise ConfigurationError(
            f"connection: {_named(connection)} is async; await the async method, such as arun"
        )
    raise ConfigurationError(f"connection: expected {_KNOWN}, not {_named(connection)}")


async def async_transaction(connection: object) -> AsyncTransaction:
    """Awaitable ``sync_transaction``, for the connections of async libraries."""
    found: AsyncTransaction | None
    for library in (psycopg, sqlalchemy, asyncpg):
        found = await library.async_transaction(connection)
        if found is not None:
            return found
    if any(library.is_sync(connection) for library in (psycopg, sqlalchemy, django)):
        raise ConfigurationError(
            f"connection: {_named(connection)} is not async; call the method that is not async,"
            " such as run, in the thread that uses the connection"
        )
    raise ConfigurationError(f"connection: expected {_KNOWN_ASYNC}, not {_named(connection)}")


def _named(connection: object) -> str:
    if isinstance(connection, str):
        return repr(connection)
    kind = type(connection)
    return f"{kind.__module__}.{kind.__qualname__}"
