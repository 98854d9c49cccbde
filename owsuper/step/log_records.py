"""Log records that know the run in which they were made.

A record takes its fields where it is made: in the thread and the task of the code that logs. So
all handlers see them, those of the application too, and those that another thread calls. They come
from a factory of records, because a filter would have to be on every handler. They are no
attributes from the beginning: logging refuses an ``extra`` with the name of an attribute, and user
code may well have a ``step`` of its own, which then counts.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Final

from owsuper.step import current

_NO_HANDLER: Final = -1
"""A level below that of every handler. A filter could not reach handlers that come later."""


class RunRecord(logging.LogRecord):
    """A record that was made in a run.

    It has ``run_id``, ``workflow``, ``version``, ``step`` and ``attempt``; the last two are None
    between steps. It has ``replayed``, which is true, if it was made by code that is replayed.
    """

    __slots__ = ("_of_run",)
    _of_run: dict[str, object]

    def __getattr__(self, name: str) -> object:
        if name != "_of_run" and name in self._of_run:
            return self._of_run[name]
        raise AttributeError(name)

    def getMessage(self) -> str:  # noqa: N802 - logging's own name
        """Return the message. Formatters ask for it first, and then find all fields."""
        self._complete()
        return super().getMessage()

    def __reduce__(self) -> tuple[Any, ...]:
        # So that a process without owsuper can read it.
        self._complete()
        return logging.makeLogRecord, (vars(self),)

    def _complete(self) -> None:
        for name, value in self._of_run.items():
            vars(self).setdefault(name, value)


def install(*, show_replayed: bool) -> None:
    """Make such records in this process from now on.

    A factory of the application stays: its records have no fields. Records of code that is
    replayed reach no handler, unless ``show_replayed`` is true.
    """
    factory: Any = logging.getLogRecordFactory()
    if factory is logging.LogRecord or getattr(factory, "func", None) is _make:
        logging.setLogRecordFactory(partial(_make, show_replayed))


def _make(show_replayed: bool, name: str, *arguments: Any, **options: Any) -> logging.LogRecord:
    here = current.current()
    if here is None:
        return logging.LogRecord(name, *arguments, **options)
    record = RunRecord(name, *arguments, **options)
    record._of_run = {
        "run_id": here.run_id,
        "workflow": here.workflow_name,
        "version": here.version,
        "step": here.step,
        "attempt": here.attempt,
    }
    if current.is_replayed() and not str(name).startswith("owsuper."):  # what we say is new
        record._of_run["replayed"] = True
        if not show_replayed:
            record.levelno = _NO_HANDLER
    return record
