"""What the heartbeat does with leases that it cannot renew."""

from __future__ import annotations

import threading
from typing import Any

from owsuper.child.heartbeat import Heartbeat, Leases


class HeldRun:
    """An execution, as far as the heartbeat sees it."""

    def __init__(self, final_write_sent: bool) -> None:
        self.run = self
        self.run_id = self.worker_id = "run"
        self.decided_outcome = None
        self.final_write_sent = final_write_sent
        self.lost = threading.Event()

    def abandon(self) -> None:
        self.lost.set()


class EmptyDatabase:
    """A database without any lease."""

    def run_once(self, ask: Any) -> Any:
        return ask(None)

    def extend(self, *_: Any) -> dict[str, bool]:
        return {}


def test_a_lease_that_cannot_be_renewed_is_lost_unless_the_final_write_is_on_its_way() -> None:
    ends, goes_on = HeldRun(final_write_sent=True), HeldRun(final_write_sent=False)
    executions: Any = {"ends": ends, "goes on": goes_on}
    database: Any = EmptyDatabase()
    leases = Leases(database, database, 0.03)
    heartbeat = Heartbeat(executions, database, leases, lambda _: None)
    heartbeat.start()

    assert goes_on.lost.wait(60)
    heartbeat.stop()
    assert not ends.lost.is_set()


def test_leases_are_renewed_at_once_on_request() -> None:
    held = HeldRun(final_write_sent=False)
    executions: Any = {"held": held}
    database: Any = EmptyDatabase()
    heartbeat = Heartbeat(executions, database, Leases(database, database, 3600.0), lambda _: None)
    heartbeat.start()

    heartbeat.renew_now()
    assert held.lost.wait(60)
    heartbeat.stop()
