"""Times as PostgreSQL writes them, which may be outside the range of datetime."""

from __future__ import annotations

from datetime import UTC, datetime

from psycopg.abc import Buffer
from psycopg.adapt import Loader

from owsuper.core.durations import MAX_TIME, MIN_TIME


def read(text: str) -> datetime:
    """Return the time in ``text`` (a timestamptz as text, or in JSON), in UTC.

    Infinities, years before 1 and years after 9999 become the first or the last moment of
    datetime. Raises ValueError for other text.
    """
    try:
        # Behind a pooler, times come in the time zone of the server.
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError):
        if text == "-infinity" or text.endswith(" BC") or text.startswith("0001-"):
            return MIN_TIME
        if text == "infinity" or text[:5].isdigit() or text.startswith("9999-"):
            return MAX_TIME
        raise


def bound(moment: datetime) -> str:
    """Return the lower bound, as text, of a search that finds the time read as ``moment``."""
    return "-infinity" if moment == MIN_TIME else moment.isoformat()


def deadline(moment: datetime | None) -> datetime | None:
    """Return a deadline that was read; an infinite one is None."""
    return None if moment == MAX_TIME else moment


class TimeLoader(Loader):
    """``read`` for psycopg, whose own loader refuses times that datetime cannot hold."""

    def load(self, data: Buffer) -> datetime:
        """Return the time in ``data``."""
        return read(bytes(data).decode())
