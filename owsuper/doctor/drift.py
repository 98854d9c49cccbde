"""The tables: missing migrations, missing privileges, and objects that are not as they should be.

What they should be comes from the migrations themselves: they are applied to another schema, in a
transaction that is rolled back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, TypeAlias
from uuid import uuid4

from psycopg import Connection, errors

from owsuper.db import migrate
from owsuper.db.statement import in_schema
from owsuper.doctor.findings import CheckResult, note, ok, problem

_PRIVILEGES: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")

# Kind, name, definition, whether it is in order. Not in here: what may be tuned (storage
# parameters), and NOT NULL constraints, which only newer servers name.
_CATALOGUE: Final = """
    SELECT 'column', c.relname || '.' || a.attname,
        concat_ws(' ', format_type(a.atttypid, a.atttypmod),
            CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            'DEFAULT ' || pg_get_expr(d.adbin, d.adrelid)), true
    FROM pg_attribute AS a
    JOIN pg_class AS c ON c.oid = a.attrelid
    LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p')
        AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT 'table', relname, CASE relpersistence WHEN 'u' THEN 'unlogged' ELSE 'logged' END, true
    FROM pg_class
    WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p')
    UNION ALL
    SELECT 'index', c.relname, pg_get_indexdef(i.indexrelid), i.indisvalid AND i.indisready
    FROM pg_index AS i
    JOIN pg_class AS c ON c.oid = i.indexrelid
    WHERE c.relnamespace = to_regnamespace($1)
    UNION ALL
    SELECT 'constraint', conname, pg_get_constraintdef(oid), convalidated
    FROM pg_constraint
    WHERE connamespace = to_regnamespace($1) AND contype IN ('c', 'f', 'p', 'u', 'x')
    UNION ALL
    SELECT 'trigger', t.tgname || ' of ' || c.relname, pg_get_triggerdef(t.oid),
        t.tgenabled IN ('O', 'A')
    FROM pg_trigger AS t
    JOIN pg_class AS c ON c.oid = t.tgrelid
    WHERE c.relnamespace = to_regnamespace($1) AND NOT t.tgisinternal
    UNION ALL
    SELECT 'function', proname, pg_get_functiondef(oid), true
    FROM pg_proc
    WHERE pronamespace = to_regnamespace($1) AND prokind = 'f'
