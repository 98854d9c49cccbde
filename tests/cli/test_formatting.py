"""How times, texts and tables are formatted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from owsuper.cli import formatting, tables


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-3, "0ms"),
        (0.0004, "0ms"),
        (0.0123, "12ms"),
        (0.9994, "999ms"),
        (0.9996, "1.00s"),
        (9.876, "9.88s"),
        (59.99, "59.99s"),
        (59.996, "1m 0s"),
        (61.4, "1m 1s"),
        (3599.6, "1h 0m"),
        (2 * 3600 + 180, "2h 3m"),
        (86400 * 3 + 3600 * 4 + 59, "3d 4h"),
    ],
)
def test_a_length_of_time_has_its_two_largest_units(seconds: float, text: str) -> None:
    assert formatting.span(seconds) == text


def test_times_are_in_utc() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 1, 2, 3, 4, 5, 999999, UTC)
    assert formatting.moment(moment.astimezone(kathmandu)) == "2026-01-02 03:04:05Z"


def test_text_becomes_one_line_without_control_characters() -> None:
    assert formatting.plain("a\n b\t\tc") == "a b c"
    assert formatting.plain("naïve ☕") == "naïve ☕"
    assert formatting.plain("\x1b[2J\x07") == r"\x1b[2J\x07"
    assert formatting.plain("x" * 101) == "x" * 97 + "..."


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert tables.table([("a", 1, "x"), ("bcd", 20, "")], right=(1,)) == [
        "a     1  x",
        "bcd  20",
    ]
    assert tables.table([]) == []


def test_columns_are_aligned_as_a_terminal_shows_them() -> None:
    rows = [("注文", 1), ("☕ é", 20), ("e\u0301abc", 3)]
    assert tables.table(rows, right=(1,)) == ["注文   1", "☕ é  20", "e\u0301abc   3"]
    assert [formatting.columns_of(text) for text in ("abc", "注文", "🎉", "e\u0301")] == [
        3,
        4,
        2,
        1,
    ]
