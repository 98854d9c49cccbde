"""Schemas of our own: made for one measurement, and dropped after it, however it ends."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, LiteralString
from uuid import uuid4

from psycopg import sql

from owsuper.bench.server import Connection, Server

PREFIX = "bench_"


@contextmanager
def scratch(server: Server) -> Iterator[str]:
    """The name of an empty schema that is dropped at the end."""
    schema = f"{PREFIX}{uuid4().hex[:12]}"
    try:
        with server.connect() as conn:
            execute(conn, "CREATE SCHEMA {schema}", schema)
        yield schema
    finally:
        with server.connect() as conn:
            execute(conn, "DROP SCHEMA IF EXISTS {schema} CASCADE", schema)


def execute(
    conn: Connection, query: LiteralString, schema: str, *params: object
) -> list[tuple[Any, ...]]:
    """The rows of ``query``, in which {schema} stands for the schema."""
    composed = sql.SQL(query).format(schema=sql.Identifier(schema))
    cursor = conn.execute(composed.as_string(conn).encode(), params)
    return cursor.fetchall() if cursor.description else []
