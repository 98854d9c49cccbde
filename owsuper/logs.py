"""The log of a worker's processes on standard error: one line for each event.

    2026-03-01T12:00:00.123Z WARNING 4711 owsuper.supervisor: child died child=2 run_id=6f1c...

The values of ``extra={"run_id": ...}`` follow the message as ``key=value``: people can read the
lines, and programs can search them.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from typing import TextIO

_STANDARD = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r"[\w.:/@+-]+")


class ContextFormatter(logging.Formatter):
    """Formats time (UTC), level, process id, logger, message and context, then a traceback."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the message of ``record``, followed by its context."""
        context = (
            f" {key}={_shown(value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD and value is not None
        )
        return super().formatMessage(record) + "".join(context)


def _shown(value: object) -> str:
    """``value`` as one word, in quotes where necessary."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send all log records of this process from ``level`` up to ``stream`` (standard error).

    This configures the root logger, because the application's own records go to the
    worker's log too. Handlers of the application stay. A second call replaces the handler of the
    first.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, ContextFormatter):
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ContextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())
