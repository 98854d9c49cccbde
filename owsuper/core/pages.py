"""Pages of a list, and the cursors that lead from one page to the next.

Lists are ordered by the time of creation and then by id. A cursor names the position of one item
in that order. A caller passes a cursor on without reading it. OpenWorkflow for TypeScript writes
and reads the same cursors: Base64 of ``{"createdAt":"<time>","id":"<id>"}``.
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
"""Items on a page, unless the caller asks for another number."""

MAX_PAGE_SIZE: Final = 1000
"""The most items on a page: they are in memory together, with their inputs and outputs."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items of a list, in the order of the list.

    ``next_cursor`` is the ``after`` of the next page, and ``previous_cursor`` the ``before`` of
    the previous page. A cursor is None when there is no such page. An empty page has neither.
    """

    items: tuple[T, ...]
    next_cursor: str | None
    previous_cursor: str | None


@dataclass(frozen=True, slots=True)
class Position:
    """The position of an item in its list."""

    created_at: datetime
    id: str


@dataclass(frozen=True, slots=True)
class Window:
    """A request for one page: ``limit`` items after ``position``, or before it if ``backward``.

    Without a position, it is the first page.
    """

    limit: int = PAGE_SIZE
    position: Position | None = None
    backward: bool = False


def make_window(limit: int, after: str | None, before: str | None) -> Window:
    """Return the window that a caller asks for by a limit and at most one cursor.

    Raises ConfigurationError, whose message names the parameter at fault.
    """
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE_SIZE:
        raise ConfigurationError(
            f"limit: must be a whole number from 1 to {MAX_PAGE_SIZE}, not {limit!r:.60}"
        )
    if after is not None and before is not None:
        raise ConfigurationError("Cannot specify both 'after' and 'before' cursors")
    if before is not None:
        return Window(limit, decode_cursor(before, "before"), backward=True)
    return Window(limit, None if after is None else decode_cursor(after, "after"))


def make_page(
    window: Window, fetched: Sequence[T], position_of: Callable[[T], Position]
) -> Page[T]:
    """Return the page of the ``fetched`` items: ``limit`` of them, and one more if there is one.

    ``fetched`` is in the order of the search. A backward search finds the nearest items first.
    """
    kept, more = fetched[: window.limit], len(fetched) > window.limit
    if not kept:
        return Page((), None, None)
    if window.backward:
        items, follows, precedes = kept[::-1], True, more
    else:
        items, follows, precedes = kept, more, window.position is not None
    return Page(
        tuple(items),
        next_cursor=encode_cursor(position_of(items[-1])) if follows else None,
        previous_cursor=encode_cursor(position_of(items[0])) if precedes else None,
    )


def encode_cursor(position: Position) -> str:
    """Return the cursor that names ``position``."""
    members = {"createdAt": _iso(position.created_at), "id": position.id}
    return base64.b64encode(orjson.dumps(members)).decode()


def decode_cursor(cursor: str, parameter: str) -> Position:
    """Return the position that ``cursor`` names.

    Raises ConfigurationError, whose message begins with the ``parameter`` of the cursor.
    """
    if not isinstance(cursor, str):
        raise _invalid_cursor(parameter, cursor, "it is not text")
    try:
        members: Any = orjson.loads(base64.b64decode(cursor, validate=True))
    except orjson.JSONDecodeError:
        raise _invalid_cursor(parameter, cursor, "there is no JSON in it") from None
    except (binascii.Error, ValueError):
        raise _invalid_cursor(parameter, cursor, "it is not Base64, or not all of it") from None
    found = members if isinstance(members, dict) else {}
    created_at, item_id = parse_iso(found.get("createdAt")), found.get("id")
    if created_at is None:
        raise _invalid_cursor(parameter, cursor, "its createdAt is no time")
    if not isinstance(item_id, str) or "\0" in item_id:
        raise _invalid_cursor(parameter, cursor, "its id is no text that PostgreSQL can hold")
    return Position(created_at, item_id)


def _invalid_cursor(parameter: str, cursor: object, reason: str) -> ConfigurationError:
    return ConfigurationError(
        f"{parameter}: {cursor!r:.80} is no cursor: {reason}. Pass on the next_cursor or"
        " previous_cursor of a page as it is."
    )


def _iso(moment: datetime) -> str:
    """Return ``moment`` in milliseconds, or in microseconds if it has any.

    owsuper stores times of creation in whole milliseconds. Other programs may store more, and the
    cursor must find such a row again.
    """
    if not moment.microsecond % 1000:
        return iso_ms(moment)
    return moment.astimezone(UTC).isoformat(timespec="microseconds")[:-6] + "Z"
