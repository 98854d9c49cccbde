"""Connection poolers: how to detect one, and how to work through one.

A connection pooler in transaction mode, such as PgBouncer, lends a server's session for the
duration of a transaction. State left in a session (a setting, a prepared statement, a LISTEN, an
advisory lock) leaks to the next client, and our next statement may run in another session. So a
pooler must be detected.

The login reports a backend pid, for cancel requests. A pooler has to invent one, because it has no
session yet. If the session that answers has another pid, the session is not exclusively ours.
Poolers in session mode look the same, and are treated the same.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Self, TypeAlias

from psycopg import Connection, RawCursor
from psycopg.abc import Params
from psycopg.pq import TransactionStatus
from psycopg.rows import Row

from owsuper.db.driver_log import quiet_driver

# - The tables are read through indexes alone; without statistics (a fresh database, a queue
#   that grew since the last ANALYZE) the planner would choose otherwise.
# - JIT compilation takes 50 ms for a statement that runs for 1 ms.
_PLANNING: Final = {"enable_seqscan": "off", "jit": "off"}

# - Planning a claim takes longer than the claim, and the best plan depends on no parameter.
# - The guarded updates rely on re-evaluation after a lock wait.
# - Timestamps that are read as text must have one form.
# - A client that disappears without closing its connection must not keep its locks for hours.
_SESSION: Final = {
    **_PLANNING,
    "plan_cache_mode": "force_generic_plan",
    "default_transaction_isolation": "read committed",
    "DateStyle": "ISO",
    "TimeZone": "UTC",
    "tcp_keepalives_idle": "15",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "10000",
}

LOCAL: Final = (
    "SELECT "
    + ", ".join(f"set_config('{name}', '{value}', true)" for name, value in _PLANNING.items())
).encode()
"""The statement that precedes each statement through a pooler, in the same transaction."""

# A pipeline cannot set these for one transaction, so the role must have them.
_NEEDED: Final = {"default_transaction_isolation": "read committed", "DateStyle": "ISO"}

Answer: TypeAlias = Sequence[object]


def opening(backend_pid: int, statement_timeout: float = math.inf) -> bytes:
    """Return the first statement of a connection whose log-in named ``backend_pid``.

    The statement returns one row, the answer. It also limits the role's ``statement_timeout`` to
    these seconds, if they are finite.
    """
    settings = ", ".join(f"('{name}', '{value}')" for name, value in _SESSION.items())
    if statement_timeout < math.inf:
        settings += f", ('statement_timeout', {_limited(statement_timeout)})"
    needed = ", ".join(f"current_setting('{name}')" for name in _NEEDED)
    return (
        "SELECT (SELECT count(set_config(name, value, false))"
        f" FROM (VALUES {settings}) AS setting (name, value)"
        f" WHERE pg_backend_pid() = {backend_pid})::text, {needed}"
    ).encode()


def _limited(seconds: float) -> str:
    """Return SQL of the role's statement_timeout, or of ``seconds`` if that is shorter."""
    role = "current_setting('statement_timeout')"
    limit = f"{math.ceil(seconds * 1000)}ms"
    kept = f"{role}::interval > '0' AND {role}::interval < '{limit}'::interval"
    return f"CASE WHEN {kept} THEN {role} ELSE '{limit}' END"


def is_pooled(answer: Answer) -> bool:
    """Return whether a pooler is in between."""
    return answer[0] in ("0", b"0")


def unfit(answer: Answer) -> str | None:
    """Return SQL (with ``{role}``) that corrects settings of the role, or None if they fit."""
    wrong = [
        f"ALTER ROLE {{role}} SET {name} = '{value}'"
        for (name, value), found in zip(_NEEDED.items(), answer[1:], strict=True)
        if not str(found).startswith(value)
    ]
    return "; ".join(wrong) or None


def adapt(conn: Connection[Any]) -> None:
    """Make ``conn`` work behind a pooler."""
    conn.prepare_threshold = None
    conn.cursor_factory = PooledCursor


def is_adapted(conn: Connection[Any]) -> bool:
    """Return whether ``adapt`` was called for ``conn``."""
    return conn.cursor_factory is PooledCursor


class PooledCursor(RawCursor[Row]):
    """A cursor for connections through a pooler: statements share no session state.

    Nothing is prepared, because the pooler may give the next statement to another session. The
    planner's settings precede each statement, in the same transaction; a transaction of the
    caller stays as it is.

    This does not use a pipeline of psycopg, which ends with a Sync and a Flush. If the Flush
    arrives after the answer to the Sync, PgBouncer (1.18, for one) lends a session for it, waits
    for an answer that a Flush does not have, and never takes the session back.
    """

    def execute(
        self,
        query: Any,
        params: Params | None = None,
        *,
        prepare: bool | None = None,
        binary: bool | None = None,
    ) -> Self:
        """Execute ``query`` as RawCursor does, with the planner's settings."""
        if not _stands_alone(self.connection):
            return super().execute(query, params, prepare=prepare, binary=binary)
        with quiet_driver(), self.connection.transaction():
            RawCursor(self.connection).execute(LOCAL)
            return super().execute(query, params, prepare=prepare, binary=binary)


def _stands_alone(conn: Connection[Any]) -> bool:
    return conn.pgconn.transaction_status == TransactionStatus.IDLE
