"""The bars of a timeline: on the axis, side by side, and never too many."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.dashboard import timeline as module
from owsuper.dashboard.axis import LEAST, MOST, Axis, axis, read_zoom
from owsuper.dashboard.timeline import MAX_BARS, MAX_ROWS, Span, Timeline, lay_out
from owsuper.errors import ConfigurationError

HOUR = Axis(0.0, 3600.0)
TIMES = st.floats(-1e9, 1e9, allow_nan=False)


def span(begin: float, end: float, label: str = "charge", status: str = "completed") -> Span:
    return Span(label, "function", status, begin, end, f"{label} {begin:g}")


@st.composite
def spans(draw: st.DrawFn) -> list[Span]:
    def one() -> Span:
        begin = draw(TIMES | st.floats(0, 3600))
        length = draw(st.floats(0, 5000) | st.floats(0, 1e9))
        label = draw(st.sampled_from(["a", "a:1", "a:2", "b", "c"]))
        return span(begin, begin + length, label)

    return [one() for _ in range(draw(st.integers(0, 60)))]


def assert_drawable(timeline: Timeline) -> None:
    for row in timeline.rows:
        for lane in row.lanes:
            assert all(bar.x >= 0 and bar.width > 0 and bar.right <= 100.0001 for bar in lane)
            assert all(one.right <= other.x + 1e-9 for one, other in pairwise(lane))
    assert timeline.bars <= MAX_BARS
    assert len(timeline.rows) <= MAX_ROWS


@given(spans(), TIMES, st.floats(0.001, 1e9))
def test_bars_are_on_the_axis_and_do_not_overlap_in_a_lane(
    given_spans: list[Span], start: float, length: float
) -> None:
    window = axis(start, start + length)
    timeline = lay_out(given_spans, window)
    assert_drawable(timeline)
    counted = sum(bar.count for row in timeline.rows for lane in row.lanes for bar in lane)
    assert counted + timeline.outside == len(given_spans)


def test_a_bar_is_where_its_span_is() -> None:
    [row] = lay_out([span(900, 1800)], HOUR).rows
    [[bar]] = row.lanes
    assert (row.label, bar.x, bar.width, bar.title) == ("charge", 25.0, 25.0, "charge 900")


def test_a_bar_is_cut_at_the_ends_of_the_axis() -> None:
    [row] = lay_out([span(-50, 9999)], HOUR).rows
    [[bar]] = row.lanes
    assert (bar.x, bar.width, bar.begin, bar.end) == (0.0, 100.0, -50, 9999)


def test_spans_outside_the_axis_are_counted() -> None:
    timeline = lay_out([span(-2, -1), span(5000, 6000)], HOUR)
    assert (timeline.rows, timeline.outside) == ((), 2)


def test_spans_at_the_same_time_have_lanes_of_their_own() -> None:
    [row] = lay_out([span(0, 1800), span(900, 2700), span(1800, 3600)], HOUR).rows
    assert [[bar.begin for bar in lane] for lane in row.lanes] == [[0, 1800], [900]]


def test_a_span_that_took_no_time_can_be_seen_also_at_the_end() -> None:
    [row] = lay_out([span(3600, 3600)], HOUR).rows
    [[bar]] = row.lanes
    assert bar.width == pytest.approx(module.LEAST_WIDTH)
    assert bar.right == pytest.approx(100)


def test_short_spans_that_would_hide_each_other_are_folded_with_the_worst_status() -> None:
    tries = [span(n, n + 0.5, status="failed" if n == 3 else "completed") for n in range(10)]
    [row] = lay_out(tries, HOUR).rows
    [[bar]] = row.lanes
    assert (bar.count, bar.status, bar.begin, bar.end) == (10, "failed", 0, 9.5)
    assert module.folded_title(bar) == "10 bars: 9 completed, 1 failed"


def test_ten_thousand_attempts_of_one_step_are_folded() -> None:
    timeline = lay_out([span(n * 0.36, n * 0.36 + 0.3) for n in range(10_000)], HOUR)
    assert_drawable(timeline)
    assert sum(bar.count for row in timeline.rows for lane in row.lanes for bar in lane) == 10_000


def test_ten_thousand_steps_of_one_name_share_a_row() -> None:
    numbered = [span(n * 0.36, n * 0.36 + 0.3, f"page:{n}" if n else "page") for n in range(10_000)]
    timeline = lay_out([span(0, 3600, "first"), *numbered], HOUR)
    assert_drawable(timeline)
    assert [(row.label, row.steps) for row in timeline.rows] == [("first", 1), ("page", 10_000)]


def test_ten_thousand_names_leave_room_for_the_first_ones() -> None:
    named = [span(n * 0.36, n * 0.36 + 0.3, f"step {n}") for n in range(10_000)]
    timeline = lay_out(named, HOUR)
    assert_drawable(timeline)
    assert [row.label for row in timeline.rows[:2]] == ["step 0", "step 1"]
    assert (timeline.rows[-1].label, timeline.rows[-1].steps) == ("other steps", 9961)


def test_a_thousand_spans_at_the_same_time_are_folded_beyond_some_lanes() -> None:
    timeline = lay_out([span(n, 3000 + n, "map") for n in range(600)], HOUR)
    assert_drawable(timeline)
    assert len(timeline.rows[0].lanes) <= 6


def test_kinds_are_listed_once() -> None:
    sleep = Span("nap", "sleep", "waiting", 0, 5, "nap")
    assert module.legend(lay_out([span(0, 900), sleep, span(0, 900, "b")], HOUR)) == [
        ("function", "completed"),
        ("sleep", "waiting"),
    ]


def test_a_bar_that_is_wider_than_its_span_does_not_move_the_next_one_to_another_lane() -> None:
    [row] = lay_out([span(0, 1), span(1, 3600)], HOUR).rows
    [[first, second]] = row.lanes
    assert (second.x, second.right) == (first.right, 100)


# --- the axis ----------------------------------------------------------------------------------


@given(TIMES, st.floats(0, 1e9))
def test_ticks_are_on_the_axis_and_few(start: float, length: float) -> None:
    window = axis(start, start + length)
    ticks = window.ticks()
    assert len(ticks) <= 21
    assert all(window.start - 1e-6 <= tick <= window.end + 1e-6 for tick in ticks)


def test_ticks_are_round_times() -> None:
    assert Axis(0, 10).ticks() == (0, 2, 4, 6, 8, 10)
    assert HOUR.ticks() == (0, 900, 1800, 2700, 3600)


@given(st.floats(0.01, 100), st.floats(-2, 2), st.floats(0, 3599), st.floats(0.1, 3600))
def test_a_zoom_stays_within_the_whole(
    factor: float, share: float, start: float, length: float
) -> None:
    window = read_zoom(f"{start}", f"{min(start + length, 3600)}", HOUR)
    for changed in (window.zoomed(factor, HOUR), window.moved(share, HOUR)):
        assert changed.start >= HOUR.start - 1e-6
        assert changed.end <= HOUR.end + 1e-6
        assert changed.length >= LEAST / 2


def test_an_address_names_the_part_that_is_shown() -> None:
    assert read_zoom(None, None, HOUR) == HOUR
    assert read_zoom("1.5", None, HOUR) == Axis(1.5, 3600)
    assert read_zoom(None, "60", HOUR) == Axis(0, 60)


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "1e300", "1" * 500, "<b>"])
def test_an_address_with_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="give seconds since the run was created"):
        read_zoom(text, None, HOUR)


def test_an_address_whose_end_is_not_later_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="from 60 to 5 seconds: give a later end"):
        read_zoom("60", "5", HOUR)


def test_an_axis_is_neither_empty_nor_endless() -> None:
    assert axis(5, 5).length == pytest.approx(LEAST)
    assert axis(0, 1e300).length == MOST
