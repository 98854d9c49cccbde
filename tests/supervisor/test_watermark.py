"""How far back scans go, and how often."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from owsuper.db.claims import ALL, ScanRange, ScanResult
from owsuper.supervisor.watermark import REST_FACTOR, STEPS, Watermark

SCAN_ALL = ScanRange((ALL,), 0.0)


def seen(seconds: float, since: str = "then") -> ScanResult:
    return ScanResult((since,), seconds)


def after_all_steps(seconds: float) -> Watermark:
    """A watermark whose first scans, at time 0, took ``seconds`` each."""
    watermark = Watermark(1)
    while not watermark.complete:
        watermark.next_range(0.0)
        watermark.on_scanned(0.0, seen(seconds))
    return watermark


def test_the_first_scans_go_back_step_by_step_to_the_beginning_of_time() -> None:
    watermark, ranges = Watermark(1), []
    while not watermark.complete:
        ranges.append(watermark.next_range(0.0))
        watermark.on_scanned(0.0, seen(1.0))
    assert ranges == [
        ScanRange(("infinity",), STEPS[0]),
        *(ScanRange(("then",), step) for step in STEPS[1:-1]),
        SCAN_ALL,
    ]


def test_a_scan_begins_where_the_last_scan_saw_its_first_run() -> None:
    watermark = after_all_steps(1.0)
    assert watermark.next_range(1.0) == ScanRange(("then",), STEPS[0])
    watermark.on_scanned(1.0, seen(1.0, "later"))
    assert watermark.next_range(1.0) == ScanRange(("later",), STEPS[0])


def test_while_scans_are_cheap_nearly_every_scan_is_a_full_one() -> None:
    watermark = after_all_steps(0.001)
    assert watermark.next_range(0.1) == SCAN_ALL
    watermark.on_scanned(0.1, seen(0.001))
    assert watermark.next_range(0.11) == ScanRange(("then",), STEPS[0])
    assert watermark.next_range(0.2) == SCAN_ALL


def test_a_failed_scan_leaves_the_watermark_and_counts_its_cost() -> None:
    watermark = after_all_steps(0.001)
    assert watermark.next_range(1.0) == SCAN_ALL
    watermark.on_scan_failed(1.5, 0.5)
    assert watermark.next_range(1.6) == ScanRange(("then",), STEPS[3])
    watermark.on_scanned(1.6, seen(0.001))
    assert watermark.next_range(1.5 + REST_FACTOR * 0.5) == SCAN_ALL


def test_a_scan_that_hung_is_repeated_after_a_bounded_rest() -> None:
    watermark = after_all_steps(0.001)
    watermark.next_range(1.0)
    watermark.on_scan_failed(1000.0, 999.0)
    assert watermark.next_range(1300.0) == SCAN_ALL


def test_a_run_with_a_due_time_long_past_is_looked_for_at_once_but_a_fifth_of_the_time() -> None:
    watermark = after_all_steps(1.0)
    assert watermark.looks_back_in(10.0) is None
    watermark.look_back()
    assert watermark.looks_back_in(1.0) == 3.0
    assert watermark.next_range(1.0) == ScanRange(("then",), STEPS[0])
    assert watermark.next_range(4.0) == SCAN_ALL
    assert watermark.looks_back_in(4.0) is None
    watermark.look_back()  # it may have been stored after the scan in flight began
    watermark.on_scanned(5.0, seen(1.0))
    assert watermark.looks_back_in(5.0) == 4.0


def test_a_look_back_that_fails_is_made_again() -> None:
    watermark = after_all_steps(1.0)
    watermark.look_back()
    assert watermark.next_range(4.0) == SCAN_ALL
    watermark.on_scan_failed(5.0, 1.0)
    assert watermark.looks_back_in(5.0) == 4.0


@settings(max_examples=30, deadline=None)
@given(
    costs=st.lists(st.floats(1e-4, 2.0), min_size=len(STEPS) - 1, max_size=len(STEPS) - 1).map(
        sorted
    ),
    pause=st.floats(0.02, 0.2),
)
def test_scans_back_take_a_bounded_share_of_the_time_and_never_cease(
    costs: list[float], pause: float
) -> None:
    watermark, now, spent = Watermark(1), 0.0, 0.0
    full = []
    while now < 200.0:
        scan = watermark.next_range(now)
        step = len(STEPS) - 1 if scan == SCAN_ALL else STEPS.index(scan.margin)
        took = costs[step - 1] if step else 0.0
        spent += took
        now += took
        if scan == SCAN_ALL:
            full.append(now)
        watermark.on_scanned(now, seen(took))
        now += pause
    first = 2 * sum(costs)  # each step is taken once before its cost is known
    assert spent <= first + 200.0 * (len(STEPS) - 1) / REST_FACTOR
    gaps = [later - earlier for earlier, later in pairwise(full)]
    assert max(gaps, default=0.0) <= (REST_FACTOR + 2) * costs[-1] + sum(costs) + pause
    assert full
