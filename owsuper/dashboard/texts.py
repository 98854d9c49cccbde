"""How values stand on a page: escaped, with what cannot be seen made visible."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from markupsafe import Markup, escape

_HIDDEN: Final = frozenset(("Cc", "Cf", "Cs", "Co", "Zl", "Zp"))
# Of the characters that are not seen, those that letters and emoji need to look right.
_JOINERS: Final = frozenset("\u200c\u200d")
_DOTS: Final = "\N{HORIZONTAL ELLIPSIS}"
_MAYBE_HIDDEN: Final = re.compile(r"[^ -~]")


def _hides(char: str) -> bool:
    return unicodedata.category(char) in _HIDDEN and char not in _JOINERS


def _visible(text: str, keep: str) -> Markup:
    """Return ``text`` as HTML; a control character becomes its name, other than in ``keep``."""
    if not _MAYBE_HIDDEN.search(text):
        return escape(text)
    parts: list[str] = []
    plain: list[str] = []
    for char in text:
        if char not in keep and _hides(char):
            parts.append(escape("".join(plain)))
            plain.clear()
            parts.append(f'<span class="ctl">U+{ord(char):04X}</span>')
        else:
            plain.append(char)
    return Markup("".join([*parts, escape("".join(plain))]))


def inline(value: object, most: int = 200) -> Markup:
    """Return a text on one line, apart from the direction of what surrounds it.

    It is cut after ``most`` characters.
    """
    text = str(value)
    cut = text if len(text) <= most else text[: most - 1] + _DOTS
    return _apart(_visible(" ".join(cut.splitlines()), ""))


def block(value: object) -> Markup:
    """Return the text of a ``<pre>``, with its lines."""
    return _apart(_visible(str(value), "\n\t"))


def _apart(text: Markup) -> Markup:
    return Markup("<bdi>") + text + Markup("</bdi>")


def plain(value: object, most: int = 200) -> str:
    """Return a text for an attribute, such as a title, where no tag can stand."""
    text = str(value)
    shown = text[:most]
    if _MAYBE_HIDDEN.search(shown):
        shown = "".join(f"<U+{ord(char):04X}>" if _hides(char) else char for char in shown)
    return shown + (_DOTS if len(text) > most else "")


def when(value: datetime | None, at: datetime | None = None) -> Markup:
    """Return a time as ``<time>``, in UTC, and relative to ``at`` if that is given."""
    if value is None:
        return Markup('<span class="none">\N{EN DASH}</span>')
    utc = value.astimezone(UTC)
    exact = f"{utc:%Y-%m-%d %H:%M:%S}Z"
    shown = exact if at is None else relative(value, at)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(utc.isoformat(), exact, shown)


def relative(value: datetime, at: datetime) -> str:
    """Return ``value`` relative to ``at``, such as ``5m 0s ago``."""
    ahead = (value - at).total_seconds()
    return f"in {span(ahead)}" if ahead > 0 else f"{span(-ahead)} ago"


def span(seconds: float | None) -> str:
    """Return a length of time in its two largest units; a negative length counts as zero."""
    if seconds is None:
        return "\N{EN DASH}"
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 9.995:
        return f"{seconds:.2f}s"
    if seconds < 59.5:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    return f"{hours}h {minutes}m" if hours else f"{minutes}m {rest}s"


def count(number: int | None) -> str:
    """Return a number with narrow blanks between its thousands."""
    return (
        "\N{EN DASH}" if number is None else f"{number:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")
    )


def amount(number: float) -> str:
    """Return a number that may be a fraction, as ``count`` does."""
    return f"{number:,.15g}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def size(number: int | None) -> str:
    """Return a number of bytes in a unit that fits."""
    if number is None:
        return "\N{EN DASH}"
    value, units = float(number), iter(("B", "KB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 999.5 and (larger := next(units, "")):
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if value >= 9.95 or unit == "B" else f"{value:.1f} {unit}"


FILTERS: Final[Mapping[str, Callable[..., Any]]] = {
    "inline": inline,
    "block": block,
    "plain": plain,
    "when": when,
    "span": span,
    "number": count,
    "amount": amount,
    "size": size,
}
"""The filters of templates, by name."""
