"""Claims of workflows that bound how many of their runs one worker executes at once."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.db.claims import Claimed, ScanResult
from owsuper.supervisor.portions import ClaimRound, Portion, Portions, Workflow

PLAIN: tuple[Workflow, ...] = (("mail", None), ("order", None), ("order", "2"))
REPORT: tuple[Workflow, ...] = (("report", None), ("report", "2"))
NOTHING = Claimed(
    [], None, None, more=False, complete=True, quiet=True, scan=ScanResult(("a", "b"), 0.0)
)


def some(*names: str, **about: Any) -> Claimed:
    """An answer with runs of these workflows."""
    return replace(NOTHING, runs=[Mock(workflow_name=name) for name in names], **about)


def perform(claim: ClaimRound, waiting: Counter[str]) -> list[str]:
    """Answer the statements of a claim from what is waiting; return the names of what it takes."""
    taken: list[str] = []
    while (portion := claim.next()) is not None:
        limit, workflows = portion
        assert limit > 0
        due = [each for each in waiting.elements() if each in dict(workflows)][:limit]
        waiting.subtract(due)
        taken += due
        claim.add(some(*due))
    return taken


def test_without_bounds_a_claim_is_the_one_statement_that_it_ever_was() -> None:
    held = Mock()
    portions = Portions(dict, held)
    claim = portions.begin(7, PLAIN)
    assert claim.next() == (7, PLAIN)
    answer = some("mail", next_due=3.0)
    claim.add(answer)
    assert claim.next() is None
    assert claim.result() is answer
    held.assert_not_called()


def test_each_workflow_with_a_bound_has_a_statement_of_its_own_for_what_it_has_room_for() -> None:
    portions = Portions(lambda: {"report": 3, "mail": 1}, lambda: ["report", "order", "order"])
    claim = portions.begin(8, PLAIN + REPORT)
    statements = []
    while (portion := claim.next()) is not None:
        statements.append(portion)
        claim.add(NOTHING)
    assert sorted(statements) == sorted([(8, PLAIN[1:]), (2, REPORT), (1, PLAIN[:1])])


def test_workflows_with_limits_have_statements_of_their_own_and_each_is_the_first_in_turn() -> None:
    portions = Portions(lambda: {"report": 3}, list)
    rounds = []
    for _ in range(3):
        claim = portions.begin(8, PLAIN + REPORT, {"mail", "report"})
        statements = []
        while (portion := claim.next()) is not None:
            statements.append((claim.limited, *portion))
            claim.add(NOTHING)
        rounds.append(statements)
    assert {len(statements) for statements in rounds} == {3}
    expected = {(False, 8, PLAIN[1:]), (True, 8, PLAIN[:1]), (True, 3, REPORT)}
    assert all(set(statements) == expected for statements in rounds)
    assert {statements[0] for statements in rounds} == expected


def test_a_workflow_without_room_is_left_out_until_one_of_its_runs_ends() -> None:
    held = ["report", "report"]
    portions = Portions(lambda: {"report": 2}, lambda: held)
    assert perform(portions.begin(4, PLAIN + REPORT), Counter(report=9)) == []
    assert portions.awaits("report")
    assert not portions.awaits("mail")
    held.pop()
    assert perform(portions.begin(4, PLAIN + REPORT), Counter(report=9)) == ["report"]
    assert portions.awaits("report")
    held.pop()
    assert perform(portions.begin(4, PLAIN + REPORT), Counter(report=1)) == ["report"]
    assert not portions.awaits("report")


def test_when_nothing_has_room_an_empty_statement_tells_whether_to_look_again() -> None:
    portions = Portions(lambda: {"report": 1}, lambda: ["report"])
    claim = portions.begin(4, REPORT)
    assert claim.next() == (4, ())


def test_what_waits_for_room_is_not_looked_for_at_once() -> None:
    claim = ClaimRound(4, [Portion(REPORT, 2), Portion(PLAIN)], full := {"report"})
    assert claim.next() == (2, REPORT)
    claim.add(some("report", "report", next_due=0.0, due="1", more=True))
    assert claim.next() == (2, PLAIN)
    claim.add(some("mail", next_due=60.0, due="2", quiet=False))
    assert claim.next() is None
    assert full == {"report"}
    result = claim.result()
    assert [run.workflow_name for run in result.runs] == ["report", "report", "mail"]
    assert (result.next_due, result.due) == (60.0, "2")
    assert (result.more, result.complete, result.quiet) == (True, True, False)


def test_a_claim_that_ends_before_all_were_asked_has_not_seen_everything() -> None:
    claim = ClaimRound(1, [Portion(PLAIN), Portion(REPORT, 2)], set())
    claim.next()
    claim.add(some("mail", next_due=0.0))
    assert claim.next() is None
    result = claim.result()
    assert (len(result.runs), result.next_due) == (1, 0.0)
    assert not result.complete
    assert not result.quiet


def test_a_claim_of_which_a_statement_failed_has_not_seen_everything() -> None:
    claim = ClaimRound(4, [Portion(PLAIN), Portion(REPORT, 2)], set())
    claim.next()
    claim.add(some("mail"))
    assert claim.next() == (2, REPORT)
    result = claim.result()
    assert len(result.runs) == 1
    assert not result.complete
    assert not result.quiet


def test_a_run_that_ends_while_a_claim_is_in_flight_makes_room_for_another() -> None:
    held = ["report"]
    portions = Portions(lambda: {"report": 2}, lambda: held)
    claim = portions.begin(4, REPORT)
    assert claim.next() == (1, REPORT)
    assert portions.awaits("report")  # the held one ends now
    claim.add(some("report"))
    assert portions.awaits("report")


def test_what_is_paused_while_a_claim_is_in_flight_is_left_out_of_the_rest() -> None:
    paused: set[str] = set()
    mail = PLAIN[:1]
    portions = [Portion(mail), Portion(REPORT, 2), Portion(PLAIN)]
    claim = ClaimRound(4, portions, set(), paused=lambda: paused)
    assert claim.next() == (4, mail)
    paused |= {"report", "order"}
    claim.add(NOTHING)
    assert claim.next() == (4, mail)
    claim.add(NOTHING)
    assert claim.next() is None
    assert claim.result().complete


names = st.sampled_from("abcd")


@given(
    bounds=st.dictionaries(names, st.integers(1, 4), max_size=4),
    waiting=st.dictionaries(names, st.integers(0, 9)),
    turns=st.lists(st.tuples(st.integers(0, 6), st.integers(1, 8)), max_size=12),
)
def test_no_more_runs_are_held_than_the_bounds_allow(
    bounds: dict[str, int], waiting: dict[str, int], turns: list[tuple[int, int]]
) -> None:
    workflows = tuple((name, None) for name in "abcd")
    held: list[str] = []
    due = Counter(waiting)
    portions = Portions(lambda: bounds, lambda: held)
    for ended, limit in turns:
        del held[:ended]
        taken = perform(portions.begin(limit, workflows), due)
        held += taken
        assert len(taken) <= limit
        counts = Counter(held)
        assert all(counts[name] <= bound for name, bound in bounds.items())
        if len(taken) < limit:  # nothing is left that had room
            left = {name for name, number in due.items() if number}
            assert left <= {name for name, bound in bounds.items() if counts[name] == bound}
            assert all(portions.awaits(name) for name in left)


@given(st.dictionaries(names, st.integers(1, 4), min_size=1), st.integers(1, 3))
def test_nothing_starves(bounds: dict[str, int], limit: int) -> None:
    workflows = tuple((name, None) for name in "abcde")
    taken: Counter[str] = Counter()
    portions = Portions(lambda: bounds, list)
    backlog = Counter(dict.fromkeys("abcde", 1000))
    turns = len(bounds) + 1  # so many statements
    for _ in range(turns):
        taken.update(perform(portions.begin(limit, workflows), backlog))
    assert all(taken[name] for name in bounds)
    assert sum(taken[name] for name in "abcde" if name not in bounds)


def test_a_bound_of_a_workflow_that_is_not_served_divides_nothing() -> None:
    portions = Portions(lambda: {"report": 1}, list)
    claim = portions.begin(4, PLAIN)
    assert claim.next() == (4, PLAIN)
    claim.add(NOTHING)
    assert claim.next() is None


@pytest.mark.parametrize("answered", [0, 1])
def test_a_claim_knows_whether_it_has_found_runs(answered: int) -> None:
    claim = ClaimRound(3, [Portion(REPORT, 1), Portion(PLAIN)], set())
    claim.next()
    claim.add(some(*["report"] * answered))
    assert claim.found is bool(answered)
