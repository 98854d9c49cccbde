"""Which supervisor looks for due runs first, and that none leaves runs to others for ever."""

from __future__ import annotations

from collections import Counter
from unittest.mock import ANY, MagicMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owsuper.db.claims import Claimed, ScanResult
from owsuper.supervisor.peers import Peer, Workflow
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.turns import LONGEST_WAIT, PassingOn, Turns
from tests.supervisor.simulation import EVERYTHING, Fleet

RING = [str(number) for number in range(10_000, 14_000, 3)]


def fleet(*serving: frozenset[Workflow]) -> list[Turns]:
    """The turns of supervisors that know each other."""
    peers = [Peer(f"host-{number}", workflows) for number, workflows in enumerate(serving)]
    turns = [Turns(peer.supervisor_id) for peer in peers]
    for each, workflows in zip(turns, serving, strict=True):
        each.meet(peers, serving=workflows)
    return turns


def test_a_supervisor_that_knows_no_other_is_always_first() -> None:
    turns = Turns("host")
    assert {turns.wait(ring) for ring in RING} == {0.0}
    assert turns.scale("sweep") == 1


def test_each_notification_has_one_that_looks_first_and_others_at_growing_waits() -> None:
    turns = fleet(*[EVERYTHING] * 6)
    for ring in RING:
        waits = sorted(each.wait(ring) for each in turns)
        assert waits == pytest.approx([0.0, 0.005, 0.020, 0.080, 0.320, 1.280])


def test_no_wait_is_longer_than_two_seconds() -> None:
    turns = fleet(*[EVERYTHING] * 60)
    assert max(each.wait(ring) for each in turns for ring in RING[:50]) == LONGEST_WAIT == 2.0


def test_every_supervisor_is_first_for_about_its_share() -> None:
    turns = fleet(*[EVERYTHING] * 8)
    firsts = Counter(
        number for number, each in enumerate(turns) for ring in RING if each.wait(ring) == 0
    )
    assert len(firsts) == 8
    assert max(firsts.values()) < 3 * min(firsts.values())


NAMES = st.frozensets(st.sampled_from([("a", None), ("a", "2"), ("b", None), ("c", None)]))


@given(serving=st.lists(NAMES.filter(bool), min_size=1, max_size=8), ring=st.text())
def test_one_of_the_supervisors_of_each_workflow_looks_first(
    serving: list[frozenset[Workflow]], ring: str
) -> None:
    first = [each.wait(ring) == 0 for each in fleet(*serving)]
    for workflow in frozenset().union(*serving):
        assert any(
            is_first
            for is_first, workflows in zip(first, serving, strict=True)
            if workflow in workflows
        )


def test_those_off_call_have_their_turns_after_those_on_call() -> None:
    peers = [Peer(f"host-{number}", EVERYTHING, on_call=number < 3) for number in range(5)]
    turns = [Turns(peer.supervisor_id) for peer in peers]
    for each, peer in zip(turns, peers, strict=True):
        each.meet(peers, serving=EVERYTHING, on_call=peer.on_call)
    for ring in RING:
        waits = [each.wait(ring) for each in turns]
        assert sorted(waits[:3]) == pytest.approx([0.0, 0.005, 0.020])
        assert sorted(waits[3:]) == pytest.approx([0.080, 0.320])


def test_all_have_turns_in_what_is_passed_on_whether_they_are_on_call_or_not() -> None:
    peers = [Peer(f"host-{number}", EVERYTHING, on_call=number < 3) for number in range(5)]
    turns = [Turns(peer.supervisor_id) for peer in peers]
    for each, peer in zip(turns, peers, strict=True):
        each.meet(peers, serving=EVERYTHING, on_call=peer.on_call)
    for ring in RING:
        waits = sorted(each.wait(f"more:{ring}") for each in turns)
        assert waits == pytest.approx([0.0, 0.005, 0.010, 0.015, 0.020])


def test_a_supervisor_that_leaves_is_waited_for_no_more() -> None:
    turns = Turns("host-0")
    turns.meet([Peer("host-1", EVERYTHING)], serving=EVERYTHING)
    waits = {turns.wait(ring) for ring in RING}
    turns.meet([], serving=EVERYTHING)
    assert waits == {0.0, 0.005}
    assert {turns.wait(ring) for ring in RING} == {0.0}


