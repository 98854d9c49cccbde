"""Times, texts and errors as people read them on a terminal, in UTC."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from owsuper.stored_error import StoredError

_WIDTH: Final = 100  # columns of a value or an error where there is no terminal
_LEAST_WIDTH: Final = 20  # columns of a value in the narrowest terminal
_DOTS: Final = "..."


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


@dataclass(frozen=True, slots=True)
class Layout:
    """The room for text. ``width`` is the terminal's in columns, None if there is no terminal.

    If ``full``, nothing is cut and nothing is folded.
    """

    width: int | None = None
    full: bool = False

    def room(self, taken: int = 0) -> int | None:
        """Return the columns for a value beside ``taken`` others; None for no limit."""
        if self.full:
            return None
        return _WIDTH if self.width is None else max(self.width - taken, _LEAST_WIDTH)


def plain(text: str, width: int | None = _WIDTH) -> str:
    """Return ``text`` on one line of at most ``width`` columns, control characters escaped."""
    return cut(printable(" ".join(text.split())), width)


def cut(text: str, width: int | None) -> str:
    """Return ``text``, or its beginning and dots, in at most ``width`` columns."""
    if width is None or len(text) * 2 <= width or columns_of(text) <= width:
        return text
    kept, left = 0, width - len(_DOTS)
    while kept < len(text) and (left := left - _columns_of_char(text[kept])) >= 0:
        kept += 1
    return text[:kept].rstrip() + _DOTS[:width]


def wrapped(text: str, width: int | None, indent: str = "  ") -> list[str]:
    """Return ``text`` on lines of at most ``width`` columns, broken between words.

    Further lines begin as the first one does, and with ``indent``. A longer word has a line of its
    own, unbroken.
    """
    if width is None or columns_of(text) <= width:
        return [text]
    blanks = text[: len(text) - len(text.lstrip())]
    lines, line, used = [], blanks, len(blanks)
    for word in text.split():
        columns = columns_of(word)
        gap = 1 if line.strip() else 0
        if gap and used + gap + columns > width:
            lines.append(line)
            line, gap = blanks + indent, 0
            used = len(line)
        line += " " * gap + word
        used += gap + columns
    return [*lines, line]


def summary(error: StoredError | None, width: int | None = _WIDTH) -> str:
    """Return an error on one line of at most ``width`` columns; empty without an error."""
    return "" if error is None else plain(_full_text(error), width)


def lines_unless(shown: str, error: StoredError | None) -> list[str]:
    """Return all lines of an error whose summary ``shown`` does not contain uncut, else none."""
    if error is None or summary(error, None) in shown:
        return []
    return [printable(line) for line in _full_text(error).rstrip().splitlines()]


def printable(line: str) -> str:
    """Return ``line`` with control characters escaped, so that it cannot command a terminal."""
    if line.isprintable():
        return line
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in line)


def columns_of(text: str) -> int:
    """Return how many terminal columns ``text`` takes: two for an East Asian letter or an emoji."""
    return len(text) if text.isascii() else sum(map(_columns_of_char, text))


def _columns_of_char(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):  # combines with the character before
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _full_text(error: StoredError) -> str:
    return f"{error.name}: {error.message}" if error.name else error.message
