"""Create the tables; safe to run concurrently.

Two series of migrations share one schema, each with its own table of applied versions:
OpenWorkflow's own, which must end in the objects that its other implementations expect and
which any of them may have applied already; and what owsuper adds beside them. A version that
is recorded is never run again, and nothing that exists is altered.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from psycopg import errors

from owsuper.core.names import check_schema_name
from owsuper.db import read_only
from owsuper.db.statement import in_schema, sql_root
from owsuper.errors import MigrationError

if TYPE_CHECKING:
    from psycopg import Connection

MINIMUM_SERVER_VERSION: Final = 14


@dataclass(frozen=True, slots=True)
class Migration:
    """One version of one series; ``text`` has its ``{schema}`` still open."""

    series: str
    version: int
    name: str
    text: str

    @property
    def record(self) -> str:
        """SQL that records this version as applied."""
        table = f"{{schema}}.{self.series}_migrations"
        return f"INSERT INTO {table} (version) VALUES ({self.version}) ON CONFLICT DO NOTHING;"


@cache
def migrations() -> tuple[Migration, ...]:
    """Return all migrations, in the order of application."""
    found = []
    for series in ("openworkflow", "owsuper"):
        directory = sql_root() / "migrations" / series
        for file in sorted(directory.iterdir(), key=lambda file: file.name):
            version, name = file.name.removesuffix(".sql").split("_", 1)
            found.append(Migration(series, int(version), name, file.read_text("utf-8")))
    return tuple(found)


# A process of another implementation takes no lock, so it may create an object between our
# check and our statement. Then its transaction has succeeded: check again.
_LOST_A_RACE: Final = (
    errors.DuplicateSchema,
    errors.DuplicateTable,
    errors.DuplicateObject,
    errors.DuplicateFunction,
    errors.UniqueViolation,
    errors.DeadlockDetected,
    errors.InternalError_,  # "tuple concurrently updated", by the catalogue
)
# Another transaction has held a table for _LOCK_TIMEOUT. Waiting longer would block other
# transactions, which queue behind our lock request. So give up and try again.
_TABLE_IN_USE: Final = errors.LockNotAvailable
_LOCK_TIMEOUT: Final = "3s"
_ATTEMPTS: Final = 20
_PAUSE: Final = 0.1  # seconds


def migrate(conn: Connection[Any], schema: str) -> None:
    """Bring ``schema`` up to date; creates it if need be. Does nothing when all is there.

    ``conn`` should be in autocommit mode: every version is a transaction of its own. Any number
    of processes may do this at once. Raises InvalidSchemaName; MigrationError when
    the role lacks a privilege, the server is too old or read-only, or a table stays in use.
    """
    check_schema_name(schema)
    _check_server(conn)
    failures = 0
    while _pending(conn, schema):
        try:
            _apply_next(conn, schema)
        except (*_LOST_A_RACE, _TABLE_IN_USE) as exc:
            failures += 1
            if failures == _ATTEMPTS:
                raise _explain(conn, schema, exc) from exc
            time.sleep(_PAUSE)
        except errors.OperationalError:  # the connection, not the tables
            raise
        except errors.Error as exc:
            raise _explain(conn, schema, exc) from exc


def check(conn: Connection[Any], schema: str) -> list[str]:
    """Return descriptions of what is missing in ``schema``; empty if nothing is.

    Looks for the objects themselves too: a restored dump may have lost some. Raises
    InvalidSchemaName and, if the role may not read the tables, MigrationError.
    """
    check_schema_name(schema)
    pending = [
        f"{migration.series} migration {migration.version} ({migration.name.replace('_', ' ')})"
        for migration in _pending(conn, schema)
    ]
    return pending or _lost_objects(conn, schema)


def newer(conn: Connection[Any], schema: str) -> list[str]:
    """Return descriptions of applied migrations that this version does not know."""
    known = {each.series: each.version for each in migrations()}  # the last of each series
    levels = {series: _level(conn, schema, series) for series in known}
    return [
        f"{series} migration {levels[series]}" for series in known if levels[series] > known[series]
    ]


def tables() -> list[str]:
    """Return the names of all tables."""
    made = (made for migration in migrations() for made in _MAKES.findall(migration.text))
    return sorted({name for kind, name in made if kind == "TABLE"})


def sql(schema: str) -> str:
    """Return a script for psql that does the same as ``migrate``; harmless when run again."""
    parts = [
        f'-- Creates the tables of owsuper in schema "{schema}". Run it as a role that may create'
        "\n-- schemas and tables. What exists is left as it is.",
        "BEGIN;",
        _lock(schema),
    ]
    for migration in migrations():
        title = f"-- {migration.series} {migration.version}: {migration.name.replace('_', ' ')}"
        parts += [title, migration.text.strip(), migration.record]
    parts += [
        "COMMIT;",
        "-- The role of the application needs these; put its name in the place of app:\n"
        "--   GRANT USAGE ON SCHEMA {schema} TO app;\n"
        "--   GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO app;",
    ]
    return in_schema("\n\n".join(parts) + "\n", schema)


def _check_server(conn: Connection[Any]) -> None:
    major = conn.info.server_version // 10_000
    if major < MINIMUM_SERVER_VERSION:
        raise MigrationError(
            f"This server is PostgreSQL {major}; owsuper needs {MINIMUM_SERVER_VERSION} or newer."
        )


def _pending(conn: Connection[Any], schema: str) -> list[Migration]:
    """Return the migrations that are not recorded as applied, in order."""
    level = {series: _level(conn, schema, series) for series in ("openworkflow", "owsuper")}
    return [each for each in migrations() if each.version > level[each.series]]


def _level(conn: Connection[Any], schema: str, series: str) -> int:
    """Return the newest applied version of a series, -1 if there is none.

    A version is recorded in the transaction that creates its objects, so the maximum suffices.
    """
    table = f"{series}_migrations"
    query = (
        "SELECT 1 FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace n ON n.oid = relnamespace"
        f" WHERE nspname = '{schema}' AND relname = '{table}'"
    )
    if not conn.execute(query.encode()).rowcount:
        return -1
    newest = in_schema(f"SELECT max(version) FROM {{schema}}.{table}", schema)
    try:
        row = conn.execute(newest.encode()).fetchone()
    except errors.InsufficientPrivilege as exc:
        raise _explain(conn, schema, exc) from exc
    return -1 if row is None or row[0] is None else int(row[0])


# Matches the objects that a migration creates. Names are unique among all kinds of objects.
_MAKES: Final = re.compile(
    r"(?m)^ *(?:CREATE|ADD)[A-Z ]* (TABLE|INDEX|CONSTRAINT|FUNCTION|TRIGGER)(?: IF NOT EXISTS)?"
    r"\s+(?:\{schema\}\.)?(\w+)"
)
_OBJECTS: Final = """
    SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('{schema}')
    UNION ALL
    SELECT proname FROM pg_proc WHERE pronamespace = to_regnamespace('{schema}')
    UNION ALL
    SELECT conname FROM pg_constraint WHERE connamespace = to_regnamespace('{schema}')
    UNION ALL
    SELECT tgname FROM pg_trigger JOIN pg_class c ON c.oid = tgrelid
    WHERE relnamespace = to_regnamespace('{schema}') AND NOT tgisinternal
