"""The log of a worker's processes on standard error: one line for each event.

    2026-03-01T12:00:00.123Z WARNING 4711 owsuper.supervisor: child died child=2 run_id=6f1c...

The values of ``extra={"run_id": ...}`` follow the message as ``key=value``: people can read the
lines, and programs can search them.

The root logger belongs to the application; see docs/logging.md. The worker's lines come from the
loggers below ``owsuper``, which have a handler of their own.
"""

from __future__ import annotations

import json
import logging
import re
import time
from typing import Final, TextIO

from owsuper.log_stream import LogStream

_STANDARD = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r"[\w.:/@+-]+")
_NAME: Final = "owsuper"

LOGGERS: Final = (
    _NAME,
    "owsuper.child",
    "owsuper.cli",
    "owsuper.client",
    "owsuper.starlette",
    "owsuper.supervisor",
    "owsuper.template",
)
"""The loggers of owsuper."""


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


class _Handler(logging.Handler):
    """Writes records to standard error, whatever the application does to ``sys.stderr``."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self._stream = LogStream(patience, self._notice)

    def emit(self, record: logging.LogRecord) -> None:
        """Write ``record``, or count it as lost."""
        try:
            line = self.format(record)
        except Exception:
            self.handleError(record)
        else:
            self._stream.write_line(line)

    def _notice(self, lost: int) -> str:
        return self.format(
            logging.makeLogRecord(
                {
                    "name": "owsuper.log",
                    "levelno": logging.WARNING,
                    "levelname": "WARNING",
                    "msg": "lines that could not be written before this one: %d",
                    "args": (lost,),
                }
            )
        )


class _Logger(logging.Logger):
    """A logger that ``disable_existing_loggers`` of ``dictConfig`` does not silence."""

    @property
    def disabled(self) -> bool:
        """False: an application that wants fewer lines sets a level."""
        return False

    # logging has an attribute here, which only a property can keep from being set.
    @disabled.setter
    def disabled(self, value: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        pass


def configure(level: str, stream: TextIO | None = None, *, patience: float = 1.0) -> None:
    """Send the records of owsuper from ``level`` up to standard error, or to ``stream``.

    Call this before the application is imported, and ``adopt_root`` after that. The application
    may then configure the root logger, and the logger ``owsuper``, as in any program. A reader
    of standard error that is slow is waited for, ``patience`` seconds once, and then lines are
    lost. A second call replaces the handler of the first.
    """
    global _handler
    root, own = logging.getLogger(), logging.getLogger(_NAME)
    before = _handler
    _handler = _Handler(patience) if stream is None else logging.StreamHandler(stream)
    if before in root.handlers:
        root.removeHandler(before)
        root.addHandler(_handler)
    own.removeHandler(before)
    _handler.setFormatter(ContextFormatter())
    for name in LOGGERS:
        logging.getLogger(name).__class__ = _Logger
    own.addHandler(_handler)
    own.setLevel(level.upper())
    own.propagate = False
    root.setLevel(level.upper())
    logging.lastResort = _handler  # for what is logged before ``adopt_root``


def adopt_root() -> None:
    """Send the records of the application to the same place, unless it has configured that."""
    root = logging.getLogger()
    if not root.handlers:
        root.addHandler(_handler)


def warn_with_stack(
    log: logging.Logger, message: str, *args: object, stack: str, extra: dict[str, object]
) -> None:
    """Log a warning, and after its line the ``stack`` of some other thread or task."""
    if log.isEnabledFor(logging.WARNING):
        log.handle(
            log.makeRecord(
                log.name, logging.WARNING, "", 0, message, args, None, None, extra, stack or None
            )
        )


_handler: logging.Handler = logging.NullHandler()
