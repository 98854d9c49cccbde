"""The stored log lines of runs, and how far runs are: written by children, read by clients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson
from psycopg import Connection

from owsuper.db.clients import Operation, Rows, not_found
from owsuper.db.statement import load

WRITE_SECONDS: Final = 2.0
"""How long a write may take: nobody waits for it. Readers of log lines know it: see 0021."""

_TIME_OUT: Final = f"SET LOCAL statement_timeout = {WRITE_SECONDS * 1000:.0f}".encode()


@dataclass(frozen=True, slots=True)
class NewLine:
    """A log line to store, as the columns of ``owsuper_log_lines``; ``logged_at`` in seconds."""

    run: str
    logged_at: float
    level: int
    logger: str
    message: str
    exception: str | None
    step: str | None
    attempt: int | None
    host: str
    pid: int
    fields: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class LineRow:
    """A row of ``owsuper_log_lines``; the fields as text."""

    id: int
    logged_at: datetime
    level: int
    logger: str
    message: str
    exception: str | None
    step: str | None
    attempt: int | None
    host: str
    pid: int
    fields: str | None


@dataclass(frozen=True, slots=True)
class NewProgress:
    """How far a run is, as the columns of ``owsuper_progress``."""

    run: str
    done: float
    total: float | None
    message: str | None
    step: str | None


@dataclass(frozen=True, slots=True)
class ProgressRow:
    """A row of ``owsuper_progress``."""

    done: float
    total: float | None
    message: str | None
    step: str | None
    updated_at: datetime


class ReportStore:
    """Writes log lines and progress. A write takes at most WRITE_SECONDS, or fails."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lines = load("store_log_lines", schema)
        self._progress = load("store_progress", schema)

    def store_lines(self, conn: Connection[Any], lines: Sequence[NewLine]) -> None:
        """Store lines, in their order. Raises psycopg.Error."""
        self._store(conn, self._lines.query, lines)

    def store_progress(self, conn: Connection[Any], progress: Sequence[NewProgress]) -> None:
        """Store how far runs are, each run once. Raises psycopg.Error."""
        self._store(conn, self._progress.query, progress)

    def _store(self, conn: Connection[Any], query: bytes, rows: Sequence[object]) -> None:
        with conn.transaction():
            conn.execute(_TIME_OUT)
            conn.execute(query, (self._namespace, orjson.dumps(rows).decode()))


class ReportQueries:
    """What clients read of log lines and progress, in one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._lines = load("list_log_lines", schema)
        self._progress = load("get_progress", schema)

    def lines(self, run_id: str, *, after: int, level: int, limit: int) -> Operation[list[LineRow]]:
        """Return the first ``limit`` lines of a run after the line ``after``, from ``level`` up.

        ``after`` is 0 for the first lines. Raises RunNotFound.
        """

        def parse(results: list[Rows]) -> list[LineRow]:
            if not results[0]:
                raise not_found(run_id)
            return [LineRow(*row) for row in results[0] if row[0] is not None]

        params = (self._namespace, run_id, after, level, limit)
        return Operation(((self._lines, params),), parse)

    def progress(self, run_id: str) -> Operation[ProgressRow | None]:
        """Return how far a run is; None if its code has not said it. Raises RunNotFound."""

        def parse(results: list[Rows]) -> ProgressRow | None:
            if not results[0]:
                raise not_found(run_id)
            [row] = results[0]
            return None if row[0] is None else ProgressRow(*row)

        return Operation(((self._progress, (self._namespace, run_id)),), parse)
