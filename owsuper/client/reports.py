"""What a run has reported beside its results, as programs read it: log lines and progress."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.db.reports import LineRow, ProgressRow
from owsuper.errors import ConfigurationError

LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}
MOST_LINES: Final = 10_000
"""The most log lines that one call returns."""
_LARGEST_ID: Final = (1 << 63) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A log line of a run, stored by a worker with ``--keep-logs``.

    ``id`` is greater than those of the lines before it. ``logged_at`` is by the clock of the
    worker's host, aware, in UTC. ``level`` is a name such as ``"warning"``, or a number as text for
    a level without a name. ``exception`` is a traceback. ``step`` and ``attempt`` are None between
    steps. ``fields`` has what was logged by ``extra``. Long texts were cut, and say so.
    """

    id: int
    logged_at: datetime
    level: str
    logger: str
    message: str
    exception: str | None
    step: str | None
    attempt: int | None
    host: str
    pid: int
    fields: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunProgress:
    """How far a run is, as its code last said by ``step.set_progress``.

    ``total`` is None if the code did not say it. ``step`` is the name of the step whose function
    said it, or None for the workflow function. ``updated_at`` is aware, in UTC.
    """

    done: float
    total: float | None
    message: str | None
    step: str | None
    updated_at: datetime

    @property
    def fraction(self) -> float | None:
        """``done`` of ``total``, from 0 to 1; None without a total."""
        return None if self.total is None else min(1.0, self.done / self.total)


def level_number(level: str) -> int:
    """Return the number of a level. Raises ConfigurationError for a name that is none."""
    found = LEVELS.get(level.lower()) if isinstance(level, str) else None
    if found is None:
        raise ConfigurationError(f"level: {level!r:.60} must be one of {', '.join(LEVELS)}")
    return found


def checked_window(after: int, limit: int) -> None:
    """Raise ConfigurationError for an id or a limit that cannot be used."""
    for name, value, low, high in (
        ("after", after, 0, _LARGEST_ID),
        ("limit", limit, 1, MOST_LINES),
    ):
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ConfigurationError(
                f"{name}: {value!r:.60} must be a whole number from {low} to {high}"
            )


def line_from_row(row: LineRow) -> LogLine:
    """Return the line of a row."""
    names = {number: name for name, number in LEVELS.items()}
    return LogLine(
        id=row.id,
        logged_at=row.logged_at,
        level=names.get(row.level, str(row.level)),
        logger=row.logger,
        message=row.message,
        exception=row.exception,
        step=row.step,
        attempt=row.attempt,
        host=row.host,
        pid=row.pid,
        fields={} if row.fields is None else orjson.loads(row.fields),
    )


def progress_from_row(row: ProgressRow | None) -> RunProgress | None:
    """Return the progress of a row. Whole numbers are ints."""
    if row is None:
        return None
    return RunProgress(
        done=_plain(row.done),
        total=None if row.total is None else _plain(row.total),
        message=row.message,
        step=row.step,
        updated_at=row.updated_at,
    )


def _plain(number: float) -> float:
    return int(number) if number.is_integer() else number
