"""When a schedule is due: by cron, or every so often."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from owsuper.core.schedules.cron import Cron
from owsuper.errors import ConfigurationError

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_WINDOW: Final = timedelta(hours=1)
_GROWTH: Final = 8  # of the window in which the latest ticks are sought


@dataclass(frozen=True, slots=True)
class _Every:
    """Whole multiples of ``interval`` since ``anchor``."""

    interval: timedelta
    anchor: datetime

    def next_after(self, moment: datetime) -> datetime | None:
        passed = (moment - self.anchor) // self.interval
        return self.anchor + (passed + 1) * self.interval


class Timetable:
    """The times of a schedule. Of ``cron`` and ``every`` (seconds), one is given.

    ``timezone`` is that of a cron expression. There is no tick before ``start``, and none at
    ``end`` or later. An interval counts from ``start``, else from the beginning of 1970 in UTC, so
    that all hosts agree.

    Raises ConfigurationError if this host does not know the time zone.
    """

    def __init__(
        self,
        *,
        cron: str | None,
        every: float | None,
        timezone: str,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self._start = start
        self._end = end
        self._rule: Cron | _Every
        if cron is not None:
            self._rule = Cron(cron, zone(timezone))
        else:
            assert every is not None
            self._rule = _Every(timedelta(seconds=every), start or _EPOCH)

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first tick after ``moment``, in UTC; None if there is none any more."""
        if self._start is not None:
            moment = max(moment, self._start - timedelta(microseconds=1))
        try:
            found = self._rule.next_after(moment)
        except OverflowError:  # after the year 9999
            return None
        if found is None or (self._end is not None and found >= self._end):
            return None
        return found

    def between(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield the ticks from ``since`` on that are before ``until``."""
        tick = self.next_after(since - timedelta(microseconds=1))
        while tick is not None and tick < until:
            yield tick
            tick = self.next_after(tick)

    def latest(self, number: int, since: datetime, until: datetime) -> list[datetime]:
        """Return the last ticks from ``since`` to ``until``, both included: at most ``number``.

        It takes no longer if there are millions in between.
        """
        window, beyond = _FIRST_WINDOW, until + timedelta(microseconds=1)
        while True:
            start = max(since, until - window)
            ticks = list(self.between(start, beyond))
            if len(ticks) >= number or start == since:
                return ticks[-number:]
            window *= _GROWTH


def zone(name: str) -> ZoneInfo:
    """Return the time zone of this name. Raises ConfigurationError if this host has none."""
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError, TypeError):  # ValueError: "../etc"; OSError: "Europe"
        raise ConfigurationError(
            f"timezone: this host knows no time zone {name!r:.60}. Write a name such as"
            " 'Europe/Berlin'. If that is one, install the time zone data: the package tzdata, of"
            " the system or of Python."
        ) from None
