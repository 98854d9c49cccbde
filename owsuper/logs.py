"""What a worker's processes write to standard error: one line an event, then its context.

    2026-03-01T12:00:00.123Z WARNING 4711 owsuper.supervisor: child died child=2 run_id=6f1c...

Whatever a call passes as ``extra={"run_id": ...}`` follows the message as ``key=value``, so
that the lines can be read by people and searched by machines.
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
    """Time (UTC), level, process id, logger, message, context; then any traceback."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self.converter = time.gmtime

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        context = (
            f" {key}={_shown(value)}"
            for key, value in vars(record).items()
            if key not in _STANDARD and value is not None
        )
        return super().formatMessage(record) + "".join(context)


def _shown(value: object) -> str:
    """``value`` as one word, quoted where it would not be one."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send all logging of this process to ``stream`` (standard error), from ``level`` up.

    It is the root logger that is set up: a worker process belongs to owsuper and the
    application together, and the application's own lines are wanted too. Whatever handlers it
    adds itself are left alone; calling this again replaces only what this put there.
    """
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, ContextFormatter):
            root.removeHandler(handler)
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(ContextFormatter())
    root.addHandler(handler)
    root.setLevel(level.upper())
