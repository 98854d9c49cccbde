"""How far a run is, as text, and as a bar on the terminal of someone who waits."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from owsuper.cli.formatting import cut, plain, relative
from owsuper.client.reports import RunProgress
from owsuper.errors import OwsuperError

_PERIOD: Final = 1.0  # seconds between two looks
_BAR: Final = 24  # columns
_CLEAR: Final = "\r\x1b[K"


def describe(progress: RunProgress) -> str:
    """Return ``done of total`` with the message, for people."""
    text = f"{progress.done:,.15g}" if progress.total is None else _amount(progress)
    step = "" if progress.step is None else f", step {progress.step!r}"
    message = f": {progress.message}" if progress.message else ""
    return plain(text + step + message, None)


def described_at(progress: RunProgress, at: datetime) -> str:
    """Return ``describe`` with the time of the report, seen from ``at``."""
    return f"{describe(progress)}, {relative(progress.updated_at, at)}"


def bar(progress: RunProgress, width: int) -> str:
    """Return a line of at most ``width`` columns."""
    fraction = progress.fraction
    if fraction is None:
        return cut(describe(progress), width)
    filled = int(fraction * _BAR)
    return cut(f"[{'#' * filled}{'.' * (_BAR - filled)}] {describe(progress)}", width)


def _amount(progress: RunProgress) -> str:
    return f"{progress.done:,.15g} of {progress.total:,.15g} ({progress.fraction:.0%})"


@contextmanager
def shown(read: Callable[[], RunProgress | None]) -> Iterator[None]:
    """Draw a bar on standard error once a second, if it is a terminal.

    ``read`` is called in a thread. What it raises is for others to report.
    """
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_draw, args=(read, over), daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(_PERIOD)  # it may be asking a database that does not answer


def _draw(read: Callable[[], RunProgress | None], over: threading.Event) -> None:
    drawn = False
    while not over.wait(_PERIOD):
        progress = None
        with suppress(OwsuperError):
            progress = read()
        if progress is not None and not over.is_set():
            drawn = True
            width = shutil.get_terminal_size().columns - 1
            _write(_CLEAR + bar(progress, width))
    if drawn:
        _write(_CLEAR)


def _write(text: str) -> None:
    with suppress(OSError):
        print(text, end="", file=sys.stderr, flush=True)
