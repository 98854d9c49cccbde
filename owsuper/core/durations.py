"""Durations and times, as users write them and as the tables store them.

Inside owsuper a duration is a float of milliseconds and a time is an aware datetime. Users write
a timedelta, a number of *seconds*, or text with a unit such as ``"30s"``. OpenWorkflow for
TypeScript also takes text without a unit, as milliseconds: ``parse`` reads such text as the
contract says, and ``milliseconds`` refuses it, because Python's own numbers are seconds.
"""

from __future__ import annotations

import math
import re
from datetime import MAXYEAR, UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from owsuper.errors import ConfigurationError, InvalidDuration

Duration = timedelta | float | str

MIN_TIME: Final = datetime.min.replace(tzinfo=UTC)
MAX_TIME: Final = datetime.max.replace(tzinfo=UTC)
"""The earliest and the latest datetime. PostgreSQL has times beyond them, up to infinity."""

_SPELLINGS: dict[float, str] = {
    1: "ms msec msecs millisecond milliseconds",
    1_000: "s sec secs second seconds",
    60_000: "m min mins minute minutes",
    3_600_000: "h hr hrs hour hours",
    86_400_000: "d day days",
    604_800_000: "w week weeks",
    2_629_800_000: "mo month months",
    31_557_600_000: "y yr yrs year years",
}
_FACTORS = {word: factor for factor, words in _SPELLINGS.items() for word in words.split()}

# White space in ECMAScript. Python's \s differs: it adds U+001C-001F and U+0085, and lacks U+FEFF.
_SPACE = "\t-\r \u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000\ufeff"
_GRAMMAR = re.compile(rf"(-?\.?[0-9]+)(\.[0-9]+)?(?:[{_SPACE}]*([A-Za-z]+))?")

_WITHOUT_UNIT = re.compile(r"-?([0-9]*\.)?[0-9]+")

_ADVICE = 'Write "500ms", "30s", "5m", "1h" or "7d".'

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@lru_cache(maxsize=1024)
def _parse(text: str) -> float:
    match = _GRAMMAR.fullmatch(text)
    factor = _FACTORS.get((match[3] or "ms").lower()) if match else None
    if match is None or factor is None:
        raise InvalidDuration(f'Invalid duration format: "{text}"')
    whole, fraction = match[1], match[2] or ""
    if "." in whole:
        fraction = ""  # ".5.5s" is 0.5 s, as in OpenWorkflow for TypeScript
    return float(whole + fraction) * factor


def parse(text: str) -> float:
    """Return the milliseconds of a text such as ``"1.5h"``, by the contract's grammar.

    Text without a unit is milliseconds. The result may be negative or infinite. Raises
    InvalidDuration.
    """
    if not isinstance(text, str):
        raise InvalidDuration(
            f"Invalid duration format: expected a string but received {type(text).__name__}"
        )
    return _parse(text)


def milliseconds(value: Duration) -> float:
    """Return the finite milliseconds of a duration that a user wrote; may be negative.

    Raises InvalidDuration, also for text without a unit.
    """
    if isinstance(value, str):
        try:
            result = parse(value)
        except InvalidDuration as error:  # the contract's message, and advice
            raise InvalidDuration(f"{error}. {_ADVICE}") from None
        if math.isfinite(result):
            _check_unit(value)
    elif isinstance(value, timedelta):
        result = value / _MILLISECOND
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            result = float(value) * 1000
        except OverflowError:
            result = math.inf
    else:
        raise InvalidDuration(
            "Invalid duration format: expected a timedelta, a number of seconds or text such as"
            f' "5m" but received {type(value).__name__}'
        )
    if not math.isfinite(result):
        raise InvalidDuration(f"Invalid duration format: {value!r:.60} is not a finite duration")
    return result


def _check_unit(text: str) -> None:
    if text[-1:].isalpha():
        return
    if len(text) > 20 or not _WITHOUT_UNIT.fullmatch(text):
        raise InvalidDuration(f"Invalid duration format: {text!r:.60} has no unit. {_ADVICE}")
    raise InvalidDuration(
        f'Invalid duration format: "{text}" has no unit. "{text}" could mean {text} ms (as in'
        f' OpenWorkflow for TypeScript) or {text} s. Write "{text}s" or "{text}ms", or pass the'
        f" number {text} for seconds."
    )


def seconds(value: Duration) -> float:
    """Return the finite seconds of a duration that a user wrote; may be negative.

    Raises InvalidDuration, also for text without a unit.
    """
    return milliseconds(value) / 1000


def truncate_ms(moment: datetime) -> datetime:
    """Return ``moment`` truncated to a whole millisecond."""
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def ceil_ms(moment: datetime) -> datetime:
    """Return ``moment`` rounded up to a whole millisecond, or down at the end of time."""
    try:
        return truncate_ms(moment + timedelta(microseconds=999))
    except OverflowError:
        return truncate_ms(moment)


def in_utc(moment: datetime, parameter: str) -> datetime:
    """Return ``moment`` (aware) in UTC.

    Raises ConfigurationError, whose message begins with ``parameter``, for a time outside the
    years 1 to 9999 in UTC.
    """
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise ConfigurationError(
            f"{parameter}: {moment.isoformat()} is outside the years 1 to 9999 in UTC"
        ) from None


def add_ms(moment: datetime, ms: float) -> datetime:
    """Return ``moment`` plus ``ms`` milliseconds in UTC, truncated towards the epoch to whole ms.

    Raises InvalidDuration when the result lies outside the years 1 to 9999.
    """
    try:
        epoch_ms = (truncate_ms(moment) - _EPOCH) // _MILLISECOND
        return _EPOCH + timedelta(milliseconds=math.trunc(epoch_ms + ms))
    except (OverflowError, ValueError):
        raise InvalidDuration(
            f"Duration out of range: {ms:g} ms from {moment.isoformat()} is outside the years"
            " 1 to 9999. Use a shorter duration."
        ) from None


def add_ms_clamped(moment: datetime, ms: float) -> datetime:
    """Return ``moment`` plus ``ms`` (not negative), as ``add_ms`` does, but at most MAX_TIME."""
    try:
        return add_ms(moment, ms)
    except InvalidDuration:
        return MAX_TIME


def add_years(moment: datetime, years: int) -> datetime:
    """Return the same date and time of day ``years`` later, but at most MAX_TIME.

    29 February becomes 1 March in a year without it.
    """
    if moment.year + years > MAXYEAR:
        return MAX_TIME
    try:
        return moment.replace(year=moment.year + years)
    except ValueError:
        return moment.replace(year=moment.year + years, month=3, day=1)


def iso_ms(moment: datetime) -> str:
    """Return ``moment`` (aware) as ``YYYY-MM-DDTHH:MM:SS.mmmZ``. Raises ValueError if naive."""
    if moment.utcoffset() is None:
        raise ValueError(f"an aware datetime is required, not {moment!r}")
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[:-6] + "Z"


def parse_iso(text: Any) -> datetime | None:
    """Return the time in UTC that ``text`` holds, or None if ``text`` is no time.

    A time without an offset is in UTC. The six-digit years of ECMAScript are outside the range of
    datetime and become MAX_TIME or MIN_TIME.
    """
    if not isinstance(text, str):
        return None
    if re.match(r"[+-][0-9]{6}-", text):
        return MAX_TIME if text[0] == "+" else MIN_TIME
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
