"""Who listens for new runs: few of many, enough of each workflow, and everybody in doubt."""

from __future__ import annotations

from collections.abc import Collection
from unittest.mock import MagicMock, Mock, call

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from owsuper.db.statement import Result
from owsuper.supervisor.listener import Listener
from owsuper.supervisor.on_call import ENOUGH, LOOKS, NOTICED, SHORT, OnCall
from owsuper.supervisor.peers import Occupancy, Peer, Workflow
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.turns import LONGEST_WAIT
from tests.supervisor.simulation import EVERYTHING, Fleet

FREE = {"free": 4, "slots": 4}
OTHERS = [Peer(f"host-{number}", EVERYTHING, **FREE) for number in range(ENOUGH)]


def looks(
    on_call: OnCall,
    peers: list[Peer],
    begin: float,
    end: float,
    serving: Collection[Workflow] = EVERYTHING,
    busy: int = 3,
) -> None:
    """Look once a second. The others come before this supervisor, which has more to do."""
    for now in range(int(begin), int(end)):
        on_call.look(now, peers, serving=serving, free=1, slots=4, busy=busy)


@pytest.mark.parametrize(
    ("free", "slots", "expected"),
    [
        (0, 4, Occupancy.FULL),
        (1, 4, Occupancy.HIGH),
        (2, 4, Occupancy.LOW),
        (1, 1, Occupancy.LOW),
        (0, 0, Occupancy.FULL),
    ],
)
def test_a_supervisor_has_little_to_do_while_half_of_its_slots_are_free(
    free: int, slots: int, expected: Occupancy
) -> None:
    assert Peer("me", EVERYTHING, free=free, slots=slots).occupancy is expected


def test_a_supervisor_leaves_when_enough_others_have_been_on_call_for_some_looks() -> None:
    on_call = OnCall("me")
    on_call.on_change = Mock()
    assert on_call.stays
    looks(on_call, OTHERS, 100, 100 + LOOKS - 1)
    assert on_call.stays
    looks(on_call, OTHERS, 110, 111)
    assert not on_call.stays  # it says so, and listens until the others know
    looks(on_call, OTHERS, 111, 110 + NOTICED)
    assert on_call.on_call
    on_call.on_change.assert_not_called()
    looks(on_call, OTHERS, 110 + NOTICED, 111 + NOTICED)
    assert not on_call.on_call
    on_call.on_change.assert_called_once_with(False)


def gone() -> list[Peer]:
    return OTHERS[1:]


def leaving() -> list[Peer]:
    return [*OTHERS[1:], Peer("host-0", EVERYTHING, on_call=False, **FREE)]


def busier() -> list[Peer]:
    return [*OTHERS[1:], Peer("host-0", EVERYTHING, free=0, slots=4)]


def serving_less() -> list[Peer]:
    return [*OTHERS[1:], Peer("host-0", frozenset(), **FREE)]


@pytest.mark.parametrize("peers", [gone, leaving, busier, serving_less])
def test_a_look_that_finds_too_few_makes_a_supervisor_stay(peers: Mock) -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 110)
    assert not on_call.stays
    looks(on_call, peers(), 110, 111)
    assert on_call.stays
    looks(on_call, OTHERS, 111, 111 + LOOKS - 1)
    assert on_call.stays


@pytest.mark.parametrize("peers", [gone, busier, serving_less])
def test_a_supervisor_goes_on_call_at_the_first_look_that_finds_too_few(peers: Mock) -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130)
    assert not on_call.on_call
    on_call.on_change = Mock()
    looks(on_call, peers(), 130, 131)
    assert on_call.stays
    on_call.on_change.assert_called_once_with(True)


def test_the_next_in_the_order_goes_on_call_for_one_that_leaves_and_nobody_else() -> None:
    fleet = Fleet(*[EVERYTHING] * 20, looks=True)
    fleet.run_until(10.0)
    before = fleet.on_call
    assert len(before) == ENOUGH
    before[0].gone = True
    fleet.run_until(30.0)
    assert len(fleet.on_call) == ENOUGH + 1  # with the one that is gone
    assert fleet.changes == 1


def test_a_supervisor_is_on_call_at_once_when_it_serves_other_workflows() -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130)
    on_call.serve(tuple(EVERYTHING))
    assert not on_call.on_call
    on_call.serve([("w", "2")])
    assert on_call.stays


def test_in_doubt_a_supervisor_is_on_call() -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130)
    on_call.doubt()
    assert on_call.stays


def test_one_that_serves_what_no_other_serves_is_always_on_call() -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130, serving=[*EVERYTHING, ("mine", None)])
    assert on_call.stays


