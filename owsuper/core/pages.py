"""Pages of a list, and the cursors that lead from one to the next.

Lists are ordered by the time of creation and, where that is the same, by id. A cursor names the
place of one item in that order. Whoever gets one need not know what is in it, but OpenWorkflow's
own tools write and read the same: Base64 of ``{"createdAt":"<time>","id":"<id>"}``.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, TypeVar

import orjson

from owsuper.core.durations import iso_ms, parse_iso
from owsuper.errors import ConfigurationError

T = TypeVar("T")

PAGE_SIZE: Final = 100
"""Items on a page, unless somebody asks for another number."""

MAX_PAGE_SIZE: Final = 1000
"""Items on a page at most: they are in memory at once, with all that they hold."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, in its order.

    ``next_cursor`` is the ``after`` of the page that follows, and ``previous_cursor`` the
    ``before`` of the one that precedes; None where there is no such page. An empty page has
    neither.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item stands in its list."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """Which page is wanted: ``limit`` items, after ``place`` or, ``backward``, before it.

    Without a place it is the first page.
    """

    limit: int = PAGE_SIZE
    place: Place | None = None
    backward: bool = False


def window(limit: int, after: str | None, before: str | None) -> Window:
    """The page that a caller asks for by cursors.

    Raises ConfigurationError, which says what is wrong with which of them.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE_SIZE:
        raise ConfigurationError(
            f"limit: must be a whole number from 1 to {MAX_PAGE_SIZE}, not {limit!r:.60}"
        )
    if after is not None and before is not None:
        raise ConfigurationError("Cannot specify both 'after' and 'before' cursors")
    if before is not None:
        return Window(limit, place(before, "before"), backward=True)
    return Window(limit, None if after is None else place(after, "after"))


def page(window: Window, fetched: Sequence[T], place_of: Callable[[T], Place]) -> Page[T]:
    """The page of what was ``fetched``: in the order of the search, and one more if there is one.

    A search for a page before some place goes backward, so it finds the nearest items first.
    """
    kept, more = fetched[: window.limit], len(fetched) > window.limit
    if not kept:
        return Page((), None, None)
    if window.backward:
        items, follows, precedes = kept[::-1], True, more
    else:
        items, follows, precedes = kept, more, window.place is not None
    return Page(
        tuple(items),
        next_cursor=cursor(place_of(items[-1])) if follows else None,
        previous_cursor=cursor(place_of(items[0])) if precedes else None,
    )


def cursor(place: Place) -> str:
    """The cursor that names ``place``."""
    members = {"createdAt": _iso(place.created_at), "id": place.id}
    return base64.b64encode(orjson.dumps(members)).decode()


def place(cursor: str, what: str) -> Place:
    """The place that ``cursor`` names; ``what`` is the parameter that it was given for.

    Raises ConfigurationError.
    """
    if not isinstance(cursor, str):
        raise _no_cursor(what, cursor, "it is not text")
    try:
        members: Any = orjson.loads(base64.b64decode(cursor, validate=True))
    except orjson.JSONDecodeError:
        raise _no_cursor(what, cursor, "there is no JSON in it") from None
    except (binascii.Error, ValueError):
        raise _no_cursor(what, cursor, "it is not Base64, or not all of it") from None
    found = members if isinstance(members, dict) else {}
    created_at, item_id = parse_iso(found.get("createdAt")), found.get("id")
    if created_at is None:
        raise _no_cursor(what, cursor, "its createdAt is no time")
    if not isinstance(item_id, str) or "\0" in item_id:
        raise _no_cursor(what, cursor, "its id is no text that PostgreSQL can hold")
    return Place(created_at, item_id)


def _no_cursor(what: str, cursor: object, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{what}: {cursor!r:.80} is no cursor: {why}. Pass on the next_cursor or"
        " previous_cursor of a page as it is."
    )


def _iso(moment: datetime) -> str:
    """As every time in JSON, in milliseconds, which is all that a time of creation should have.

    Where somebody wrote a row with more, they are needed to find the place again.
    """
    if not moment.microsecond % 1000:
        return iso_ms(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
