"""Values as pages show them: indented, folded if large, or hidden. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from owsuper.db.dashboard.run_page import StoredValue

_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*"?|[][{},:]|[^][{},:"\s]+', re.DOTALL)
_INDENT: Final = "  "
_DEEPEST: Final = 12  # levels with lines of their own: else deep values would take square space


@dataclass(frozen=True, slots=True)
class ShownValue:
    """A value of a run or an attempt. ``text`` is its JSON, indented; None if it is folded.

    ``size`` is in bytes: that of the text, or if that is ``unknown`` what the database keeps.
    ``hidden``: values are not to be seen, so nothing else is given. ``cut``: the text is its
    beginning only.
    """

    name: str
    text: str | None = None
    size: int = 0
    unknown: bool = False
    hidden: bool = False
    cut: bool = False


def shown(value: StoredValue, *, hide: bool) -> ShownValue:
    """Return how a page shows ``value``."""
    if hide:
        return ShownValue(value.name, hidden=True)
    text = None if value.text is None else indented(value.text)
    size = value.stored if value.size is None else value.size
    cut = value.text is not None and value.size is not None and len(value.text) * 4 < value.size
    return ShownValue(value.name, text, size, unknown=value.size is None, cut=cut)


def shown_in_order(
    values: Mapping[str, StoredValue], names: Sequence[str], *, hide: bool
) -> list[ShownValue]:
    """Return those of ``names`` that are there, in this order."""
    return [shown(values[name], hide=hide) for name in names if name in values]


def indented(json: str) -> str:
    """Return JSON on lines of its own. Numbers and texts stay as they are, to the last digit.

    ``json`` may end before its value does.
    """
    parts: list[str] = []
    depth = 0
    before = ""
    for token in _TOKEN.findall(json):
        if token in "}]":
            depth = max(0, depth - 1)
            if before not in ("{", "["):
                parts.append(_line(depth))
            parts.append(token)
        else:
            if before in ("{", "[", ","):
                parts.append(_line(depth))
            parts.append(": " if token == ":" else token)
            if token in "{[":
                depth += 1
        before = token
    return "".join(parts)


def _line(depth: int) -> str:
    return "\n" + _INDENT * depth if depth <= _DEEPEST else ""
