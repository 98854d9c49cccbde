"""Where the SQL lives, and how a schema name gets into it.

Every statement stands in a file under ``sql/``: beside the package in a checkout, inside it
in a wheel. The files write ``{schema}`` where the quoted schema name belongs.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

from owsuper.errors import InvalidSchemaName

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_MAX_IDENTIFIER_BYTES = 63


@cache
def sql_root() -> Traversable:
    """The directory of SQL files: ``owsuper/sql`` when installed, else ``sql`` in the checkout."""
    installed = files("owsuper") / "sql"
    return installed if installed.is_dir() else Path(__file__).parents[2] / "sql"


def read(path: str) -> str:
    """The text of one file, ``path`` being relative to the root (``queries/claim.sql``)."""
    return sql_root().joinpath(*path.split("/")).read_text("utf-8")


def check_schema_name(schema: str) -> None:
    """Raise InvalidSchemaName unless ``schema`` may name the schema of owsuper's tables."""
    if not _IDENTIFIER.fullmatch(schema):
        raise InvalidSchemaName(
            f'Invalid schema name "{schema}". Use a Postgres identifier '
            "(letters, numbers, underscores; cannot start with a number)."
        )
    if len(schema) > _MAX_IDENTIFIER_BYTES:  # the pattern lets only ASCII through
        raise InvalidSchemaName(
            f'Invalid schema name "{schema}". Postgres identifiers must be at most 63 bytes.'
        )


def in_schema(text: str, schema: str) -> str:
    """``text`` with every ``{schema}`` replaced by the quoted name, which is checked first."""
    check_schema_name(schema)
    # Not str.format: SQL is full of braces of its own.
    return text.replace("{schema}", f'"{schema}"')
