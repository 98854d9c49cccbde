"""How a log line looks: text or JSON, in color on a terminal, with a priority in the journal."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Mapping
from typing import Any, Final

import orjson

_STANDARD = vars(logging.makeLogRecord({})).keys() | {"message", "asctime", "taskName"}
_PLAIN = re.compile(r"[\w.:/@+-]+")

_KEYS: Final = frozenset(("time", "level", "pid", "logger", "message", "exception", "stack"))
"""What a line of JSON has of its own."""

_COLORS: Final = ((logging.ERROR, "31"), (logging.WARNING, "33"), (logging.INFO, "32"), (0, "2"))
"""From a level up: a parameter of the terminal's SGR sequence."""

_PRIORITIES: Final = (
    (logging.CRITICAL, 2),
    (logging.ERROR, 3),
    (logging.WARNING, 4),
    (logging.INFO, 6),
    (0, 7),
)
"""From a level up: a priority of syslog, as sd-daemon(3) has them."""


def create(name: str, *, color: bool = False, priorities: bool = False) -> logging.Formatter:
    """Return the formatter ``name``: text or json.

    ``color`` is for a terminal; JSON has none. With ``priorities``, each line begins with one for
    the journal of systemd.
    """
    formatter = JsonFormatter() if name == "json" else ContextFormatter(color=color)
    return _PriorityFormatter(formatter) if priorities else formatter


_shared: dict[str, str] = {}  # context of all lines of this process


def share(fields: Mapping[str, str]) -> None:
    """Put ``fields``, and none of an earlier call, into the context of all lines from now on.

    What a record has under the same name counts more.
    """
    _shared.clear()
    _shared.update(fields)


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """Return what the record has beside logging's own attributes, without None."""
    return {
        key: value
        for key, value in vars(record).items()
        if key not in _STANDARD and value is not None
    }


class ContextFormatter(logging.Formatter):
    """Formats time (UTC), level, process id, logger, message and context, then a traceback."""

    default_time_format = "%Y-%m-%dT%H:%M:%S"
    default_msec_format = "%s.%03dZ"

    def __init__(self, *, color: bool = False) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s: %(message)s")
        self.converter = time.gmtime
        self._color = color

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """Return the message of ``record``, followed by its context."""
        level = record.levelname
        if self._color:
            level = f"\x1b[{_by_level(_COLORS, record.levelno)}m{level}\x1b[0m"
        fields = _shared | fields_of(record)
        context = "".join(f" {key}={one_word(value)}" for key, value in fields.items())
        return f"{record.asctime} {level} {record.process} {record.name}: {record.message}{context}"


class JsonFormatter(ContextFormatter):
    """Formats a record as one line of JSON.

    The keys: time, level, pid, logger, message, then the context, then exception and stack. What
    the context has under one of these names gets the prefix ``extra_``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return ``record`` as an object of JSON."""
        message = record.getMessage()
        document: dict[str, Any] = {
            "time": self.formatTime(record),
            "level": record.levelname,
            "pid": record.process,
            "logger": record.name,
            "message": message,
        }
        for key, value in (_shared | fields_of(record)).items():
            document.setdefault(f"extra_{key}" if key in _KEYS else key, value)
        if (exception := traceback_of(self, record)) is not None:
            document["exception"] = exception
        if record.stack_info:
            document["stack"] = self.formatStack(record.stack_info)
        return dumps(document)


class _PriorityFormatter(logging.Formatter):
    """Puts the priority before each line, as the journal reads it."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        prefix = f"<{_by_level(_PRIORITIES, record.levelno)}>"
        return "\n".join(prefix + line for line in self._inner.format(record).split("\n"))


def traceback_of(formatter: logging.Formatter, record: logging.LogRecord) -> str | None:
    """Return the traceback of the record's exception, or a stack in its place, or None."""
    if record.exc_info and not record.exc_text:
        record.exc_text = formatter.formatException(record.exc_info)
    return record.exc_text or None


def dumps(document: dict[str, Any]) -> str:
    """Return ``document`` as JSON on one line; what JSON lacks is shown as text."""
    options = orjson.OPT_NON_STR_KEYS | orjson.OPT_UTC_Z
    try:
        return orjson.dumps(document, default=str, option=options).decode()
    except orjson.JSONEncodeError:  # lone surrogates, whole numbers beyond 64 bits, deep nesting
        plain = {key: _encodable(value) for key, value in document.items()}
        return json.dumps(plain, default=str, allow_nan=False)


def _encodable(value: object) -> object:
    """Return ``value`` if JSON has it, or its text."""
    return value if value is None or isinstance(value, (str, int)) else str(value)


def _by_level(table: tuple[tuple[int, Any], ...], level: int) -> Any:
    return next((found for lowest, found in table if level >= lowest), table[-1][1])


def one_word(value: object) -> str:
    """Return ``value`` as one word, in quotes where necessary."""
    text = f"{value:.3f}" if isinstance(value, float) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def wants_color(descriptor: int) -> bool:
    """Whether the descriptor is a terminal that shows color, and nobody has asked for none."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def is_journal(descriptor: int) -> bool:
    """Whether the descriptor leads to the journal of systemd, which reads priorities.

    systemd names the device and the inode of the journal's socket in JOURNAL_STREAM. A descriptor
    that was led elsewhere since has others.
    """
    named = os.environ.get("JOURNAL_STREAM")
    if not named:
        return False
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
