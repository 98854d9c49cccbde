"""What goes over a Link and what comes back, in Postgres's text format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from psycopg import pq

# The server forgot a prepared statement (a pooler gave us another session, somebody ran
# DISCARD) or its result changed shape under it (DDL). All three come before execution.
UNUSABLE_PLAN: Final = frozenset({"26000", "42P05", "0A000"})

Param = bytes | str | int | float | None
Row = tuple[bytes | None, ...]


@dataclass(frozen=True, slots=True)
class Result:
    """What the server answered: rows of text-format values, or an error.

    ``sqlstate`` is None on success. ``affected`` counts rows written or returned.
    """

    rows: list[Row]
    affected: int = 0
    sqlstate: str | None = None
    message: str = ""


def encode(param: Param) -> bytes | None:
    """A parameter as libpq takes it. Raises ValueError for U+0000."""
    if param is None:
        return None
    value = param if isinstance(param, bytes) else str(param).encode()
    if b"\0" in value:  # libpq would send what stands before it
        raise ValueError("a parameter in text format cannot hold U+0000")
    return value


def read(result: pq.abc.PGresult) -> Result:
    """The answer that libpq holds."""
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
