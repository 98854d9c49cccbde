"""The database server that is measured: the configured one, or an embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString, TypeAlias

import psycopg
from psycopg import sql

from owsuper.cli.bench import embedded_or_given
from owsuper.db import connect

APPLICATION_NAME = "benchmarks"

Connection: TypeAlias = psycopg.Connection[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Server:
    """``where`` describes the server for the table."""

    url: str
    where: str

    def connect(self) -> Connection:
        """A connection in autocommit mode, with ``$1`` placeholders and the server's settings.

        Raises DatabaseUnreachable.
        """
        try:
            return psycopg.connect(
                connect.conninfo(self.url, application_name=APPLICATION_NAME),
                autocommit=True,
                cursor_factory=psycopg.RawCursor,
            )
        except psycopg.OperationalError as error:
            raise connect.explain_failure(error, self.url) from error


@contextmanager
def server(url: str | None) -> Iterator[Server]:
    """The server of ``url``, or an embedded one that is gone at the end.

    Raises EmbeddedUnavailable.
    """
    with embedded_or_given(url) as opened:
        yield Server(opened, "the configured one" if url else "embedded")


def execute(
    conn: Connection, query: LiteralString, schema: str, *params: object
) -> list[tuple[Any, ...]]:
    """The rows of ``query``, in which {schema} stands for the schema."""
    composed = sql.SQL(query).format(schema=sql.Identifier(schema))
    cursor = conn.execute(composed.as_string(conn).encode(), params)
    return cursor.fetchall() if cursor.description else []
