"""How far back looks go, and how often."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from owsuper.db.claims import ALL, Scanned, ScanRange
from owsuper.supervisor.watermark import SHARE, STEPS, Watermark

EVERYTHING = ScanRange((ALL,), 0.0)


def seen(seconds: float, since: str = "then") -> Scanned:
    return Scanned((since,), seconds)


def after_all_steps(seconds: float) -> Watermark:
    """A horizon whose first looks, at time 0, took so long each."""
    watermark = Watermark(1)
    while not watermark.complete:
        watermark.look(0.0)
        watermark.looked(0.0, seen(seconds))
    return watermark


def test_the_first_looks_go_back_step_by_step_to_the_beginning_of_time() -> None:
    watermark, looks = Watermark(1), []
    while not watermark.complete:
        looks.append(watermark.look(0.0))
        watermark.looked(0.0, seen(1.0))
    assert looks == [
        ScanRange(("infinity",), STEPS[0]),
        *(ScanRange(("then",), step) for step in STEPS[1:-1]),
        EVERYTHING,
    ]


def test_a_look_begins_where_the_last_one_saw_the_first_run() -> None:
    watermark = after_all_steps(1.0)
    assert watermark.look(1.0) == ScanRange(("then",), STEPS[0])
    watermark.looked(1.0, seen(1.0, "later"))
    assert watermark.look(1.0) == ScanRange(("later",), STEPS[0])


def test_while_looking_is_cheap_nearly_every_look_is_a_full_one() -> None:
    watermark = after_all_steps(0.001)
    assert watermark.look(0.1) == EVERYTHING
    watermark.looked(0.1, seen(0.001))
    assert watermark.look(0.11) == ScanRange(("then",), STEPS[0])
    assert watermark.look(0.2) == EVERYTHING


def test_a_failed_look_tells_nothing_but_what_it_cost() -> None:
    watermark = after_all_steps(0.001)
    assert watermark.look(1.0) == EVERYTHING
    watermark.failed(1.5, 0.5)
    assert watermark.look(1.6) == ScanRange(("then",), STEPS[3])
    watermark.looked(1.6, seen(0.001))
    assert watermark.look(1.5 + SHARE * 0.5) == EVERYTHING


def test_a_look_that_hung_is_not_put_off_for_ever() -> None:
    watermark = after_all_steps(0.001)
    watermark.look(1.0)
    watermark.failed(1000.0, 999.0)
    assert watermark.look(1300.0) == EVERYTHING


@settings(max_examples=30, deadline=None)
@given(
    costs=st.lists(st.floats(1e-4, 2.0), min_size=len(STEPS) - 1, max_size=len(STEPS) - 1).map(
        sorted
    ),
    pause=st.floats(0.02, 0.2),
)
def test_looking_back_takes_a_bounded_share_of_the_time_and_is_never_given_up(
    costs: list[float], pause: float
) -> None:
    watermark, now, spent = Watermark(1), 0.0, 0.0
    full = []
    while now < 200.0:
        look = watermark.look(now)
        step = len(STEPS) - 1 if look == EVERYTHING else STEPS.index(look.back)
        took = costs[step - 1] if step else 0.0
        spent += took
        now += took
        if look == EVERYTHING:
            full.append(now)
        watermark.looked(now, seen(took))
        now += pause
    first = 2 * sum(costs)  # each step is taken once before its cost is known
    assert spent <= first + 200.0 * (len(STEPS) - 1) / SHARE
    gaps = [later - earlier for earlier, later in pairwise(full)]
    assert max(gaps, default=0.0) <= (SHARE + 2) * costs[-1] + sum(costs) + pause
    assert full
