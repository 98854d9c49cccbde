"""What opens the transaction of a step: a connection of psycopg, or a library of the user's."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
)
from typing import Any, Protocol

import psycopg

from owsuper.child.database import ChildDatabase
from owsuper.db.transactions import async_transaction, django, sqlalchemy, sync_transaction
from owsuper.db.transactions.transaction import AsyncTransaction, SyncTransaction, is_instance
from owsuper.errors import StepUsageError

Opened = tuple[Any, SyncTransaction]
"""What the step's function takes, and its transaction."""
AsyncOpened = tuple[Any, AsyncTransaction]


class TransactionSource(Protocol):
    """Opens transactions. They are committed at the end of the block, or rolled back."""

    def open(self, database: ChildDatabase) -> AbstractContextManager[Opened]:
        """Open a transaction for this thread."""
        ...

    def aopen(self, database: ChildDatabase) -> AbstractAsyncContextManager[AsyncOpened]:
        """Open a transaction for this task."""
        ...


class OwnConnection:
    """Opens a transaction on a psycopg connection of this process."""

    @contextmanager
    def open(self, database: ChildDatabase) -> Iterator[Opened]:
        """Open a transaction on a Connection. Raises Unavailable."""
        conn = database.acquire_for_user_code()
        try:
            with conn.transaction():
                yield conn, sync_transaction(conn)
        finally:
            database.release_from_user_code(conn)

    @asynccontextmanager
    async def aopen(self, database: ChildDatabase) -> AsyncIterator[AsyncOpened]:
        """Open a transaction on an AsyncConnection. Raises psycopg.OperationalError."""
        conninfo = database.conninfo_for_user_code()
        connecting = psycopg.AsyncConnection.connect(
            conninfo, autocommit=True, prepare_threshold=None
        )
        async with await connecting as conn, conn.transaction():
            yield conn, await async_transaction(conn)


class SessionFactory:
    """Opens a transaction on a session of SQLAlchemy that ``factory`` makes.

    The factory returns a session, yields one, or returns a context manager of one.
    """

    def __init__(self, step: str, factory: Callable[[], Any]) -> None:
        self._step = step
        self._factory = factory

    @contextmanager
    def open(self, database: ChildDatabase) -> Iterator[Opened]:
        """Open a transaction on a Session. Raises StepUsageError for another thing."""
        factory = self._factory
        if inspect.isgeneratorfunction(factory):  # such as a dependency of FastAPI
            factory = contextmanager(factory)
        made = factory()
        self._check(made, "__enter__", "a Session of SQLAlchemy, because the function is not async")
        with made as session:
            self._check(session, "connection", "a Session of SQLAlchemy")
            with sqlalchemy.atomic(session) as transaction:
                yield session, transaction

    @asynccontextmanager
    async def aopen(self, database: ChildDatabase) -> AsyncIterator[AsyncOpened]:
        """Open a transaction on an AsyncSession. Raises StepUsageError for another thing."""
        factory = self._factory
        if inspect.isasyncgenfunction(factory):
            factory = asynccontextmanager(factory)
        made = factory()
        self._check(
            made, "__aenter__", "an AsyncSession of SQLAlchemy, because the function is async"
        )
        async with made as session:
            self._check(session, "sync_session", "an AsyncSession of SQLAlchemy")
            async with sqlalchemy.async_atomic(session) as transaction:
                yield session, transaction

    def _check(self, made: object, attribute: str, expected: str) -> None:
        if not hasattr(made, attribute):
            raise StepUsageError(
                f"Step {self._step!r}: session must be what makes {expected}, and"
                f" {self._factory!r:.60} makes an object of type {type(made).__name__}"
            )


class ScopedSession:
    """Opens a transaction on the session of this thread in a scoped_session of SQLAlchemy."""

    def __init__(self, step: str, scoped: Any) -> None:
        self._step = step
        self._scoped = scoped

    @contextmanager
    def open(self, database: ChildDatabase) -> Iterator[Opened]:
        """Open a transaction on a Session, which code finds in the scoped_session, too."""
        session = self._scoped()
        if session.in_transaction():
            raise StepUsageError(
                f"Step {self._step!r}: the session of this thread is in a transaction already. End"
                " it before the step, or pass a sessionmaker."
            )
        try:
            with sqlalchemy.atomic(session) as transaction:
                yield session, transaction
        finally:
            self._scoped.remove()

    def aopen(self, database: ChildDatabase) -> AbstractAsyncContextManager[AsyncOpened]:
        """Raise StepUsageError, because what the session does blocks."""
        raise StepUsageError(
            f"Step {self._step!r}: session must be what makes an AsyncSession of SQLAlchemy,"
            " because the function is async"
        )


class DjangoAlias:
    """Opens a transaction on Django's connection ``alias``."""

    def __init__(self, alias: str) -> None:
        self._alias = alias

    @contextmanager
    def open(self, database: ChildDatabase) -> Iterator[Opened]:
        """Open a transaction of ``atomic``, on the connection of this thread."""
        with django.atomic(self._alias) as wrapper:
            yield wrapper, sync_transaction(wrapper)

    def aopen(self, database: ChildDatabase) -> AbstractAsyncContextManager[AsyncOpened]:
        """Raise StepUsageError, because transactions of Django are not async."""
        raise StepUsageError(
            "step.transaction(using=...) takes no async function: Django's transactions are not"
            " async. Pass a function that is not async; it is called in a thread."
        )


def source_of(step: str, session: Any, using: Any) -> TransactionSource:
    """Return what opens the transaction of a step. Raises StepUsageError."""
    if session is not None and using is not None:
        raise StepUsageError(f"Step {step!r}: pass session or using, not both")
    if using is not None:
        if not isinstance(using, str):
            raise StepUsageError(
                f"Step {step!r}: using must be the alias of one of Django's connections, not"
                f" {using!r:.60}"
            )
        return DjangoAlias(using)
    if session is None:
        return OwnConnection()
    if is_instance(session, "sqlalchemy.scoped_session"):
        return ScopedSession(step, session)
    if not callable(session) or (hasattr(session, "execute") and not isinstance(session, type)):
        raise StepUsageError(
            f"Step {step!r}: session must be what makes a session, such as a sessionmaker, not"
            f" {session!r:.60}: each attempt has a session of its own"
        )
    return SessionFactory(step, session)
