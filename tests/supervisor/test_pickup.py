"""Claimed runs that wait for a slot."""

from __future__ import annotations

from collections.abc import Iterator
from unittest.mock import ANY, MagicMock, Mock

import pytest

from owsuper.db.claims import Claimed, ScanResult
from owsuper.event_loop import NEVER, Loop
from owsuper.settings import Settings
from owsuper.supervisor import pickup as module
from owsuper.supervisor.pickup import Pickup


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop()
    yield loop
    loop.close()


@pytest.fixture
def claims() -> Mock:
    return Mock()


@pytest.fixture
def pickup(loop: Loop, claims: Mock) -> Pickup:
    turns = MagicMock()
    turns.wait.return_value = 0.0
    fleet = MagicMock()
    fleet.assign.return_value = False
    return Pickup(loop, fleet, claims, turns, Settings(), on_call=Mock(), mark=lambda run: run)


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