def test_one_that_serves_other_workflows_is_first_until_it_has_met_the_others_again() -> None:
    turns = fleet(EVERYTHING, EVERYTHING)[1]
    turns.serve(tuple(EVERYTHING))
    assert {turns.wait(ring) for ring in RING} == {0.0, 0.005}
    turns.serve([("w", "2")])
    assert {turns.wait(ring) for ring in RING} == {0.0}


def test_a_shared_duty_is_done_about_as_often_by_all_together_as_by_one_alone() -> None:
    for count in (1, 2, 8, 32, 100):
        scales = sorted(each.scale("sweep") for each in fleet(*[EVERYTHING] * count))
        assert scales[:2] == [1, 2][:count]
        assert sum(1 / scale for scale in scales) < 2 + count / 32


# --- in simulated time, with the real policy ------------------------------------------------------


def steady(fleet: Fleet, runs: int, *, period: float = 0.05) -> float:
    """Start runs one after the other; return the claims of all supervisors for each."""
    fleet.run_until(10.0)
    before = fleet.claims
    for number in range(runs):
        fleet.insert(10.0 + number * period)
    fleet.run_until(10.0 + runs * period)
    return (fleet.claims - before) / runs


@pytest.mark.parametrize(("supervisors", "claims"), [(1, 2.1), (4, 4.5), (32, 6), (100, 8)])
def test_a_run_costs_a_few_claims_however_many_supervisors_there_are(
    supervisors: int, claims: float
) -> None:
    fleet = Fleet(*[EVERYTHING] * supervisors)
    assert steady(fleet, 200) <= claims
    assert max(run.waited for run in fleet.runs) < 0.002


def test_the_first_being_gone_costs_milliseconds() -> None:
    fleet = Fleet(*[EVERYTHING] * 8)
    fleet.supervisors[0].hung = True
    steady(fleet, 200)
    waited = sorted(run.waited for run in fleet.runs)
    assert waited[100] < 0.002
    assert waited[-1] < 0.007


def test_a_burst_of_runs_reaches_all_free_supervisors_within_milliseconds() -> None:
    fleet = Fleet(*[EVERYTHING] * 32, slots=4, run=1.0)
    fleet.run_until(10.0)
    for _ in range(128):
        fleet.insert(10.0)
    fleet.run_until(12.0)
    assert max(run.waited for run in fleet.runs) < 0.1


def turn(passing_on: PassingOn, now: float) -> str | None:
    """What it passes on if it is its turn at ``now``, and it has no room."""
    passing_on.on_turn()
    return passing_on.on_no_room(now)


def test_a_supervisor_without_room_passes_on_until_the_others_know() -> None:
    turns = fleet(EVERYTHING, EVERYTHING)
    passing_on = PassingOn(turns[0])
    assert turn(passing_on, 100.0) is not None
    assert turn(passing_on, 107.0) is not None
    assert turn(passing_on, 109.0) is None
    assert passing_on.on_claimed(110.0, more=False) is None
    assert turn(passing_on, 111.0) is not None


def test_a_turn_in_a_pause_is_passed_on_after_it() -> None:
    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    assert turn(passing_on, 100.0) is not None
    assert passing_on.on_no_room(100.2) is None
    assert turn(passing_on, 100.05) is None
    assert passing_on.pause_ends_at == pytest.approx(100.1)
    assert passing_on.on_no_room(100.1) is not None
    assert not passing_on.in_turn


def test_nothing_is_passed_on_after_a_pause_in_which_it_has_looked_or_another_has_passed_on() -> (
    None
):
    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    assert turn(passing_on, 100.0) is not None
    assert turn(passing_on, 100.05) is None
    passing_on.on_claim_sent()
    assert passing_on.on_no_room(100.2) is None
    assert turn(passing_on, 100.2) is not None
    assert turn(passing_on, 100.25) is None
    passing_on.on_heard(100.3, "more:1")
    assert passing_on.on_no_room(101.0) is None


