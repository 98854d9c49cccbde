"""The errors of the database: which of them may pass, and what callers get instead of psycopg's."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import Connection, errors
from psycopg.pq import ConnStatus, PipelineStatus

from owsuper.db import connect, read_only
from owsuper.db.timed import TimeLimitReached
from owsuper.errors import DatabaseError, DatabaseUnreachable, MigrationError

ROLLED_BACK: Final = (errors.DeadlockDetected, errors.SerializationFailure)
"""The errors of a transaction that may be repeated at once."""

# The server stopped a statement by a limit of the role, of the client or of an administrator.
_GAVE_UP: Final = (errors.LockNotAvailable, errors.QueryCanceled, *ROLLED_BACK)
# Errors of a server that is about to disconnect, or has just restarted.
_INTERRUPTIONS: Final = (
    errors.AdminShutdown,
    errors.CrashShutdown,
    errors.CannotConnectNow,
    errors.IdleSessionTimeout,
    errors.IdleInTransactionSessionTimeout,
)
_NO_TABLES: Final = (
    errors.UndefinedTable,
    errors.UndefinedColumn,
    errors.UndefinedFunction,
    errors.InvalidSchemaName,
)
NO_TABLES: Final = frozenset(str(each.sqlstate) for each in _NO_TABLES)
"""SQLSTATEs, for the errors of other libraries."""


def must_close(conn: Connection[Any], error: psycopg.Error) -> bool:
    """Return whether to close a connection that is still open.

    After a refused write, the next connection may lead to the primary.
    """
    return _is_stuck(conn) or isinstance(error, errors.ReadOnlySqlTransaction)


def may_succeed(conn: Connection[Any], error: psycopg.Error) -> bool:
    """Return whether the same work may succeed the next time."""
    if isinstance(error, TimeLimitReached):
        return False
    retried = (*ROLLED_BACK, errors.ReadOnlySqlTransaction)
    return isinstance(error, retried) or _is_lost(conn, error)


def may_pass(error: BaseException) -> bool:
    """Return whether who waits for a result should go on waiting: the server only gave up."""
    return isinstance(error, DatabaseError) and isinstance(error.__cause__, _GAVE_UP)


def explain(conn: Connection[Any], error: psycopg.Error, url: str, schema: str) -> DatabaseError:
    """Return the error to raise in place of the driver's."""
    reason = error.diag.message_primary or str(error)
    if isinstance(error, TimeLimitReached):
        return DatabaseUnreachable(
            f"PostgreSQL at {connect.place(url)} has not answered in time. It is overloaded or"
            " hangs, or another session has locked the tables. What this call began may still"
            " take effect. The setting call_timeout is the longest time that a call may take."
        )
    if isinstance(error, errors.ReadOnlySqlTransaction):
        return read_only.explain(conn, error)
    if _is_lost(conn, error):
        return connect.explain_failure(error, url)
    if isinstance(error, _NO_TABLES):
        return no_tables(reason, schema)
    if isinstance(error, errors.QueryCanceled):
        return DatabaseError(
            f"PostgreSQL gave up: {reason}. Nothing was changed; try again. Limits are"
            " statement_timeout of the role or the server, and the setting call_timeout."
        )
    if isinstance(error, _GAVE_UP):
        return DatabaseError(
            f"PostgreSQL gave up waiting for a lock: {reason}. Nothing was changed; try again."
        )
    if isinstance(error, errors.InsufficientPrivilege):
        return DatabaseError(
            f'PostgreSQL refused, since the role "{conn.info.user}" lacks a privilege: {reason}.'
            " Let a database administrator grant it; `owsuper migrate --sql` ends with the grants"
            " that a role needs."
        )
    return DatabaseError(f"PostgreSQL refused: {reason}")


def no_tables(reason: str, schema: str) -> MigrationError:
    """Return the error for tables that are missing, or of an earlier version."""
    return MigrationError(
        f'The tables in schema "{schema}" are missing or incomplete ({reason}). Run: owsuper'
        f" migrate --schema {schema}, or start a worker, which creates them, or use"
        " OpenWorkflow(migrate=True). Are database and schema the right ones?"
    )


def _is_lost(conn: Connection[Any], error: psycopg.Error) -> bool:
    closed = conn.pgconn.status != ConnStatus.OK or _is_stuck(conn)
    return closed or isinstance(error, _INTERRUPTIONS)


def _is_stuck(conn: Connection[Any]) -> bool:
    # After a crash of the server in a pipeline, psycopg cannot always leave the pipeline.
    return conn.pgconn.pipeline_status != PipelineStatus.OFF
