"""Keeps the log lines of runs, for ``--keep-logs``: a handler beside those that write the log."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable
from typing import Any, Final

from owsuper.db.reports import NewLine
from owsuper.log_formats import fields_of, traceback_of

_LONGEST: Final = 8_000  # characters of a message
_LONGEST_TRACEBACK: Final = 16_000
_LONGEST_VALUE: Final = 1_000
_MOST_FIELDS: Final = 50
_SMALLEST, _LARGEST = -(1 << 53), 1 << 53  # whole numbers that readers of JSON read exactly

_OF_RUN: Final = frozenset({"run_id", "workflow", "version", "step", "attempt"})


class KeptLines(logging.Handler):
    """Passes each line of a run to ``keep``, from ``level`` up. Long texts are cut, and say so."""

    def __init__(self, level: str, keep: Callable[[NewLine], None]) -> None:
        super().__init__(level.upper())
        self._keep = keep
        self._host = socket.gethostname()
        self._formatter = logging.Formatter()

    def install(self) -> None:
        """Begin to keep the lines of the root logger, and of owsuper's."""
        root, own = logging.getLogger(), logging.getLogger("owsuper")
        root.addHandler(self)
        if not own.propagate:
            own.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record`` if it is about a run."""
        run = getattr(record, "run_id", None)
        if not isinstance(run, str):
            return
        try:
            self._keep(self._line(run, record))
        except Exception:
            self.handleError(record)

    def _line(self, run: str, record: logging.LogRecord) -> NewLine:
        message = record.getMessage()
        fields = fields_of(record)
        step, attempt = fields.get("step"), fields.get("attempt")
        exception = traceback_of(self._formatter, record)
        further = {
            cut(str(key), _LONGEST_VALUE): _json_value(value)
            for key, value in list(fields.items())[: _MOST_FIELDS + len(_OF_RUN)]
            if key not in _OF_RUN
        }
        return NewLine(
            run=cut(run, _LONGEST_VALUE),
            logged_at=record.created,
            level=max(0, min(record.levelno, 1000)),
            logger=cut(record.name, _LONGEST_VALUE),
            message=cut(message, _LONGEST),
            exception=None if exception is None else cut(exception, _LONGEST_TRACEBACK),
            step=None if step is None else cut(str(step), _LONGEST_VALUE),
            attempt=attempt if isinstance(attempt, int) and 0 <= attempt < 1 << 31 else None,
            host=self._host,
            pid=record.process or os.getpid(),
            fields=further or None,
        )


def cut(text: str, longest: int) -> str:
    """Return ``text`` as PostgreSQL can store it, with at most ``longest`` characters and a note.

    What it lacks is shown as an escape.
    """
    if len(text) > longest:
        text = f"{text[:longest]}... [cut: {len(text)} characters]"
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def _json_value(value: Any) -> Any:
    """Return ``value`` as JSON has it, or its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and _SMALLEST <= value <= _LARGEST:
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    return cut(str(value), _LONGEST_VALUE)
