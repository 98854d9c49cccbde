"""The priority of a run: which of several due runs begins first."""

from __future__ import annotations

from typing import Any, Final

from owsuper.errors import ConfigurationError

HIGHEST: Final = 100


def check_priority(value: Any, owner: str = "priority") -> int:
    """Return ``value`` if it is a priority. Raises ConfigurationError, which names the ``owner``.

    A priority is a whole number from 0 to 100. A run of a higher one begins first.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= HIGHEST:
        raise ConfigurationError(
            f"{owner}: {value!r:.60} must be a whole number from 0 to {HIGHEST}. A higher number"
            " begins first, and 0 is that of a run without a priority."
        )
    return value


def stored_priority(text: str | None) -> int:
    """Return the priority of a row; 0 for what is none, because SQL may store anything."""
    if text is None or not text.isascii() or not text.isdecimal() or len(text) > 3:
        return 0
    return number if (number := int(text)) <= HIGHEST else 0
