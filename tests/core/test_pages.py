"""Cursors as OpenWorkflow writes them, and the pages that they lead to."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from owsuper.core import pages
from owsuper.core.pages import Page, Position, Window
from owsuper.errors import ConfigurationError

VECTORS: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "vectors" / "cursors.json").read_text()
)
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.mark.parametrize("case", VECTORS["encode"], ids=lambda case: case["id"] or "empty")
def test_cursors_are_those_of_the_contract(case: dict[str, str]) -> None:
    position = Position(datetime.fromisoformat(case["created_at"]), case["id"])
    assert pages.encode_cursor(position) == case["cursor"]
    assert base64.b64decode(pages.encode_cursor(position)).decode() == case["json"]
    assert pages.decode_cursor(case["cursor"], "after") == position


def test_a_cursor_does_not_depend_on_the_time_zone() -> None:
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    assert pages.encode_cursor(Position(elsewhere, "a")) == pages.encode_cursor(Position(NOON, "a"))


def test_a_cursor_keeps_the_microseconds_of_a_time() -> None:
    position = Position(NOON + timedelta(microseconds=123456), "a")
    assert pages.decode_cursor(pages.encode_cursor(position), "after") == position


@pytest.mark.parametrize("case", VECTORS["pages"], ids=str)
def test_pages_are_those_of_the_contract(case: dict[str, Any]) -> None:
    position = Position(NOON, "given") if case["has_after"] or case["has_before"] else None
    window = Window(case["limit"], position, backward=case["has_before"])
    fetched = [Position(NOON, name) for name in case["fetched_row_ids_in_query_order"]]
    page = pages.make_page(window, fetched, lambda item: item)
    assert [item.id for item in page.items] == case["page_ids"]
    assert named(page.next_cursor) == case["next"]
    assert named(page.previous_cursor) == case["prev"]


def named(cursor: str | None) -> str | None:
    return None if cursor is None else pages.decode_cursor(cursor, "after").id


def test_a_page_is_a_value() -> None:
    assert Page((1,), "n", None) == Page((1,), "n", None)
    assert hash(Page((1,), "n", None)) == hash(Page((1,), "n", None))


# --- what is asked for -----------------------------------------------------------------------


def test_without_cursors_it_is_the_first_page() -> None:
    assert pages.make_window(10, None, None) == Window(10, None, backward=False)
    assert VECTORS["default_page_size"] == pages.PAGE_SIZE


def test_cursors_lead_in_either_direction() -> None:
    position = Position(NOON, "a")
    cursor = pages.encode_cursor(position)
    assert pages.make_window(10, cursor, None) == Window(10, position, backward=False)
    assert pages.make_window(10, None, cursor) == Window(10, position, backward=True)


def test_two_cursors_are_refused_as_the_contract_says() -> None:
    cursor = pages.encode_cursor(Position(NOON, "a"))
    with pytest.raises(ConfigurationError) as info:
        pages.make_window(10, cursor, cursor)
    assert str(info.value) == VECTORS["both_after_and_before_error"]


@pytest.mark.parametrize("limit", [0, -1, 1001, 1.5, "10", None, True])
def test_a_page_has_1_to_1000_items(limit: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"^limit: must be a whole number from 1 to 1000"):
        pages.make_window(limit, None, None)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("cursor", "complaint"),
    [
        ("", "there is no JSON in it"),
        ("next page", "it is not Base64, or not all of it"),
        (encoded('{"createdAt":"2026-01-02T03:04:05.678Z","id":"a"}')[:-3], "not Base64, or not"),
        ("é", "it is not Base64"),
        (encoded("createdAt"), "there is no JSON in it"),
        (encoded("[]"), "its createdAt is no time"),
        (encoded('{"id":"a"}'), "its createdAt is no time"),
        (encoded('{"createdAt":"yesterday","id":"a"}'), "its createdAt is no time"),
        (encoded('{"createdAt":1767323045678,"id":"a"}'), "its createdAt is no time"),
        (encoded('{"createdAt":"2026-01-02T03:04:05.678Z"}'), "its id is no text"),
        (encoded('{"createdAt":"2026-01-02T03:04:05.678Z","id":7}'), "its id is no text"),
        (encoded('{"createdAt":"2026-01-02T03:04:05.678Z","id":"\\u0000"}'), "its id is no text"),
        (7, "it is not text"),
    ],
)
def test_an_invalid_cursor_is_refused_with_the_reason(cursor: Any, complaint: str) -> None:
    for after, before, name in ((cursor, None, "after"), (None, cursor, "before")):
        with pytest.raises(ConfigurationError, match=rf"^{name}: .* is no cursor: .*{complaint}"):
            pages.make_window(10, after, before)
