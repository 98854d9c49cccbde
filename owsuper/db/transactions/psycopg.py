"""Connections and cursors of psycopg."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.pq import PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from owsuper.db.transactions.transaction import Rows, autocommits, closed, is_idle
from owsuper.errors import StepUsageError

_SyncConnection = psycopg.Connection[Any]
_AsyncConnection = psycopg.AsyncConnection[Any]


class PsycopgTransaction:
    """A transaction on a psycopg Connection."""

    def __init__(self, conn: _SyncConnection) -> None:
        _check(conn)
        self.identity = conn

    def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises psycopg.Error."""
        cursor = psycopg.RawCursor(self.identity, row_factory=tuple_row)
        cursor.execute(text.encode(), params)
        _sync(self.identity)
        return cursor.fetchall() if cursor.description else []

    def finish(self) -> bool:
        """Return whether the connection is still in a transaction.

        Raises StepUsageError if it is in pipeline mode, or in the middle of a statement: then the
        connection is closed.
        """
        _check_pipeline(self.identity)
        if _is_within_statement(self.identity):
            self.identity.close()
            raise _left_open()
        return not is_idle(self.identity)


class AsyncPsycopgTransaction:
    """A transaction on a psycopg AsyncConnection."""

    def __init__(self, conn: _AsyncConnection) -> None:
        _check(conn)
        self.identity = conn

    async def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises psycopg.Error."""
        cursor = psycopg.AsyncRawCursor(self.identity, row_factory=tuple_row)
        await cursor.execute(text.encode(), params)
        await _async_sync(self.identity)
        return await cursor.fetchall() if cursor.description else []

    async def finish(self) -> bool:
        """Awaitable ``PsycopgTransaction.finish``."""
        _check_pipeline(self.identity)
        if _is_within_statement(self.identity):
            await self.identity.close()
            raise _left_open()
        return not is_idle(self.identity)


def sync_transaction(connection: object) -> PsycopgTransaction | None:
    """Return the transaction, unless this is not a psycopg connection or cursor."""
    conn = _connection_of(connection)
    if not isinstance(conn, psycopg.Connection):
        return None
    if conn.autocommit:  # a pipeline would hide whether there is a transaction
        _sync(conn)
    return PsycopgTransaction(conn)


async def async_transaction(connection: object) -> AsyncPsycopgTransaction | None:
    """Return the transaction, unless this is not an async psycopg connection or cursor."""
    conn = _connection_of(connection)
    if not isinstance(conn, psycopg.AsyncConnection):
        return None
    if conn.autocommit:
        await _async_sync(conn)
    return AsyncPsycopgTransaction(conn)


def is_sync(connection: object) -> bool:
    """Whether ``run`` takes this connection."""
    return isinstance(_connection_of(connection), psycopg.Connection)


def is_async(connection: object) -> bool:
    """Whether ``arun`` takes this connection."""
    return isinstance(_connection_of(connection), psycopg.AsyncConnection)


def _connection_of(connection: object) -> object:
    if isinstance(connection, (psycopg.Cursor, psycopg.AsyncCursor)):
        return connection.connection
    return connection


def _sync(conn: _SyncConnection) -> None:
    """Await the answers to what is in the pipeline, if the connection is in pipeline mode."""
    if conn.pgconn.pipeline_status != PipelineStatus.OFF:
        with conn.pipeline() as pipeline:
            pipeline.sync()


async def _async_sync(conn: _AsyncConnection) -> None:
    """Awaitable ``_sync``."""
    if conn.pgconn.pipeline_status != PipelineStatus.OFF:
        async with conn.pipeline() as pipeline:
            await pipeline.sync()


def _check_pipeline(conn: _SyncConnection | _AsyncConnection) -> None:
    # The commit would wait in the pipeline, and be lost with it.
    if conn.pgconn.pipeline_status != PipelineStatus.OFF:
        raise StepUsageError(
            "The function of step.transaction() has left a pipeline open. Use it as a context"
            " manager: `with connection.pipeline():`."
        )


def _is_within_statement(conn: _SyncConnection | _AsyncConnection) -> bool:
    # The server would wait for the end of that statement for ever, and ROLLBACK for the server.
    return conn.info.transaction_status == TransactionStatus.ACTIVE


def _left_open() -> StepUsageError:
    return StepUsageError(
        "The function of step.transaction() has left a statement open. Use a COPY as a context"
        " manager (`with cursor.copy(...) as copy:`), and read or close what stream() returns."
    )


def _check(conn: _SyncConnection | _AsyncConnection) -> None:
    if conn.closed:
        raise closed("psycopg connection")
    if conn.autocommit and conn.info.transaction_status == TransactionStatus.IDLE:
        raise autocommits("psycopg connection", "use it within `with connection.transaction():`")
