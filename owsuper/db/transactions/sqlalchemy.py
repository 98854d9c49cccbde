"""Sessions and connections of SQLAlchemy.

Statements go through SQLAlchemy, which begins its transactions itself: some of its drivers begin
them on the first statement.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any, Final

from owsuper.db.transactions.transaction import (
    Rows,
    autocommits,
    by_name,
    closed,
    is_idle,
    is_instance,
    with_named_parameters,
    with_text_json,
)
from owsuper.errors import ConfigurationError, StepUsageError

_SYNC: Final = ("sqlalchemy.Session", "sqlalchemy.scoped_session", "sqlalchemy.Connection")
_ASYNC: Final = (
    "sqlalchemy.AsyncSession",
    "sqlalchemy.async_scoped_session",
    "sqlalchemy.AsyncConnection",
)
_NUMBERED: Final = "numeric_dollar"  # the style of parameters of SQLAlchemy's driver for asyncpg
_NAMED: Final = "pyformat"


class SqlAlchemyTransaction:
    """A transaction on a Connection of SQLAlchemy."""

    def __init__(self, conn: Any) -> None:
        _check(conn)
        self.identity = conn.connection.dbapi_connection
        self._driver_connection = conn.connection.driver_connection
        self._conn = conn

    def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises sqlalchemy.exc.DBAPIError."""
        return _rows(self._conn.exec_driver_sql(*_in_style(self._conn, text, params)))

    def finish(self) -> bool:
        """Return whether the driver's connection is still in a transaction."""
        return not is_idle(self._driver_connection)


class AsyncSqlAlchemyTransaction:
    """A transaction on an AsyncConnection of SQLAlchemy."""

    def __init__(self, conn: Any) -> None:
        _check(conn.sync_connection)
        self.identity = conn.sync_connection.connection.dbapi_connection
        self._driver_connection = conn.sync_connection.connection.driver_connection
        self._conn = conn

    async def fetch(self, text: str, params: Sequence[Any]) -> Rows:
        """Execute a statement; return its rows. Raises sqlalchemy.exc.DBAPIError."""
        statement = _in_style(self._conn.sync_connection, text, params)
        return _rows(await self._conn.exec_driver_sql(*statement))

    async def finish(self) -> bool:
        """Return whether the driver's connection is still in a transaction."""
        return not is_idle(self._driver_connection)


class SessionTransaction(SqlAlchemyTransaction):
    """The transaction that a Session has begun, and that only its owner commits."""

    def __init__(self, session: Any) -> None:
        conn = session.connection()
        super().__init__(conn)
        self._session = session
        self._root = session.get_transaction()
        self.allow_commit = _refuse_commits(conn)

    def finish(self) -> bool:
        """Flush the session. Return False if its transaction has been ended."""
        if self._session.get_transaction() is not self._root or not super().finish():
            return False
        self._session.flush()
        return True


class AsyncSessionTransaction(AsyncSqlAlchemyTransaction):
    """The transaction that an AsyncSession has begun, and that only its owner commits."""

    def __init__(self, session: Any, conn: Any) -> None:
        super().__init__(conn)
        self._session = session
        self._root = session.sync_session.get_transaction()
        self.allow_commit = _refuse_commits(conn.sync_connection)

    async def finish(self) -> bool:
        """Flush the session. Return False if its transaction has been ended."""
        root = self._session.sync_session.get_transaction()
        if root is not self._root or not await super().finish():
            return False
        await self._session.flush()
        return True


@contextmanager
def atomic(session: Any) -> Iterator[SessionTransaction]:
    """Keep a Session in one transaction for the block, and commit that at its end."""
    if not session.in_transaction():
        session.begin()
    try:
        transaction = SessionTransaction(session)
        try:
            yield transaction
        finally:
            transaction.allow_commit()
    except BaseException:
        session.rollback()
        raise
    session.commit()


@asynccontextmanager
async def async_atomic(session: Any) -> AsyncIterator[AsyncSessionTransaction]:
    """Keep an AsyncSession in one transaction for the block, and commit that at its end."""
    if not session.in_transaction():
        await session.begin()
    try:
        transaction = AsyncSessionTransaction(session, await session.connection())
        try:
            yield transaction
        finally:
            transaction.allow_commit()
    except BaseException:
        await session.rollback()
        raise
    await session.commit()


def _refuse_commits(conn: Any) -> Callable[[], None]:
    """Let every commit raise StepUsageError; return what ends that.

    A session may be bound to a connection that outlives it, and is used by others.
    """
    event = sys.modules["sqlalchemy.event"]

    def refuse(conn: Any) -> None:
        raise StepUsageError(
            "The function of step.transaction() must not commit: owsuper commits what it wrote"
            " together with the result of the step."
        )

    event.listen(conn, "commit", refuse)
    return partial(event.remove, conn, "commit", refuse)


def sync_transaction(connection: Any) -> SqlAlchemyTransaction | None:
    """Return the transaction, unless this is no Session or Connection of SQLAlchemy."""
    if not is_sync(connection):
        return None
    is_connection = is_instance(connection, "sqlalchemy.Connection")
    return SqlAlchemyTransaction(connection if is_connection else connection.connection())


async def async_transaction(connection: Any) -> AsyncSqlAlchemyTransaction | None:
    """Return the transaction, unless this is no AsyncSession or AsyncConnection of SQLAlchemy."""
    if not is_async(connection):
        return None
    if not is_instance(connection, "sqlalchemy.AsyncConnection"):
        connection = await connection.connection()
    elif connection.sync_connection is None:
        raise ConfigurationError(
            "connection: the AsyncConnection is not started; use it within"
            " `async with engine.begin() as connection:`"
        )
    return AsyncSqlAlchemyTransaction(connection)


def is_sync(connection: object) -> bool:
    """Whether ``run`` takes this connection."""
    return is_instance(connection, *_SYNC)


def is_async(connection: object) -> bool:
    """Whether ``arun`` takes this connection."""
    return is_instance(connection, *_ASYNC)


def _check(conn: Any) -> None:
    if conn.closed:
        raise closed("SQLAlchemy connection")
    dialect = conn.dialect
    if dialect.name != "postgresql" or dialect.paramstyle not in (_NUMBERED, _NAMED):
        raise ConfigurationError(
            f"connection: {dialect.name}+{dialect.driver} is not supported; use PostgreSQL with"
            " psycopg, psycopg2 or asyncpg"
        )
    if conn.connection.dbapi_connection.autocommit:
        raise autocommits("SQLAlchemy connection", "use another isolation level")


def _in_style(conn: Any, text: str, params: Sequence[Any]) -> tuple[str, Any]:
    if conn.dialect.paramstyle == _NUMBERED:
        return with_text_json(text), tuple(params)
    return with_named_parameters(text), by_name(params)


def _rows(result: Any) -> Rows:
    return [tuple(row) for row in result] if result.returns_rows else []
