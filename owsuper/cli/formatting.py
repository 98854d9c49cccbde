"""Times, texts, errors and tables as people read them on a terminal, in UTC."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from owsuper.stored_error import StoredError

_WIDTH: Final = 100  # characters of a value or an error


# --- times -----------------------------------------------------------------------------------


def now() -> datetime:
    """Return the time by this host's clock, which may differ a little from the database's."""
    return datetime.now(UTC)


def span(seconds: float) -> str:
    """Return a length of time in its two largest units; a negative length counts as zero."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.995:
        return f"{seconds:.2f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s"


def rough_span(seconds: float) -> str:
    """Return a length of time without parts of a second."""
    return f"{seconds:.0f}s" if seconds < 59.5 else span(seconds)


def moment(when: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def relative(when: datetime, at: datetime) -> str:
    """Return ``when`` relative to the time ``at``, such as ``5m 0s ago`` or ``in 5m 0s``."""
    ahead = (when - at).total_seconds()
    return f"in {rough_span(ahead)}" if ahead > 0 else f"{rough_span(-ahead)} ago"


# --- texts and errors ------------------------------------------------------------------------


def plain(text: str, width: int = _WIDTH) -> str:
    """Return ``text`` on one line of at most ``width`` characters, control characters escaped."""
    line = " ".join(text.split())
    line = line if len(line) <= width else f"{line[: width - 3]}..."
    return printable(line)


def summary(error: StoredError | None, width: int = _WIDTH) -> str:
    """Return an error on one line of at most ``width`` characters; empty without an error."""
    return "" if error is None else plain(_full_text(error), width)


def remaining_lines(error: StoredError | None) -> list[str]:
    """Return all lines of an error that ``summary`` cuts, and none of an error that fits."""
    if error is None or len(" ".join(_full_text(error).split())) <= _WIDTH:
        return []
    return [printable(line) for line in _full_text(error).rstrip().splitlines()]


def printable(line: str) -> str:
    """Return ``line`` with control characters escaped, so that it cannot command a terminal."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def _full_text(error: StoredError) -> str:
    return f"{error.name}: {error.message}" if error.name else error.message


# --- tables ----------------------------------------------------------------------------------


def table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Return a line for each row, with aligned columns two blanks apart.

    The columns at the indices in ``right`` are aligned to the right.
    """
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(columns_of, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            _padded(cell, width, align_right=index in right)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


def columns_of(text: str) -> int:
    """Return how many terminal columns ``text`` takes: two for an East Asian letter or an emoji."""
    return len(text) if text.isascii() else sum(map(_columns_of_char, text))


def _columns_of_char(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # combines with the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _padded(cell: str, width: int, *, align_right: bool) -> str:
    blanks = " " * (width - columns_of(cell))
    return blanks + cell if align_right else cell + blanks
