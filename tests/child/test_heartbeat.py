"""What the heartbeat makes of leases that it could not renew."""

from __future__ import annotations

import threading
from typing import Any

from owsuper.child.heartbeat import Heartbeat, Leases


class HeldRun:
    """A pass, as far as the heartbeat sees it."""

    def __init__(self, final_write_sent: bool) -> None:
        self.run = self
        self.run_id = self.worker_id = "run"
        self.decided_outcome = None
        self.final_write_sent = final_write_sent
        self.lost = threading.Event()

    def abandon(self) -> None:
        self.lost.set()


class Nothing:
    """A database in which no lease is to be found any more."""

    def run_once(self, ask: Any) -> Any:
        return ask(None)

    def extend(self, *_: Any) -> dict[str, bool]:
        return {}


def test_a_lease_that_cannot_be_renewed_is_lost_unless_the_run_is_just_being_given_back() -> None:
    ends, goes_on = HeldRun(final_write_sent=True), HeldRun(final_write_sent=False)
    executions: Any = {"ends": ends, "goes on": goes_on}
    nothing: Any = Nothing()
    leases = Leases(nothing, nothing, 0.03)
    heartbeat = Heartbeat(executions, nothing, leases, lambda _: None)

    assert goes_on.lost.wait(10)
    heartbeat.stop()
    assert not ends.lost.is_set()


def test_leases_are_renewed_at_once_when_that_is_asked_for() -> None:
    held = HeldRun(final_write_sent=False)
    executions: Any = {"held": held}
    nothing: Any = Nothing()
    heartbeat = Heartbeat(executions, nothing, Leases(nothing, nothing, 3600.0), lambda _: None)

    heartbeat.renew_now()
    assert held.lost.wait(10)
    heartbeat.stop()
