"""Times as PostgreSQL writes them, which may lie beyond what datetime can hold."""

from __future__ import annotations

from datetime import UTC, datetime

from psycopg.abc import Buffer
from psycopg.adapt import Loader

from owsuper.core.durations import MAX_TIME, MIN_TIME


def read(text: str) -> datetime:
    """The time in UTC that ``text`` says: a timestamptz as text, or in JSON.

    Infinities, years before 1 and years after 9999 become the first or the last moment that
    there is. Raises ValueError where it is no time.
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
    """From when on to look, so that what was read as ``moment`` is found."""
    return "-infinity" if moment == MIN_TIME else moment.isoformat()


def deadline(moment: datetime | None) -> datetime | None:
    """A deadline as it was read: one that never comes is none."""
    return None if moment == MAX_TIME else moment


class TimeLoader(Loader):
    """``read`` for psycopg, which by itself refuses what datetime cannot hold."""

    def load(self, data: Buffer) -> datetime:
        return read(bytes(data).decode())