def test_more_are_on_call_where_more_is_to_do() -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130, busy=16)
    assert not on_call.on_call
    looks(on_call, OTHERS, 130, 131, busy=17)  # the others have 32 free slots
    assert on_call.stays


def test_when_several_others_have_no_room_a_supervisor_is_on_call_before_the_next_look() -> None:
    on_call = OnCall("me")
    looks(on_call, OTHERS, 100, 130)
    for moment in range(10):
        on_call.on_passed_on(130 + moment / 10, f"host-{moment % (SHORT - 1)}")
    assert not on_call.on_call
    on_call.on_passed_on(130 + 2 * NOTICED, f"host-{SHORT}")
    assert not on_call.on_call
    for number in range(SHORT):
        on_call.on_passed_on(150, f"host-{number}")
    assert on_call.stays


NAMES = st.frozensets(st.sampled_from([("a", None), ("a", "2"), ("b", None)]), min_size=1)


@settings(max_examples=100, deadline=None)
@given(
    serving=st.lists(NAMES, min_size=1, max_size=30),
    busy=st.lists(st.integers(0, 3), max_size=6),
)
def test_of_each_workflow_enough_are_on_call_and_one_looks_first(
    serving: list[frozenset[Workflow]], busy: list[int]
) -> None:
    fleet = Fleet(*serving, looks=True)
    for supervisor, slots in zip(fleet.supervisors, busy, strict=False):
        supervisor.busy = slots
    fleet.run_until(60.0)
    for workflow in frozenset[Workflow]().union(*serving):
        all_of_it = [each for each in fleet.supervisors if workflow in each.workflows]
        on_call = [each for each in all_of_it if each.on_call.on_call]
        assert len(on_call) >= min(ENOUGH, len(all_of_it))
        for ring in map(str, range(20)):
            assert any(each.turns.wait(ring) == 0 for each in on_call)
    everything = frozenset[Workflow]().union(*serving)
    if all(each == everything for each in serving) and not any(busy):
        assert len(fleet.on_call) == min(ENOUGH, len(serving))


# --- in simulated time, with the real policy ------------------------------------------------------


def test_a_run_wakes_those_on_call_and_no_others() -> None:
    fleet = Fleet(*[EVERYTHING] * 32, looks=True)
    fleet.run_until(10.0)
    assert fleet.heard == 0
    for number in range(100):
        fleet.insert(10.0 + number * 0.05)
    fleet.run_until(20.0)
    assert fleet.heard == 100 * ENOUGH
    assert max(run.waited for run in fleet.runs) < 0.002


def test_a_fleet_that_starts_settles_without_a_run_that_waits() -> None:
    fleet = Fleet(*[EVERYTHING] * 32, looks=True)
    for supervisor in fleet.supervisors:
        supervisor.on_call.doubt()
    for number in range(600):
        fleet.insert(0.5 + number * 0.05)
    fleet.run_until(35.0)
    assert len(fleet.on_call) == ENOUGH
    assert max(run.waited for run in fleet.runs) < 0.002


def test_those_on_call_being_full_costs_milliseconds_and_then_others_are_on_call() -> None:
    fleet = Fleet(*[EVERYTHING] * 20, poll=60.0, looks=True)
    fleet.run_until(10.0)
    full = fleet.on_call
    for supervisor in full:
        supervisor.busy = supervisor.slots
    for number in range(200):
        fleet.insert(10.0 + number * 0.5)
    fleet.run_until(120.0)
    waited = [run.waited for run in fleet.runs]
    assert sorted(waited)[100] < 0.002
    assert max(waited) < 0.2
    assert len([each for each in fleet.on_call if each not in full]) >= ENOUGH


def fill_those_on_call(fleet: Fleet, begin: float, end: float) -> None:
    """Let their slots be busy between these moments."""
    fleet.run_until(begin)
    full = fleet.on_call
    assert len(full) == ENOUGH
    for supervisor in full:
        supervisor.busy = supervisor.slots
    fleet.run_until(end)
    for supervisor in full:
        supervisor.busy = 0
        fleet.turn(supervisor)


def test_a_run_just_after_another_that_was_passed_on_is_passed_on_too() -> None:
    fleet = Fleet(*[EVERYTHING] * (ENOUGH + 2), poll=3600.0, run=30.0, looks=True)
    for moment in range(100, 2100, 100):
        fleet.insert(moment)
        fleet.insert(moment + 0.05)
        fill_those_on_call(fleet, moment - 0.01, moment + 20)
    assert max(run.waited for run in fleet.runs) < 0.2


