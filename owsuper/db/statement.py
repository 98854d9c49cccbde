"""A statement: SQL with ``$1, $2 …`` parameters, under a name to prepare it by."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache

from owsuper.db import sqlfiles


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text for psycopg's raw-query cursors, and as bytes for libpq."""

    name: str
    text: str
    query: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "query", self.text.encode())


@cache
def load(name: str, schema: str) -> Statement:
    """The statement of ``sql/queries/<name>.sql`` for one schema.

    Comment lines stay behind: they are for the reader, not for the wire. Raises
    InvalidSchemaName.
    """
    lines = sqlfiles.read(f"queries/{name}.sql").splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    return Statement(name, sqlfiles.in_schema(text.strip(), schema))
