"""The log of a worker's processes on standard error: one line for each event.

    2026-03-01T12:00:00.123Z WARNING 4711 owsuper.supervisor: child died child=2 run_id=6f1c...

The values of ``extra={"run_id": ...}`` follow the message as ``key=value``: people can read the
lines, and programs can search them.

The root logger belongs to the application; see docs/logging.md. The worker's lines come from the
loggers below ``owsuper``, which have a handler of their own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TextIO

from owsuper import log_formats
from owsuper.log_stream import LogStream

if TYPE_CHECKING:
    from owsuper.settings import Settings

_STDERR: Final = 2
_NAME: Final = "owsuper"

LOGGERS: Final = (
    _NAME,
    "owsuper.child",
    "owsuper.cli",
    "owsuper.client",
    "owsuper.dashboard",
    "owsuper.starlette",
    "owsuper.supervisor",
    "owsuper.template",
)
"""The loggers of owsuper."""


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


def set_up(settings: Settings, *, patience: float = 1.0) -> None:
    """Log as the settings say: ``configure``, and then what ``--log-config`` says.

    Raises ConfigurationError for a file of ``--log-config`` that cannot be used.
    """
    label = settings.database_label
    log_formats.share({"database": label} if label else {})
    configure(settings.log_level, form=settings.log_format, patience=patience)
    if settings.log_config is not None:
        from owsuper import log_config  # few need it

        log_config.apply(settings.log_config)


def set_up_again(settings: Settings) -> None:
    """Log as ``set_up`` does, in a process whose supervisor did; log what fails by now."""
    try:
        set_up(settings)
    except Exception as error:
        logging.getLogger(_NAME).error("%s", error)


def configure(
    level: str, stream: TextIO | None = None, *, form: str = "text", patience: float = 1.0
) -> None:
    """Send the records of owsuper from ``level`` up to standard error, or to ``stream``.

    ``form`` is text or json.

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
    _handler.setFormatter(_formatter(form) if stream is None else log_formats.create(form))
    for name in LOGGERS:
        logging.getLogger(name).__class__ = _Logger
    own.addHandler(_handler)
    own.setLevel(level.upper())
    own.propagate = False
    root.setLevel(level.upper())
    logging.lastResort = _handler  # for what is logged before ``adopt_root``


def _formatter(form: str) -> logging.Formatter:
    return log_formats.create(
        form,
        color=log_formats.wants_color(_STDERR),
        priorities=log_formats.is_journal(_STDERR),
    )


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
