"""Times of a cron expression in a time zone.

``cronsim`` knows the calendar: it is asked for local times alone, of which every day has the same.
What becomes of them when clocks change is decided here, in every zone by one rule, which is that of
Debian's cron:

- An expression of fixed times (neither the minute nor the hour begins with ``*``) means a job of
  the day. Of a local time that comes twice, it means the first. For one that is skipped, it means
  the end of the gap.
- Any other expression means a rhythm. It follows what clocks show, in repeated hours as well.

(By itself, ``cronsim`` 2.8 steps over hours in zones that change by half an hour.)
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from cronsim import CronSim, CronSimError

from owsuper.errors import ConfigurationError

_NAMES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = 5
_DAY: Final = timedelta(days=1)  # no zone changes its offset twice in one
_SECOND: Final = timedelta(seconds=1)
_ANY: Final = datetime(2000, 1, 1)  # to read an expression; the time does not matter


def check(text: str) -> str:
    """Return a cron expression without needless space. Raises ConfigurationError."""
    if not isinstance(text, str):
        raise ConfigurationError(f"cron: {text!r:.60} must be text, such as '0 3 * * *'")
    words = text.split()
    expression = fields_of(text).split()
    if text.startswith("@") and text.strip().lower() not in _NAMES:
        raise ConfigurationError(f"cron: {text!r:.60} is none of {', '.join(_NAMES)}")
    if len(expression) != _FIELDS:
        raise ConfigurationError(
            f"cron: {text!r:.60} has {len(expression)} fields. Write five: minute, hour, day of the"
            " month, month, day of the week. For seconds, use every='10s'."
        )
    try:
        simulated = CronSim(" ".join(expression), _ANY)
        next(simulated)
    except CronSimError as error:
        raise ConfigurationError(f"cron: {text!r:.60}: {str(error).lower()}") from None
    except StopIteration:
        raise ConfigurationError(f"cron: {text!r:.60} means no day that there is") from None
    return " ".join(words)


def fields_of(text: str) -> str:
    """Return the five fields of an expression that may be a name such as ``@daily``."""
    return _NAMES.get(text.strip().lower(), text)


class Cron:
    """The times of an expression that ``check`` has accepted, in ``zone``."""

    def __init__(self, text: str, zone: tzinfo) -> None:
        self._text = fields_of(text)
        self._zone = zone
        minute, hour, *_ = self._text.split()
        self._is_rhythm = minute.startswith("*") or hour.startswith("*")

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment``, in UTC; None if there is none in 50 years."""
        moment = moment.astimezone(UTC)
        return self._beat_after(moment) if self._is_rhythm else self._fixed_after(moment)

    def _fixed_after(self, moment: datetime) -> datetime | None:
        for local in self._local_times_after(self._local(moment)):
            if (at := self._moment_of(local)) > moment:  # else a repeated hour is not over
                return at
        return None

    def _beat_after(self, moment: datetime) -> datetime | None:
        base = self._local(moment)
        while True:
            offset = self._offset(moment)
            local = next(self._local_times_after(base), None)
            if local is None:
                return None
            at = local.replace(tzinfo=UTC) - offset
            change = self._change_between(moment, at)
            if change is None:
                return at
            moment, base = change, self._local(change) - _SECOND

    def _local_times_after(self, local: datetime) -> Iterator[datetime]:
        return iter(CronSim(self._text, local))

    def _moment_of(self, local: datetime) -> datetime:
        """Return the first moment at which clocks show ``local`` or, if none does, later."""
        first = local.replace(tzinfo=self._zone, fold=0).astimezone(UTC)
        if self._local(first) == local:
            return first
        before = local.replace(tzinfo=self._zone, fold=1).astimezone(UTC)
        return self._change_between(before, first) or first

    def _change_between(self, start: datetime, end: datetime) -> datetime | None:
        """Return when the offset first changes after ``start``, until ``end``; None if it stays."""
        offset = self._offset(start)
        while start < end:
            until = min(start + _DAY, end)
            if self._offset(until) != offset:
                return self._bisect(start, until, offset)
            start = until
        return None

    def _bisect(self, start: datetime, end: datetime, offset: timedelta) -> datetime:
        """Return the first second with another offset; at ``end`` there is another."""
        start = start.replace(microsecond=0)
        while end - start > _SECOND:
            middle = (start + (end - start) / 2).replace(microsecond=0)
            if self._offset(middle) == offset:
                start = middle
            else:
                end = middle
        return end

    def _offset(self, moment: datetime) -> timedelta:
        offset = moment.astimezone(self._zone).utcoffset()
        assert offset is not None
        return offset

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self._zone).replace(tzinfo=None, fold=0)