"""

Catalogue: TypeAlias = dict[tuple[str, str], tuple[str, bool]]


def check_migrations(conn: Connection[Any], schema: str) -> Iterator[CheckResult]:
    """Check which migrations are missing, or unknown."""
    missing = migrate.check(conn, schema)
    newer = migrate.newer(conn, schema)
    if missing:
        yield problem(
            "migrations",
            f'schema "{schema}" lacks {", ".join(missing)}',
            f"owsuper migrate --schema {schema}",
        )
    if newer:
        yield note(
            "migrations",
            f'schema "{schema}" has {", ".join(newer)}, which this version does not know',
            "Upgrade owsuper on this host.",
        )
    if not missing and not newer:
        yield ok("migrations", f'the tables in schema "{schema}" are up to date')


def check_privileges(conn: Connection[Any], schema: str) -> Iterator[CheckResult]:
    """Check what the role may do with the tables."""
    role = conn.info.user
    tables = conn.execute(
        b"SELECT relname, array(SELECT p FROM unnest($2::text[]) AS p"
        b" WHERE NOT has_table_privilege(c.oid, p)), has_schema_privilege(relnamespace, 'USAGE')"
        b" FROM pg_class AS c WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p')"
        b" AND relname = ANY ($3::text[]) ORDER BY relname",
        [f'"{schema}"', list(_PRIVILEGES), migrate.tables()],
    ).fetchall()
    if tables and not tables[0][2]:
        yield problem(
            "privileges",
            f'the role "{role}" may not use schema "{schema}"',
            f'GRANT USAGE ON SCHEMA "{schema}" TO "{role}"',
        )
    lacking = {name: missing for name, missing, _ in tables if missing}
    if lacking:
        what = "; ".join(f"{', '.join(missing)} on {name}" for name, missing in lacking.items())
        yield problem(
            "privileges",
            f'the role "{role}" lacks {what}',
            f'GRANT {", ".join(_PRIVILEGES)} ON ALL TABLES IN SCHEMA "{schema}" TO "{role}"',
        )
    if tables and tables[0][2] and not lacking:
        yield ok("privileges", f'the role "{role}" has those that workers and clients need')


def check_drift(conn: Connection[Any], schema: str) -> Iterator[CheckResult]:
    """Check whether tables, indexes, constraints, triggers and functions are as they should be."""
    try:
        expected = _expected(conn)
    except (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction):
        yield note(
            "tables",
            "not compared with what they should be, because that needs a role that may create a"
            " schema (which is rolled back)",
            "Run owsuper doctor once as such a role.",
        )
        return
    found = _read(conn, schema)
    differences = [*_differences(found, expected, schema)]
    yield from differences or [ok("tables", f"{len(expected)} objects are as they should be")]


def _differences(found: Catalogue, expected: Catalogue, schema: str) -> Iterator[CheckResult]:
    remake = f"owsuper migrate --sql --schema {schema} | psql"
    tables = {name for kind, name in found if kind == "table"}
    for (kind, name), (definition, _) in expected.items():
        if (kind, name) not in found:
            if kind == "column" and name.partition(".")[0] not in tables:
                continue  # the table is named
            yield problem("tables", f"{kind} {name} is missing: {definition}", remake)
            continue
        actual, in_order = found[kind, name]
        if actual != definition:
            yield _changed(kind, name, actual, definition, remake)
        elif not in_order:
            yield problem("tables", *_out_of_order(kind, name, schema))


def _changed(kind: str, name: str, actual: str, definition: str, remake: str) -> CheckResult:
    """Return the finding about an object that is not as it should be."""
    if kind == "function":
        return problem("tables", f"function {name} is not that of the migrations", remake)
    message = f"{kind} {name} is {_short(actual)}, and should be {_short(definition)}"
    if kind in ("column", "table"):
        return problem("tables", message, "ALTER TABLE, so that it is as it should be.")
    return problem("tables", message, f"Drop it, and then {remake}")


def _out_of_order(kind: str, name: str, schema: str) -> tuple[str, str]:
    """Return what is wrong with an object that is there as it should be, and how to mend it."""
    match kind:
        case "index":
            mend = f'REINDEX INDEX CONCURRENTLY "{schema}".{name}'
            return f"index {name} is invalid, so nothing uses it", mend
        case "trigger":
            trigger, _, table = name.partition(" of ")
            mend = f'ALTER TABLE "{schema}".{table} ENABLE TRIGGER {trigger}'
            return f"trigger {name} is disabled", mend
        case _:
            return f"{kind} {name} is not validated", "ALTER TABLE ... VALIDATE CONSTRAINT " + name


def _expected(conn: Connection[Any]) -> Catalogue:
    scratch = f"owsuper_doctor_{uuid4().hex[:16]}"
    with conn.transaction(force_rollback=True):
        for migration in migrate.migrations():
            conn.execute(in_schema(f"{migration.text}\n{migration.record}", scratch).encode())
        return _read(conn, scratch)


def _read(conn: Connection[Any], schema: str) -> Catalogue:
    """Return the objects of a schema, whose own name is left out of their definitions."""
    qualified = re.compile(rf'(?<![\w"])(?:"{re.escape(schema)}"|{re.escape(schema)})\.')
    rows = conn.execute(_CATALOGUE.encode(), [f'"{schema}"']).fetchall()
    return {
        (kind, name): (qualified.sub("", definition), in_order)
        for kind, name, definition, in_order in rows
    }


def _short(definition: str) -> str:
    text = " ".join(definition.split())
    return f"{text[:100]}..." if len(text) > 100 else text
