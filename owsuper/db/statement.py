"""SQL statements with ``$1, $2 …`` parameters, and the results of the server.

Every statement is a file under ``sql/``: beside the package in a checkout, inside it in a wheel.
The files write ``{schema}`` for the quoted schema name, and ``{fragments/<name>}`` for the CTEs of
``sql/fragments/<name>.sql``, which several statements share.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final

from psycopg import pq

from owsuper.core.names import check_schema_name

# The prepared statement does not exist in the session (a pooler gave us another session, or DISCARD
# was executed), or its result has other columns (DDL). The server reports all three before
# execution.
UNUSABLE_PLAN: Final = frozenset({"26000", "42P05", "0A000"})

# No privilege, no table. A table of a later version then holds nothing, as before it was invented.
NO_TABLE: Final = frozenset({"42501", "42P01"})

_FRAGMENT: Final = re.compile(r"\{(fragments/\w+)\}")

Param = bytes | str | int | float | None
Row = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL text for psycopg's raw-query cursors, and as bytes for libpq.

    ``name`` begins the name of the prepared statement.
    """

    name: str
    text: str
    query: bytes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "query", self.text.encode())


@dataclass(frozen=True, slots=True)
class Result:
    """The answer of the server: rows of text-format values, or an error.

    ``sqlstate`` is None on success. ``affected`` counts rows written or returned.
    """

    rows: list[Row]
    affected: int = 0
    sqlstate: str | None = None
    message: str = ""


@cache
def load(name: str, schema: str) -> Statement:
    """Return the statement of ``sql/queries/<name>.sql`` for one schema, without comment lines.

    Raises InvalidSchemaName.
    """
    return Statement(name, in_schema(_expand(_read_code(f"queries/{name}")), schema))


def in_schema(text: str, schema: str) -> str:
    """Return ``text`` with the quoted ``schema`` for every ``{schema}``.

    Raises InvalidSchemaName.
    """
    check_schema_name(schema)
    # Not str.format, because SQL may contain braces.
    return text.replace("{schema}", f'"{schema}"')


def _expand(text: str) -> str:
    """Replace each ``{fragments/…}`` by that file, which may name others."""
    return _FRAGMENT.sub(lambda match: _expand(_read_code(match[1])), text)


def _read_code(name: str) -> str:
    lines = read_sql(f"{name}.sql").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("--")).strip()


def read_sql(path: str) -> str:
    """Return the text of the file at ``path`` below ``sql/`` (``queries/claim.sql``)."""
    return sql_root().joinpath(*path.split("/")).read_text("utf-8")


@cache
def sql_root() -> Traversable:
    """Return the directory of SQL files: ``owsuper/sql`` if installed, else the checkout's."""
    installed = files("owsuper") / "sql"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "sql"


def encode_param(param: Param) -> bytes | None:
    """Return a parameter in text format. Raises ValueError for U+0000."""
    if param is None:
        return None
    value = param if isinstance(param, bytes) else str(param).encode()
    if b"\0" in value:  # libpq would send only the text before it
        raise ValueError("a parameter in text format cannot hold U+0000")
    return value


def read_result(result: pq.abc.PGresult) -> Result:
    """Return the answer in a result of libpq."""
    if result.status == pq.ExecStatus.FATAL_ERROR:
        sqlstate = result.error_field(pq.DiagnosticField.SQLSTATE) or b"XX000"
        message = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY) or result.error_message
        return Result([], sqlstate=sqlstate.decode(), message=message.decode("utf-8", "replace"))
    columns = range(result.nfields)
    rows = [
        tuple([result.get_value(row, column) for column in columns])
        for row in range(result.ntuples)
    ]
    return Result(rows, affected=result.command_tuples or 0)