"""


def _lost_objects(conn: Connection[Any], schema: str) -> list[str]:
    rows = conn.execute(in_schema(_OBJECTS, schema).encode()).fetchall()
    present = {row[0] for row in rows}
    made = (made for migration in migrations() for made in _MAKES.findall(migration.text))
    return [f"{kind.lower()} {name}" for kind, name in dict.fromkeys(made) if name not in present]


def _lock(schema: str) -> str:
    # A lock of the transaction, not of the session, so that it works through a pooler as well.
    key = f"hashtextextended('owsuper:migrate:{schema}', 0)"
    return f"SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.{key});"


def _apply_next(conn: Connection[Any], schema: str) -> None:
    """Apply the first pending migration in a transaction of its own.

    Take the lock before reading, so that migrations applied by the previous holder are seen.
    """
    with conn.transaction():
        conn.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        conn.execute("SET TRANSACTION ISOLATION LEVEL READ COMMITTED")
        conn.execute(_lock(schema).encode())
        pending = _pending(conn, schema)
        if pending:
            conn.execute(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'".encode())
            script = f"{pending[0].text}\n{pending[0].record}"
            conn.execute(in_schema(script, schema).encode())


def _explain(conn: Connection[Any], schema: str, exc: errors.Error) -> MigrationError:
    """Return the error to raise for ``exc``: what could not be done, why, what to do."""
    reason = exc.diag.message_primary or str(exc)
    if isinstance(exc, errors.InsufficientPrivilege):
        return MigrationError(
            f'The role "{conn.info.user}" may not create or use owsuper\'s tables in schema'
            f' "{schema}": {reason}. Let a database administrator run what'
            f" `owsuper migrate --sql --schema {schema}` prints, which also names the grants that"
            " this role needs."
        )
    failed = f'Cannot create owsuper\'s tables in schema "{schema}"'
    if isinstance(exc, errors.ReadOnlySqlTransaction):
        advice = str(read_only.explain(conn, exc))
    elif isinstance(exc, _TABLE_IN_USE):
        advice = (
            "other transactions keep them in use. Look for long ones in pg_stat_activity, end"
            " them and migrate again."
        )
    else:
        advice = (
            f"{reason}. Other objects with these names exist or are being created. Look into the"
            " schema, or choose another."
        )
    return MigrationError(f"{failed}: {advice}")
