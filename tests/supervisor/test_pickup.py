"""Claimed runs that wait for a slot, and runs for which there is none."""

from __future__ import annotations

from itertools import count
from unittest.mock import ANY, MagicMock, Mock

import pytest

from owsuper.db.claims import Claimed, ScanResult
from owsuper.event_loop import NEVER, Loop
from owsuper.ipc.messages import Finished
from owsuper.settings import Settings
from owsuper.supervisor import pickup as module
from owsuper.supervisor.peers import Peer
from owsuper.supervisor.pickup import Pickup
from owsuper.supervisor.turns import Turns

WORKFLOWS = (("w", None),)
TURNS = Turns("me")
TURNS.meet([Peer("another", frozenset(WORKFLOWS))], serving=WORKFLOWS)
FIRST = next(ring for ring in map(str, count()) if TURNS.wait(ring) == 0)  # this one's turn


@pytest.fixture
def claims() -> Mock:
    return Mock()


@pytest.fixture
def fleet() -> MagicMock:
    fleet = MagicMock(free=1)
    fleet.assign.return_value = False
    return fleet


@pytest.fixture
def pickup(loop: Loop, claims: Mock, fleet: MagicMock) -> Pickup:
    return Pickup(loop, fleet, claims, TURNS, Settings(), on_call=Mock(), mark=lambda run: run)


@pytest.fixture
def notify(pickup: Pickup) -> Mock:
    pickup.notify = Mock()
    return pickup.notify


def claim(pickup: Pickup, *runs: Mock) -> None:
    scan = ScanResult(("a", "b"), 0.001)
    found = Claimed(list(runs), None, None, more=False, complete=True, quiet=True, scan=scan)
    pickup.on_claimed(found, limit=4)


def test_nothing_wakes_a_supervisor_for_prefetched_runs_that_it_does_not_have(
    loop: Loop, pickup: Pickup
) -> None:
    claim(pickup)
    assert loop.timers.earliest() == NEVER
    claim(pickup, Mock(suspect=False))
    assert loop.timers.earliest() < NEVER
    pickup.prefetched.take_all()
    loop.turn()
    assert loop.timers.earliest() == NEVER


def test_a_prefetched_run_that_gets_no_slot_is_released(
    loop: Loop, pickup: Pickup, claims: Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PREFETCH_TIMEOUT", 0.0)
    run = Mock(suspect=False)
    claim(pickup, run)
    loop.turn()
    claims.release.assert_called_once_with([ANY])
    assert claims.release.call_args.args[0][0].run is run
    assert not len(pickup.prefetched)


# --- passing on --------------------------------------------------------------------------------


def test_a_turn_without_room_is_passed_on_and_the_next_after_a_pause(
    loop: Loop, pickup: Pickup, fleet: MagicMock, notify: Mock
) -> None:
    fleet.free = 0
    for _ in range(3):
        pickup.claim_in_turn(FIRST)
    notify.assert_called_once()
    while notify.call_count < 2:
        loop.turn()
    assert loop.timers.earliest() == NEVER


def test_a_turn_with_room_is_not_passed_on(pickup: Pickup, claims: Mock, notify: Mock) -> None:
    pickup.claim_in_turn(FIRST)
    pickup.claim(WORKFLOWS)
    claims.claim.assert_called_once_with(1, WORKFLOWS)
    claim(pickup, Mock(suspect=False))
    notify.assert_not_called()


def test_a_turn_that_comes_while_a_claim_takes_the_last_slot_is_passed_on(
    pickup: Pickup, notify: Mock
) -> None:
    pickup.claim(WORKFLOWS)
    pickup.claim_in_turn(FIRST)
    notify.assert_not_called()
    claim(pickup, Mock(suspect=False))
    notify.assert_called_once()


def test_a_supervisor_that_has_stopped_passes_on_its_turns(pickup: Pickup, notify: Mock) -> None:
    pickup.stop()
    pickup.claim_in_turn(FIRST)
    notify.assert_called_once()


def test_a_run_that_is_due_is_passed_on_by_the_supervisor_that_keeps_watch_without_room(
    pickup: Pickup, fleet: MagicMock, notify: Mock
) -> None:
    fleet.free = 0
    pickup.claim(WORKFLOWS)
    notify.assert_not_called()
    pickup.on_run_finished(60.0, Finished(0, "run", "parked", due_in=0.0))
    pickup.claim(WORKFLOWS)
    pickup.claim(WORKFLOWS)
    notify.assert_called_once()
