"""What is counted in several processes adds up, whatever arrives when."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from owsuper.ipc.messages import Counted, FrameBuffer, encode
from owsuper.metrics import catalogue
from owsuper.metrics.catalogue import OTHER, RUN_SECONDS, RUNS, STEP_ATTEMPTS
from owsuper.metrics.tally import Tally

WORKFLOWS = st.sampled_from(["order", "refund", "mail", "audit"])
SECONDS = st.integers(0, 5000).map(float)  # whole numbers: their sums are exact in any order
EVENTS = st.lists(
    st.tuples(WORKFLOWS, st.sampled_from(["completed", "failed"]), SECONDS), max_size=30
)


def record(tally: Tally, events: list[tuple[str, str, float]]) -> None:
    for workflow, outcome, seconds in events:
        tally.count(RUNS, (workflow, outcome))
        tally.observe(RUN_SECONDS, seconds, (workflow,))


def contents(tally: Tally) -> tuple[object, object]:
    counted = tally.read()
    return (
        sorted(counted.counts),
        sorted(counted.distributions),
    )


@given(st.lists(st.tuples(st.integers(0, 2), EVENTS), max_size=10), st.randoms())
def test_what_children_report_in_parts_is_what_one_process_would_have_counted(
    reports: list[tuple[int, list[tuple[str, str, float]]]], random: Random
) -> None:
    children = [Tally(), Tally(), Tally()]
    alone, supervisor = Tally(), Tally()
    deltas: list[Counted] = []
    for child, events in reports:
        record(children[child], events)
        record(alone, events)
        deltas.append(children[child].take())
    random.shuffle(deltas)
    for delta in deltas:
        (arrived,) = FrameBuffer().feed(encode(delta))
        assert isinstance(arrived, Counted)
        supervisor.add(arrived)
    assert contents(supervisor) == contents(alone)
    assert not any(child.take() for child in children)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=60), st.integers(0, 8))
def test_beyond_the_limit_of_labels_the_sums_stay_right(
    steps: list[tuple[int, int]], limit: int
) -> None:
    child, supervisor = Tally(limit), Tally(limit)
    for workflow, step in steps:
        child.count(STEP_ATTEMPTS, (f"w{workflow}", f"s{step}", "completed"))
        supervisor.add(child.take())
    counted = supervisor.read().counts
    assert sum(number for _, _, number in counted) == len(steps)
    told_apart = {labels for _, labels, _ in counted} - {(OTHER, OTHER, "completed")}
    assert len(told_apart) == min(limit, len(set(steps)))
    expected = Counter((f"w{workflow}", f"s{step}", "completed") for workflow, step in steps)
    for _, labels, number in counted:
        assert labels[:2] == (OTHER, OTHER) or number == expected[labels]


def test_the_outcome_is_told_apart_even_beyond_the_limit() -> None:
    tally = Tally(1)
    tally.count(RUNS, ("order", "completed"))
    tally.count(RUNS, ("refund", "completed"))
    tally.count(RUNS, ("mail", "failed"))
    assert {labels: number for _, labels, number in tally.read().counts} == {
        ("order", "completed"): 1,
        (OTHER, "completed"): 1,
        (OTHER, "failed"): 1,
    }


def test_a_value_at_a_bound_is_within_it_and_what_is_beyond_all_bounds_is_counted() -> None:
    tally = Tally()
    for value in (1.0, 1.5, 201.0):
        tally.observe(catalogue.CLAIM_SIZES, value)
    [(_, _, total, buckets)] = tally.read().distributions
    assert total == 203.5
    assert buckets == (1, 1, 0, 0, 0, 0, 0, 0, 1)


def test_a_long_label_is_cut() -> None:
    tally = Tally()
    tally.count(STEP_ATTEMPTS, ("w" * 500, "s" * 500, "completed"))
    [(_, labels, _)] = tally.read().counts
    assert max(map(len, labels)) == 120


def test_long_labels_that_begin_alike_are_one_and_none_is_kept() -> None:
    tally = Tally()
    for number in range(1000):
        tally.count(STEP_ATTEMPTS, ("order", "s" * 120 + str(number), "completed"))
    assert [number for _, _, number in tally.read().counts] == [1000]
    assert not tally._as_they_are
