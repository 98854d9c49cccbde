"""Query parameters of lists: read strictly, because a filter that is ignored shows the wrong runs.

Whatever cannot be used is answered with status 400 and a message that names the parameter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from typing import Final

from starlette.datastructures import QueryParams

from owsuper.core.attributes import check_attributes
from owsuper.core.durations import MIN_TIME, add_ms, milliseconds, parse_iso
from owsuper.core.names import has_lone_surrogate
from owsuper.core.pages import Window, make_window
from owsuper.dashboard.visit import refuse
from owsuper.errors import ConfigurationError, InvalidDuration

PAGE_SIZE: Final = 50
"""Rows of a page."""

PAGING: Final = ("after", "before", "sort")
"""The parameters that say which page of a list is shown."""

_LONGEST: Final = 500


def check_names(query: QueryParams, known: Collection[str]) -> None:
    """Raise HTTPException if there is a parameter of another name."""
    for name in query:
        if name not in known:
            raise refuse(f"{name[:60]}: there is no such filter; there are {', '.join(known)}")


def text(query: QueryParams, name: str, *, exact: bool = False) -> str | None:
    """Return a text, or None if the parameter is missing or empty. Raises HTTPException.

    Spaces around it are removed, unless it is ``exact``, as what a page of ours has written.
    """
    given = query.getlist(name)
    if len(given) > 1:
        raise refuse(f"{name}: was given {len(given)} times; give it once")
    value = given[0] if given else ""
    value = value if exact else value.strip()
    if "\0" in value or has_lone_surrogate(value):
        raise refuse(f"{name}: has a character that PostgreSQL cannot hold; remove it")
    if len(value) > _LONGEST:
        raise refuse(f"{name}: has {len(value)} characters; {_LONGEST} are the most")
    return value or None


def one_of(query: QueryParams, name: str, choices: Collection[str]) -> str | None:
    """Return one of ``choices``, or None if the parameter is missing. Raises HTTPException."""
    value = text(query, name)
    if value is not None and value not in choices:
        raise refuse(f"{name}: must be one of {', '.join(choices)}, not {value[:60]!r}")
    return value


def some_of(query: QueryParams, name: str, choices: Collection[str]) -> tuple[str, ...]:
    """Return those of ``choices`` that were given, in their order. Raises HTTPException."""
    given = [value for value in query.getlist(name) if value]
    for value in given:
        if value not in choices:
            raise refuse(f"{name}: must be one of {', '.join(choices)}, not {value[:60]!r}")
    return tuple(choice for choice in choices if choice in given)


def attributes(query: QueryParams, name: str) -> tuple[tuple[str, str], ...]:
    """Return attributes as pairs, each from a text such as ``tenant=7``. Raises HTTPException."""
    try:
        return tuple(attributes_from(query.getlist(name), name).items())
    except ConfigurationError as error:
        raise refuse(str(error)) from None


def attributes_from(texts: Iterable[str], name: str) -> dict[str, str]:
    """Return attributes, each from a text such as ``tenant=7``; empty texts are none.

    Raises ConfigurationError, which begins with ``name``.
    """
    pairs = []
    for text in texts:
        if not text.strip():
            continue
        attribute, equals, value = text.partition("=")
        if not equals:
            raise ConfigurationError(
                f"{name}: {text[:60]!r} must be a name and a value, such as tenant=7"
            )
        pairs.append((attribute.strip(), value.strip()))
    checked = check_attributes(dict(pairs), name)
    if len(checked) < len(pairs):
        raise ConfigurationError(f"{name}: an attribute is given twice; give each once")
    return checked


def moment(query: QueryParams, name: str) -> datetime | None:
    """Return a time, of which one without a zone is in UTC, or so long before now.

    None if the parameter is missing. Raises HTTPException.
    """
    value = text(query, name)
    if value is None:
        return None
    if (found := parse_iso(value)) is not None:
        return found
    try:
        ago = milliseconds(value)
        if ago >= 0:
            return _before_now(ago)
    except InvalidDuration:
        pass
    raise refuse(
        f"{name}: {value[:60]!r} is no time. Write a time such as 2026-03-01T12:00, which is in UTC"
        " unless it has a zone, or how long ago, such as 1h or 7d"
    )


def _before_now(ago: float) -> datetime:
    try:
        return add_ms(datetime.now(UTC), -ago)
    except InvalidDuration:
        return MIN_TIME


def window(query: QueryParams, size: int = PAGE_SIZE) -> Window:
    """Return which page was asked for. Raises HTTPException for what is no cursor."""
    try:
        return make_window(size, text(query, "after"), text(query, "before"))
    except ConfigurationError as error:
        raise refuse(str(error)) from None
