"""Leases of the runs that the supervisor and its children hold."""

from __future__ import annotations

import time
from typing import Final

from owsuper.event_loop import Loop
from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.prefetched_runs import PrefetchedRuns

_RELEASE_LOST_DELAY: Final = 0.5  # seconds after a reconnect, which sends reliable statements first


class LeaseRenewal:
    """Renews the leases of prefetched runs, and of runs in children that are late.

    A child is late while a step holds the GIL, because the heartbeat needs the GIL too.
    ``lease_seconds`` is the length of a lease, ``period`` the seconds between two renewals.
    """

    def __init__(
        self,
        loop: Loop,
        claims: Claims,
        fleet: Fleet,
        prefetched: PrefetchedRuns,
        lease_seconds: float,
    ) -> None:
        self.period = min(1.0, lease_seconds / 10)
        self._release_lost_timer = loop.timers.add("release lost claims", self._release_lost)
        loop.timers.add("renew leases", self.renew_late, period=self.period).start()
        self._claims = claims
        self._fleet = fleet
        self._prefetched = prefetched
        self._lease_seconds = lease_seconds

    def held(self) -> list[HeldRun]:
        """Return all runs that the supervisor and its children hold."""
        return [*self._prefetched, *(held for child in self._fleet for held in child.held.values())]

    def renew_late(self) -> None:
        """Renew the leases of which half has passed."""
        self._renew(time.monotonic() - self._lease_seconds / 2)

    def on_connection_up(self) -> None:
        """Renew all leases, and then release the claims whose answers were lost."""
        self._renew(time.monotonic())
        self._release_lost_timer.after(_RELEASE_LOST_DELAY)

    def _release_lost(self) -> None:
        if not self._claims.connected:
            return  # the next reconnect starts the timer again
        if self._claims.claiming:
            self._release_lost_timer.after(_RELEASE_LOST_DELAY / 10)
        else:
            self._claims.release_lost(self.held())

    def check(self, run_id: str) -> None:
        """Renew the lease of a run that was probably canceled, to find out that it is lost."""
        for child in self._fleet:
            if any(held.run.run_id == run_id for held in child.held.values()):
                child.renew()
        # Here as well: it may be prefetched, or its step holds the GIL, and the child cannot renew.
        held_here = [held for held in self.held() if held.run.run_id == run_id]
        self._claims.renew(held_here, time.monotonic())

    def _renew(self, renewed_before: float) -> None:
        now = time.monotonic()
        late = [held for held in self.held() if held.renewed_at < renewed_before]
        self._claims.renew(late, now)
