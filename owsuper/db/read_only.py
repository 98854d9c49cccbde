"""Why a server refuses writes: a standby, or a setting of the role, the database or the URL."""

from __future__ import annotations

from typing import Any, Final

import psycopg
from psycopg import Connection

from owsuper.errors import DatabaseError, DatabaseUnreachable

_SETTING: Final = "default_transaction_read_only"
_QUESTION: Final = (
    f"SELECT source FROM pg_settings WHERE name = '{_SETTING}' AND setting = 'on'"
    " AND NOT pg_is_in_recovery()"
).encode()

# By the source of the setting, in pg_settings.
_CAUSES: Final = {
    "user": 'the role "{role}" is read-only. Use another role, or let a database administrator'
    " run: ALTER ROLE {role} RESET {setting}",
    "database user": 'the role "{role}" is read-only in database "{database}". Use another role,'
    " or let a database administrator run: ALTER ROLE {role} IN DATABASE {database} RESET"
    " {setting}",
    "database": 'the database "{database}" is read-only. Let a database administrator run:'
    " ALTER DATABASE {database} RESET {setting}",
    "client": "the database URL (or PGOPTIONS) makes the connection read-only. Take {setting} out"
    " of its options.",
}
_STANDBY: Final = (
    "{reason}. It may be a standby, or about to become the primary. Point the database URL at the"
    " primary; with several hosts in the URL, add target_session_attrs=read-write."
)


def explain(conn: Connection[Any], error: psycopg.Error) -> DatabaseError:
    """Return the error for a write that was refused as ``error`` on ``conn``; asks the server.

    It is a DatabaseUnreachable if another server, or this one later, may take the write.
    """
    cause = _CAUSES.get(_source(conn))
    text = (cause or _STANDBY).format(
        role=conn.info.user,
        database=conn.info.dbname,
        setting=_SETTING,
        reason=error.diag.message_primary,
    )
    kind = DatabaseError if cause else DatabaseUnreachable
    return kind(f"PostgreSQL takes no writes: {text}")


def _source(conn: Connection[Any]) -> str:
    """Return which source has made transactions read-only, if that is not the server itself."""
    try:
        row = conn.execute(_QUESTION).fetchone()
    except psycopg.Error:
        return ""
    return "" if row is None else str(row[0])
