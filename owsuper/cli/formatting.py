"""The words for times, texts and errors: for people, on one line, in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from owsuper.stored_error import StoredError

_WIDTH: Final = 100  # characters of a value or an error


def now() -> datetime:
    """The time by this host's clock, which may differ a little from the database's."""
    return datetime.now(UTC)


def span(seconds: float) -> str:
    """A length of time in its two largest units; a negative one counts as none."""
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


def rough(seconds: float) -> str:
    """A length of time, of which parts of a second do not matter."""
    return f"{seconds:.0f}s" if seconds < 59.5 else span(seconds)


def moment(when: datetime) -> str:
    """A time to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def relative(when: datetime, at: datetime) -> str:
    """``when``, as seen at the time ``at``: 5m 0s ago, or in 5m 0s."""
    ahead = (when - at).total_seconds()
    return f"in {rough(ahead)}" if ahead > 0 else f"{rough(-ahead)} ago"


def plain(text: str, width: int = _WIDTH) -> str:
    """``text`` on one line, cut to ``width``, without what would command a terminal."""
    line = " ".join(text.split())
    line = line if len(line) <= width else f"{line[: width - 3]}..."
    return printable(line)


def summary(error: StoredError | None, width: int = _WIDTH) -> str:
    """An error on one line, cut to ``width``."""
    return "" if error is None else plain(_whole(error), width)


def in_full(error: StoredError | None) -> list[str]:
    """The lines of an error whose ``summary`` leaves some of it out; none, if it does not."""
    if error is None or len(" ".join(_whole(error).split())) <= _WIDTH:
        return []
    return [printable(line) for line in _whole(error).rstrip().splitlines()]


def printable(line: str) -> str:
    """``line`` without what would command a terminal."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)


def _whole(error: StoredError) -> str:
    return f"{error.name}: {error.message}" if error.name else error.message
