"""Operations in the transaction of a caller, on the caller's connection.

What an operation stores is committed or rolled back with the rest of that transaction, and workers
are notified at its commit. Errors of statements are those of the caller's library, because the
caller must roll back, and may begin again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from owsuper.client import failures
from owsuper.client.session import Session
from owsuper.db import connect
from owsuper.db.clients import Canceled, Operation
from owsuper.db.known_connections import WhichDatabase, read_identity
from owsuper.db.new_runs import NewRun
from owsuper.db.signals import Call
from owsuper.errors import ConfigurationError, RunNotCancelable

if TYPE_CHECKING:
    from owsuper.db.transactions.transaction import AsyncTransaction, SyncTransaction

T = TypeVar("T")

Work: TypeAlias = Generator[Call, list[tuple[Any, ...]], T]
"""Yields statements, receives their rows, and returns a result."""


def perform(session: Session, connection: object, work: Work[T]) -> T:
    """Return the result of ``work``, done in the transaction that is open on ``connection``.

    Raises ConfigurationError for a connection that cannot be used, MigrationError, as the work
    does, and the errors of the connection's library.
    """
    from owsuper.db.transactions import sync_transaction  # few programs need it

    transaction, known = sync_transaction(connection), session.known_connections
    if transaction.identity not in known:
        here = read_identity(transaction.fetch(known.query.text, ()))
        if here.identity != known.database:  # it may be the same, and have been restarted
            known.database = session.run(known.read_own)
            _check(here, known.database, session.url)
        known.add(transaction.identity)
    try:
        return _drive(transaction, work)
    except Exception as exc:
        _check_tables(exc, session)
        raise


async def aperform(session: Session, connection: object, work: Work[T]) -> T:
    """Awaitable ``perform``, for async connections."""
    from owsuper.db.transactions import async_transaction

    transaction, known = await async_transaction(connection), session.known_connections
    if transaction.identity not in known:
        here = read_identity(await transaction.fetch(known.query.text, ()))
        if here.identity != known.database:
            known.database = await session.arun(known.read_own)
            _check(here, known.database, session.url)
        known.add(transaction.identity)
    try:
        return await _adrive(transaction, work)
    except Exception as exc:
        _check_tables(exc, session)
        raise


def once(operation: Operation[T]) -> Work[T]:
    """The statements of an operation."""
    results = []
    for call in operation.calls:
        results.append((yield call))
    return operation.parse(results)


def start(session: Session, new: NewRun) -> Work[str]:
    """Start a run; return its id."""
    queries = session.queries
    if new.idempotency_key is not None:
        isolation, _ = yield from once(queries.transaction_settings())
        _check_isolation(isolation, "idempotency_key")
    return (yield from once(queries.start(new)))


def alone(
    session: Session, begin: Callable[[Session, NewRun], Work[str]], new: NewRun
) -> Work[str]:
    """Start a run whose limit decides about starts; return its id, or that of the run there is."""
    isolation, _ = yield from once(session.queries.transaction_settings())
    _check_isolation(isolation, "a limit with on_conflict")
    return (yield from begin(session, new))


def cancel(session: Session, run_id: str, *, children: bool) -> Work[Canceled]:
    """Cancel a run and, with ``children``, its open child runs, as ``operations.cancel`` does."""
    queries = session.queries
    canceled = yield from once(queries.cancel(run_id))
    while canceled.successor is not None:
        canceled = yield from once(queries.cancel(canceled.successor))
    parents = [canceled.run_id] if children else []
    while parents:
        parents = yield from once(queries.open_children(parents))
        for child_run_id in parents:
            last: str | None = child_run_id
            with contextlib.suppress(RunNotCancelable):  # it has ended in the meantime
                while last is not None:
                    last = (yield from once(queries.cancel(last))).successor
    return canceled


def send_signal(
    session: Session, signal: str, data: bytes | None, sender_key: str | None, *, keep: bool
) -> Work[list[str]]:
    """Send a signal; return the ids of the runs that it reached.

    The lock time-out of the transaction is as before afterwards.
    """
    queries = session.queries
    isolation, timeout = yield from once(queries.transaction_settings())
    _check_isolation(isolation, "a signal")
    reached = yield from once(queries.send_signal(signal, data, sender_key, keep=keep))
    if (note := queries.signals.note_unaware(reached)) is not None:
        yield note
    yield from once(queries.set_lock_timeout(timeout))
    return [run_id for run_id, *_ in reached]


def _drive(transaction: SyncTransaction, work: Work[T]) -> T:
    try:
        statement, params = next(work)
        while True:
            statement, params = work.send(transaction.fetch(statement.text, params))
    except StopIteration as end:
        result: T = end.value
        return result


async def _adrive(transaction: AsyncTransaction, work: Work[T]) -> T:
    try:
        statement, params = next(work)
        while True:
            statement, params = work.send(await transaction.fetch(statement.text, params))
    except StopIteration as end:
        result: T = end.value
        return result


def _check_tables(exc: Exception, session: Session) -> None:
    """Raise MigrationError for an error of any library that says that the tables are missing."""
    from owsuper.db.transactions.transaction import sqlstate

    if sqlstate(exc) in failures.NO_TABLES:
        raise failures.no_tables(str(exc).partition("\n")[0], session.schema) from exc


def _check_isolation(isolation: str, what: str) -> None:
    # What others have committed since the transaction began would not be seen.
    if isolation != "read committed":
        raise ConfigurationError(
            f"connection: {what} needs the isolation level READ COMMITTED, and this transaction has"
            f" {isolation.upper()}. Begin a transaction of that level, or leave out connection."
        )


def _check(here: WhichDatabase, own: str, url: str) -> None:
    if here.identity != own:
        raise ConfigurationError(
            f'connection: it leads to the database "{here.name}" of another server, or to another'
            f" database than that of the workflows, {connect.place(url)}. Pass a connection to"
            " that, or leave out connection."
        )
