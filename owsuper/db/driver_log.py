"""psycopg's own log lines about our connections.

Callers get every error as an exception. psycopg also logs what it meets while it leaves a pipeline
or a transaction after that error, once for each call, and a program without a logging configuration
prints that on standard error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_quiet: ContextVar[bool] = ContextVar("owsuper_driver_log_quiet", default=False)


def _is_wanted(_record: logging.LogRecord) -> bool:
    return not _quiet.get()


logging.getLogger("psycopg").addFilter(_is_wanted)


@contextmanager
def quiet_driver() -> Iterator[None]:
    """Drop what psycopg logs in this thread or task. Its lines about other connections stay."""
    before = _quiet.set(True)
    try:
        yield
    finally:
        _quiet.reset(before)