def test_pauses_between_notifications_grow_until_a_claim_leaves_no_run_behind() -> None:
    def moments(begin: float) -> list[float]:
        times = [begin + number * 0.05 for number in range(40)]
        return [now - begin for now in times if passing_on.on_claimed(now, more=True) is not None]

    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    growing = pytest.approx([0.0, 0.1, 0.3, 0.7, 1.5], abs=0.051)
    assert moments(100.0) == growing
    assert passing_on.on_claimed(110.0, more=False) is None
    assert moments(120.0) == growing


def test_a_supervisor_that_knows_no_other_passes_nothing_on() -> None:
    passing_on = PassingOn(Turns("host"))
    assert turn(passing_on, 100.0) is None
    assert not passing_on.in_turn
    assert passing_on.on_claimed(100.0, more=True) is None


@pytest.mark.parametrize(
    ("supervisors", "run", "backlog", "notifications"), [(8, 0.01, 4000, 20), (32, 0.1, 2000, 32)]
)
def test_a_backlog_is_passed_on_a_few_times_neither_for_ever_nor_by_each_supervisor(
    supervisors: int, run: float, backlog: int, notifications: int
) -> None:
    fleet = Fleet(*[EVERYTHING] * supervisors, slots=4, run=run)
    fleet.run_until(10.0)
    for _ in range(backlog):
        fleet.insert(10.0)
    fleet.run_until(12.0)
    assert all(run.claimed_at is not None for run in fleet.runs)
    assert fleet.notifications < notifications


def test_after_another_has_passed_on_there_is_nothing_to_add_for_some_time() -> None:
    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    for _ in range(30):
        passing_on.on_heard(100.0, "more:1")
    assert passing_on.on_claimed(101.5, more=True) is None
    passing_on.on_due(101.5)
    assert passing_on.on_no_room(101.5) is None
    assert turn(passing_on, 101.5) is not None  # the others do not know
    assert passing_on.on_claimed(102.0, more=True) is not None


def test_after_a_pause_the_first_silence_is_short_again() -> None:
    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    for _ in range(30):
        passing_on.on_heard(100.0, "more:1")
    passing_on.on_heard(110.0, "more:1")
    assert passing_on.on_claimed(110.01, more=True) is not None


def test_its_own_notification_and_those_of_new_runs_silence_nobody() -> None:
    passing_on = PassingOn(fleet(EVERYTHING, EVERYTHING)[0])
    own = passing_on.on_claimed(100.0, more=True)
    assert own is not None
    for _ in range(30):
        passing_on.on_heard(100.0, own)
        passing_on.on_heard(100.0, "4711")
    assert passing_on.on_claimed(100.2, more=True) is not None


def test_half_of_the_supervisors_being_gone_costs_less_than_a_poll_interval() -> None:
    fleet = Fleet(*[EVERYTHING] * 8, poll=60.0)
    for supervisor in fleet.supervisors[::2]:
        supervisor.hung = True
    steady(fleet, 200, period=2.5)  # so that no run is found on the way
    assert max(run.waited for run in fleet.runs) < 0.35


def test_a_supervisor_whose_slots_are_all_busy_costs_milliseconds() -> None:
    fleet = Fleet(*[EVERYTHING] * 4)
    fleet.supervisors[0].busy = fleet.supervisors[0].slots
    steady(fleet, 200, period=2.5)
    assert max(run.waited for run in fleet.runs) < 0.022


def test_most_supervisors_having_become_busy_unnoticed_costs_milliseconds() -> None:
    fleet = Fleet(*[EVERYTHING] * 32, slots=1, poll=60.0)
    for supervisor in fleet.supervisors[:28]:
        supervisor.busy = supervisor.slots
    steady(fleet, 60, period=0.1)
    waited = sorted(run.waited for run in fleet.runs)
    assert waited[30] < 0.04
    assert waited[-1] < 0.2


def test_timers_are_punctual_and_do_not_wake_all_supervisors() -> None:
    fleet = Fleet(*[EVERYTHING] * 32)
    fleet.run_until(10.0)
    for number in range(200):
        fleet.insert(10.0 + number * 0.001, due_in=20.0 + number * 0.05)
    fleet.run_until(29.0)
    before = fleet.claims
    fleet.run_until(42.0)
    assert max(run.waited for run in fleet.runs) < 0.002
    assert (fleet.claims - before) / 200 < 10


