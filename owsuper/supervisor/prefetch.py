"""Runs in hand: claimed, and waiting here for a slot. Their leases are ours to renew."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator

from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.fleet import Fleet


class PrefetchedRuns:
    """First come, first served; but a suspect that waits for a child of its own holds up nobody."""

    def __init__(self) -> None:
        self._runs: deque[HeldRun] = deque()
        self._suspects: deque[HeldRun] = deque()

    def __len__(self) -> int:
        return len(self._runs) + len(self._suspects)

    def __iter__(self) -> Iterator[HeldRun]:
        yield from self._runs
        yield from self._suspects

    def take(self, runs: Iterable[HeldRun]) -> None:
        for held in runs:
            (self._suspects if held.run.suspect else self._runs).append(held)

    def deal(self, fleet: Fleet) -> None:
        """Give away what the fleet has room for."""
        while self._suspects and fleet.assign(self._suspects[0]):
            self._suspects.popleft()
        while self._runs and fleet.assign(self._runs[0]):
            self._runs.popleft()
        if not self._suspects:
            fleet.release_reservations()

    def drop(self, worker_ids: frozenset[str]) -> None:
        """Forget claims that are no longer ours."""
        for queue in (self._runs, self._suspects):
            kept = [held for held in queue if held.run.worker_id not in worker_ids]
            queue.clear()
            queue.extend(kept)

    def waiting_longer_than(self, seconds: float) -> list[HeldRun]:
        """Take out what found no slot for so long. Suspects wait: only an idle child will do."""
        latest = time.monotonic() - seconds
        overdue = []
        while self._runs and self._runs[0].since <= latest:
            overdue.append(self._runs.popleft())
        return overdue

    def empty(self) -> list[HeldRun]:
        """Take everything out."""
        runs = list(self)
        self._runs.clear()
        self._suspects.clear()
        return runs