def test_a_run_that_becomes_due_when_those_on_call_are_full_is_passed_on() -> None:
    fleet = Fleet(*[EVERYTHING] * (ENOUGH + 2), poll=3600.0, run=30.0, looks=True)
    for moment in range(100, 2100, 100):
        fleet.insert(moment, due_in=40.0)
        fill_those_on_call(fleet, moment + 39.99, moment + 60)
    assert max(run.waited for run in fleet.runs) < 0.2


@pytest.mark.parametrize("seen", [True, False])
def test_all_on_call_being_gone_at_once_costs_until_it_is_seen_and_no_poll_interval(
    seen: bool,
) -> None:
    poll = 30.0
    fleet = Fleet(*[EVERYTHING] * 20, poll=poll, looks=True)
    fleet.run_until(10.0)
    for supervisor in fleet.on_call:
        supervisor.gone, supervisor.hung = seen, not seen
    for number in range(200):
        fleet.insert(11.0 + number * 0.5)
    fleet.run_until(150.0)
    assert max(run.waited for run in fleet.runs) <= (2.0 if seen else poll) + 0.01


def test_load_that_comes_and_goes_moves_the_places_seldom_and_costs_no_run_much() -> None:
    fleet = Fleet(*[EVERYTHING] * 20, slots=4, run=0.9, looks=True)
    fleet.run_until(10.0)
    for number in range(6000):  # 45 of 80 slots are busy
        fleet.insert(10.0 + number * 0.02)
    fleet.run_until(135.0)
    waited = sorted(run.waited for run in fleet.runs)
    assert waited[3000] < 0.002
    assert waited[-1] < 2.0
    assert fleet.changes < 120 * 20 / 10  # each of them every ten seconds


FATES = st.lists(st.sampled_from(["well", "hung", "gone", "busy", "deaf"]), min_size=9, max_size=14)
INSERTS = st.lists(
    st.tuples(st.floats(0.0, 1.0), st.sampled_from([0.001, 0.02]), st.sampled_from([0.0, 3.0])),
    min_size=1,
    max_size=15,
)


@settings(max_examples=100, deadline=None)
@given(inserts=INSERTS, fates=FATES, run=st.sampled_from([0.001, 1.0]))
def test_no_due_run_is_left_beyond_a_poll_interval_whoever_is_gone_busy_or_deaf(
    inserts: list[tuple[float, float, float]], fates: list[str], run: float
) -> None:
    poll = 5.0
    fleet = Fleet(*[EVERYTHING] * (len(fates) + 1), slots=20, poll=poll, run=run, looks=True)
    fleet.run_until(10.0)
    for supervisor, fate in zip(fleet.supervisors, fates, strict=False):
        supervisor.hung, supervisor.gone = fate == "hung", fate == "gone"
        supervisor.hears = fate != "deaf"
        supervisor.busy = supervisor.slots if fate == "busy" else 0
    moment = 10.0
    for pause, takes, due_in in inserts:
        moment += pause
        fleet.insert(moment, commit_takes=takes, due_in=due_in)
    fleet.run_until(moment + 30.0)
    assert all(each.claimed_at is not None for each in fleet.runs)
    assert max(each.waited for each in fleet.runs) <= max(poll, LONGEST_WAIT) + 0.01


# --- the parts together ---------------------------------------------------------------------------


def test_other_workflows_are_reported_before_the_claim_that_looks_for_them() -> None:
    pickup = MagicMock(_workflows=None)
    parts, workflows = Mock(), (("w", None),)
    pickup._on_call, pickup._turns = parts.on_call, parts.turns
    pickup.claim_soon = parts.claim_soon
    Pickup.claim(pickup, workflows)
    serve = [call.on_call.serve(workflows), call.turns.serve(workflows)]
    assert parts.mock_calls == [*serve, call.claim_soon()]


def test_going_on_call_a_supervisor_looks_for_runs_once_it_listens() -> None:
    listener = MagicMock()
    listener._connection.refused.return_value = False
    Listener._follow(listener, True)
    [(statement, _, on_result)] = [each.args for each in listener._connection.send.mock_calls]
    assert statement is listener._listen
    listener._on_runs_due.assert_not_called()
    assert on_result == listener._handle_listening
    Listener._handle_listening(listener, Result([]))
    listener._on_runs_due.assert_called_once_with("")


def test_without_a_connection_nothing_is_sent_because_a_new_one_listens_for_all() -> None:
    listener = MagicMock()
    listener._connection.up = False
    Listener._follow(listener, True)
    Listener._follow(listener, False)
    listener._connection.send.assert_not_called()
