"""The types of settings, each with a reader of text (from a flag or a variable) or a typed value.

A reader returns the value for ``Settings``, or raises ConfigurationError with the allowed values.
The caller puts the name of the setting in front of the message.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from owsuper.core import durations
from owsuper.core.names import check_schema_name, has_lone_surrogate
from owsuper.errors import ConfigurationError, InvalidDuration

LOG_LEVELS = ("debug", "info", "warning", "error", "critical")
LOG_FORMATS = ("text", "json")

Reader = Callable[[Any], object]


@dataclass(frozen=True, slots=True)
class SettingType:
    """The reader of a setting, its help text, and what the help calls its value."""

    read: Reader
    help: str
    metavar: str | None = None

    @property
    def can_be_off(self) -> bool:
        """Whether the value "off" means None."""
        try:
            return self.read("off") is None
        except ConfigurationError:
            return False


def described(
    read: Reader, explained: str, *, metavar: str | None = None
) -> dict[str, SettingType]:
    """Return the metadata of a dataclass field for a setting with this reader and help text."""
    return {"type": SettingType(read, explained, metavar)}


def _refuse(allowed: str, value: object) -> ConfigurationError:
    return ConfigurationError(f"must be {allowed}, not {value!r:.200}")


def whole(low: int, high: int) -> Reader:
    """Return a reader of whole numbers from ``low`` to ``high``."""

    def read(value: Any) -> int:
        number = value
        if isinstance(value, str) and re.fullmatch(r"[+-]?[0-9]{1,18}", value.strip()):
            number = int(value)
        if isinstance(number, bool) or not isinstance(number, int) or not low <= number <= high:
            raise _refuse(f"a whole number from {low} to {high}", value)
        return number

    return read


def duration(low: str, high: str) -> Reader:
    """Return a reader of durations from ``low`` to ``high``, in seconds.

    A number without a unit is seconds, in text too: ``--lease 30`` is half a minute. (Durations
    in Python code, such as those of ``step.sleep``, are refused as text without a unit.)
    """
    low_seconds, high_seconds = durations.seconds(low), durations.seconds(high)
    example = "such as '30s', '5m' or a number of seconds"

    def read(value: Any) -> float:
        bare = isinstance(value, str) and re.fullmatch(r"-?([0-9]*\.)?[0-9]+", value)
        try:
            seconds = durations.seconds(float(value) if bare else value)
        except InvalidDuration:
            seconds = math.nan
        if not low_seconds <= seconds <= high_seconds:  # false for NaN too
            raise _refuse(f"a duration from {low} to {high}, {example}", value)
        return seconds

    return read


def or_off(reader: Reader) -> Reader:
    """Return a reader of what ``reader`` reads, or "off": None."""

    def read(value: Any) -> object:
        word = value.strip().lower() if isinstance(value, str) else value
        if word is None or word is False or word in ("off", "0", 0):
            return None
        try:
            return reader(value)
        except ConfigurationError as error:
            allowed, separator, rest = str(error).partition(", not ")
            raise ConfigurationError(f"{allowed}, or off{separator}{rest}") from None

    return read


_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([kmgt])(?:i?b)?", re.IGNORECASE)


def size(value: Any) -> int:
    """Read a number of bytes: text with a unit, in powers of 1024, or a whole number."""
    number: float | None = None
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())):
        number = float(match[1]) * 1024 ** ("kmgt".index(match[2].lower()) + 1)
    if number is None or not 1 << 20 <= number <= 1 << 50:
        raise _refuse("a size from 1M to 1024T, such as '500M' or '2G'", value)
    return int(number)


_SWITCH = {"1": True, "true": True, "yes": True, "on": True}
_SWITCH |= {"0": False, "false": False, "no": False, "off": False}


def switch(value: Any) -> bool:
    """Read true or false, or a word for one of them."""
    chosen = value if isinstance(value, bool) else None
    if isinstance(value, str):
        chosen = _SWITCH.get(value.strip().lower())
    if chosen is None:
        raise _refuse("true or false", value)
    return chosen


def text(value: Any) -> str:
    """Read text that PostgreSQL can store."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise _refuse("non-empty text", value)
    if has_lone_surrogate(value):
        raise _refuse("text in UTF-8", value)
    return value


def one_of(*words: str) -> Reader:
    """Return a reader of one of these words, in upper or lower case."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value.strip().lower() not in words:
            raise _refuse(f"one of {', '.join(words)}", value)
        return value.strip().lower()

    return read


def file(value: Any) -> str | None:
    """Read the path of a file."""
    if value is None:
        return None
    return text(os.fspath(value) if isinstance(value, os.PathLike) else value)


def url(value: Any) -> str | None:
    """Read a connection URL or string, without space around it, such as the end of a file's line.

    The error omits the value, which may hold a password.
    """
    if value is None:
        return None
    given = value.strip() if isinstance(value, str) else ""
    if not given or "\0" in given or has_lone_surrogate(given):
        raise ConfigurationError("must be a URL such as postgresql://user@host:5432/database")
    scheme, separator, _ = given.partition("://")
    if not separator and "=" not in given:
        raise ConfigurationError("must be a URL such as postgresql://user@host:5432/database")
    if separator and scheme not in ("postgresql", "postgres") and "=" not in scheme:
        raise ConfigurationError(f"must begin with postgresql://, not with {scheme}://")
    return given


def schema(value: str) -> str:
    """Read a schema name, by the rule of OpenWorkflow for TypeScript."""
    check_schema_name(text(value))
    return value


def retention(value: Any) -> tuple[str, ...]:
    """Read rules such as ``30d`` and ``failed=90d``: a list, or text separated by commas."""
    from owsuper.core import retention as rules  # few need it

    if value is None or (isinstance(value, str) and value.strip().lower() in ("", "off")):
        return ()
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise _refuse("a rule such as 30d, or a list of rules", value)
    found = tuple(rule.strip() for part in parts for rule in text(part).split(",") if rule.strip())
    if [each.lower() for each in found] == ["off"]:
        return ()
    rules.read(found)
    return found


def modules(value: Any) -> tuple[str, ...]:
    """Read module names or paths: a list, or text separated by commas."""
    return _several("one name or a list of names", value)


def patterns(value: Any) -> tuple[str, ...]:
    """Read names or shell-style patterns of names: a list, or text separated by commas."""
    return _several("one pattern or a list of patterns", value)


def _several(allowed: str, value: Any) -> tuple[str, ...]:
    parts = [value] if isinstance(value, str) else value
    if not isinstance(parts, (list, tuple)):
        raise _refuse(allowed, value)
    return tuple(name.strip() for part in parts for name in text(part).split(",") if name.strip())