def test_a_supervisor_that_keeps_watch_for_a_due_time_and_dies_is_made_up_for() -> None:
    fleet = Fleet(*[EVERYTHING] * 4, poll=60.0)
    fleet.run_until(10.0)
    for number in range(100):
        fleet.insert(10.0 + number, due_in=50.0)
    fleet.run_until(59.0)
    fleet.supervisors[2].hung = True
    fleet.run_until(170.0)
    assert max(run.waited for run in fleet.runs) < 0.5


TRANSACTIONS = st.lists(
    st.tuples(
        st.floats(0.0, 0.2),  # after the one before
        st.sampled_from([0.0005, 0.001, 0.003, 0.02, 0.3]),  # the commit takes
        st.sampled_from([0.0, 0.0, 0.0, 0.01, 0.4, 3.0]),  # due in
        st.booleans(),  # lost
    ),
    min_size=1,
    max_size=25,
)
FATES = st.lists(st.sampled_from(["well", "hung", "busy", "deaf"]), min_size=1, max_size=6)


@settings(max_examples=300, deadline=None)
@given(transactions=TRANSACTIONS, fates=FATES, run=st.sampled_from([0.001, 0.05, 1.0]))
def test_no_due_run_is_left_beyond_a_poll_interval_whatever_is_lost_gone_or_busy(
    transactions: list[tuple[float, float, float, bool]], fates: list[str], run: float
) -> None:
    poll = 5.0
    fleet = Fleet(*[EVERYTHING] * (len(fates) + 1), slots=50, poll=poll, run=run)
    for supervisor, fate in zip(fleet.supervisors, fates, strict=False):
        supervisor.hung = fate == "hung"
        supervisor.hears = fate != "deaf"
        supervisor.busy = supervisor.slots if fate == "busy" else 0
    moment, anything_lost = 10.0, False
    for pause, takes, due_in, lost in transactions:
        moment += pause
        fleet.insert(moment, commit_takes=takes, due_in=due_in, lost=lost)
        anything_lost = anything_lost or lost
    fleet.run_until(moment + 30.0)
    assert all(each.claimed_at is not None for each in fleet.runs)
    bound = poll if anything_lost else LONGEST_WAIT
    assert max(each.waited for each in fleet.runs) <= bound + 0.01


# --- the parts together ---------------------------------------------------------------------------


def test_a_notification_reaches_the_policy_and_what_is_passed_on() -> None:
    pickup = MagicMock(_stopped=False)
    pickup._turns.wait.side_effect = {"more:1": 0.08}.get
    Pickup.claim_in_turn(pickup, "more:1")
    pickup._policy.on_runs_due.assert_called_once_with(ANY, wait=0.08)
    pickup._passing_on.on_heard.assert_called_once_with(ANY, "more:1")
    pickup._passing_on.on_turn.assert_not_called()


@pytest.mark.parametrize(("occasion", "turns"), [("4711", 1), ("more:1", 0), ("", 0)])
def test_a_notification_of_new_runs_may_be_the_turn_of_a_supervisor(
    occasion: str, turns: int
) -> None:
    pickup = MagicMock()
    pickup._turns.wait.return_value = 0.0
    Pickup.claim_in_turn(pickup, occasion)
    assert pickup._passing_on.on_turn.call_count == turns
    assert pickup._pass_on_turn.call_count == turns


@pytest.mark.parametrize(("complete", "quiet", "more"), [(True, False, False), (False, True, True)])
def test_what_a_claim_says_reaches_the_policy_and_the_other_workers(
    complete: bool, quiet: bool, more: bool
) -> None:
    pickup = Mock(_stopped=False, polls=0, polls_in_vain=0)
    pickup._turns.wait.side_effect = {"at": 0.08}.get
    scan = ScanResult(("a", "b"), 0.001)
    claimed = Claimed([], 4.0, "at", more=more, complete=complete, quiet=quiet, scan=scan)
    Pickup.on_claimed(pickup, claimed, limit=3)
    pickup._policy.on_claimed.assert_called_once_with(
        ANY, 0, limit=3, next_due=4.0, complete=complete, quiet=quiet, due_wait=0.08
    )
    pickup._passing_on.on_claimed.assert_called_once_with(ANY, more=more)
    pickup._pass_on.assert_called_once_with(pickup._passing_on.on_claimed.return_value)
