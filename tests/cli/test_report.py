"""The words for times and tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from owsuper.cli import report


@pytest.mark.parametrize(
    ("seconds", "words"),
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
def test_a_length_of_time_is_told_in_its_two_largest_units(seconds: float, words: str) -> None:
    assert report.span(seconds) == words


def test_times_are_told_in_utc() -> None:
    kathmandu = timezone(timedelta(hours=5, minutes=45))
    moment = datetime(2026, 1, 2, 3, 4, 5, 999999, UTC)
    assert report.moment(moment.astimezone(kathmandu)) == "2026-01-02 03:04:05Z"


def test_text_becomes_one_line_that_commands_no_terminal() -> None:
    assert report.plain("a\n b\t\tc") == "a b c"
    assert report.plain("naïve ☕") == "naïve ☕"
    assert report.plain("\x1b[2J\x07") == r"\x1b[2J\x07"
    assert report.plain("x" * 101) == "x" * 97 + "..."


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert report.table([("a", 1, "x"), ("bcd", 20, "")], right=(1,)) == ["a     1  x", "bcd  20"]
    assert report.table([]) == []
