"""Prefetched runs: claimed, and waiting in the supervisor for a slot."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator

from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.fleet import Fleet


class PrefetchedRuns:
    """Two queues, first in, first out: suspects, which need a child of their own, and the rest."""

    def __init__(self) -> None:
        self._runs: deque[HeldRun] = deque()
        self._suspects: deque[HeldRun] = deque()

    def __len__(self) -> int:
        return len(self._runs) + len(self._suspects)

    def __iter__(self) -> Iterator[HeldRun]:
        yield from self._runs
        yield from self._suspects

    @property
    def suspects(self) -> Iterable[HeldRun]:
        """The suspects, which wait for a child of their own."""
        return self._suspects

    def add(self, runs: Iterable[HeldRun]) -> None:
        """Append these runs."""
        for held in runs:
            (self._suspects if held.run.suspect else self._runs).append(held)

    def assign_to(self, fleet: Fleet) -> None:
        """Assign to the fleet all runs that it has room for."""
        while self._suspects and fleet.assign(self._suspects[0]):
            self._suspects.popleft()
        while self._runs and fleet.assign(self._runs[0]):
            self._runs.popleft()
        if not self._suspects:
            fleet.release_reservations()

    def discard(self, worker_ids: frozenset[str]) -> int:
        """Forget the claims with these worker ids; return how many there were."""
        before = len(self)
        for queue in (self._runs, self._suspects):
            kept = [held for held in queue if held.run.worker_id not in worker_ids]
            queue.clear()
            queue.extend(kept)
        return before - len(self)

    def take_overdue(self, seconds: float) -> list[HeldRun]:
        """Remove and return the runs that have waited for ``seconds`` or longer.

        Suspects stay: a suspect may have to wait until a child is idle.
        """
        latest = time.monotonic() - seconds
        overdue = []
        while self._runs and self._runs[0].placed_at <= latest:
            overdue.append(self._runs.popleft())
        return overdue

    def take_all(self) -> list[HeldRun]:
        """Remove and return all runs."""
        runs = list(self)
        self._runs.clear()
        self._suspects.clear()
        return runs
