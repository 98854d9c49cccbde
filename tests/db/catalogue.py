"""What the system catalogue holds of OpenWorkflow's tables, in the notation of schema.json."""

from __future__ import annotations

from typing import Any

import psycopg

ACTIONS = {"a": "NO ACTION", "c": "CASCADE", "n": "SET NULL"}


def describe(conn: psycopg.Connection, schema: str, table: str) -> dict[str, Any]:
    """One table; what owsuper added to it is left out."""
    where = f'"{schema}".{table}'
    return {
        "columns": columns(conn, where),
        "primary_key": primary_key(conn, where),
        "foreign_keys": foreign_keys(conn, where),
        "indexes": indexes(conn, where),
    }


def columns(conn: psycopg.Connection, table: str) -> list[dict[str, Any]]:
    rows = conn.execute(
        "SELECT attname, format_type(atttypid, atttypmod), NOT attnotnull,"
        " pg_get_expr(adbin, adrelid)"
        " FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
        " WHERE attrelid = $1::regclass AND attnum > 0 ORDER BY attnum",
        [table],
    )
    keys = ("name", "type", "nullable", "default")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def primary_key(conn: psycopg.Connection, table: str) -> dict[str, Any]:
    [(name, numbers)] = conn.execute(
        "SELECT conname, conkey FROM pg_constraint WHERE conrelid = $1::regclass AND contype = 'p'",
        [table],
    ).fetchall()
    return {"name": name, "columns": names_of(conn, table, numbers)}


def foreign_keys(conn: psycopg.Connection, table: str) -> list[dict[str, Any]]:
    rows = conn.execute(
        "SELECT conname, conkey, relname, confrelid::regclass::text, confkey, confdeltype,"
        " confupdtype, convalidated, condeferrable"
        " FROM pg_constraint JOIN pg_class c ON c.oid = confrelid"
        " WHERE conrelid = $1::regclass AND contype = 'f' ORDER BY conname",
        [table],
    ).fetchall()
    found = []
    for name, near, far_name, far_table, far, on_delete, on_update, validated, deferrable in rows:
        assert not deferrable
        references = {"table": far_name, "columns": names_of(conn, far_table, far)}
        found.append(
            {
                "name": name,
                "columns": names_of(conn, table, near),
                "references": references,
                "on_delete": ACTIONS[on_delete],
                "on_update": ACTIONS[on_update],
                "validated": validated,
            }
        )
    return found


def indexes(conn: psycopg.Connection, table: str) -> list[dict[str, Any]]:
    rows = conn.execute(
        "SELECT c.relname, amname, indisunique, pg_get_expr(indpred, indrelid),"
        # The function puts an expression in one more pair of parentheses than the vector does.
        " array(SELECT regexp_replace(pg_get_indexdef(indexrelid, n, false), '^\\((.*)\\)$', '\\1')"
        "   || CASE WHEN indoption[n - 1] & 1 = 1 THEN ' DESC' ELSE '' END"
        "   FROM generate_series(1, indnkeyatts) n)"
        " FROM pg_index JOIN pg_class c ON c.oid = indexrelid JOIN pg_am ON pg_am.oid = c.relam"
        " WHERE indrelid = $1::regclass AND NOT indisprimary AND indisvalid"
        " AND c.relname NOT LIKE 'owsuper%' ORDER BY c.relname",
        [table],
    ).fetchall()
    keys = ("name", "method", "unique", "where", "keys")
    return [dict(zip(keys, row, strict=True)) for row in rows]


def other_constraints(conn: psycopg.Connection, schema: str) -> list[tuple[str, str]]:
    """Names and kinds of constraints that are neither keys nor NOT NULL."""
    return conn.execute(
        "SELECT conname, contype FROM pg_constraint"
        " WHERE connamespace = $1::regnamespace AND contype NOT IN ('p', 'f', 'n')",
        [f'"{schema}"'],
    ).fetchall()


def names_of(conn: psycopg.Connection, table: str, numbers: list[int]) -> list[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum = $2"
    return [row[0] for number in numbers for row in conn.execute(query, [table, number])]


def names(conn: psycopg.Connection, schema: str) -> set[str]:
    query = "SELECT relname FROM pg_class WHERE relnamespace = $1::regnamespace"
    return {row[0] for row in conn.execute(query, [f'"{schema}"'])}


def identities(conn: psycopg.Connection, schema: str) -> dict[str, int]:
    """Object identifiers by name: an object that was dropped and made again has another."""
    query = """
        SELECT relname, oid FROM pg_class WHERE relnamespace = $1::regnamespace
        UNION ALL
        SELECT conname, oid FROM pg_constraint WHERE connamespace = $1::regnamespace
        UNION ALL
        SELECT tgname, t.oid FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid
        WHERE relnamespace = $1::regnamespace AND NOT tgisinternal
    """
    return dict(conn.execute(query, [f'"{schema}"']).fetchall())
