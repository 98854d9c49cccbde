"""Statements of the dashboard about the whole queue: each reads a bounded number of index entries.

So they take as long for ten million runs as for one million.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from owsuper.core.model import RunStatus
from owsuper.db.clients import Operation, Rows
from owsuper.db.statement import load

MOST_NOW: Final = 50_000
"""The largest number of runs of a status that is counted exactly."""

MOST_RECENT: Final = 50_000
"""How many of the newest runs of a status are counted by their time of creation."""

MOST_FAILURES: Final = 2000
"""How many of the newest failed runs are counted by workflow."""

MOST_QUEUES: Final = 500
"""How many workflows, in each version, are looked at for due runs."""

MOST_DUE: Final = 5000
"""The largest number of due runs of a workflow, new or begun, that is counted exactly."""


@dataclass(frozen=True, slots=True)
class StatusCount:
    """``counted`` is exact, or if there are ``more``, as many at least.

    Then ``estimate`` is what the statistics of the database say of all namespaces, if anything.
    """

    counted: int
    more: bool = False
    estimate: int | None = None

    @property
    def shown(self) -> int:
        """The best number that is known."""
        return max(self.counted, self.estimate or 0) if self.more else self.counted


@dataclass(frozen=True, slots=True)
class RecentRuns:
    """The runs of a status that were created lately, by stretch of time: the oldest first.

    ``partial`` says that there were more than MOST_RECENT, so the first stretches are not counted.
    """

    counts: tuple[int, ...]
    partial: bool

    @property
    def total(self) -> int:
        """The number of all stretches."""
        return sum(self.counts)

    def last(self, stretches: int) -> RecentRuns:
        """Return the last stretches alone."""
        before = self.counts[:-stretches]
        return RecentRuns(self.counts[-stretches:], self.partial and not any(before))

    def joined(self, many: int) -> RecentRuns:
        """Return longer stretches, each of so many of these; the last one may have fewer."""
        starts = range(0, len(self.counts), many)
        counts = tuple(sum(self.counts[start : start + many]) for start in starts)
        return RecentRuns(counts, self.partial)


@dataclass(frozen=True, slots=True)
class WorkflowFailures:
    """The failed runs of a workflow among those that were read."""

    workflow: str
    count: int
    latest_at: datetime
    latest_id: str


@dataclass(frozen=True, slots=True)
class DueRuns:
    """Runs of a workflow and version that are due and that nobody owns, the first since ``oldest``.

    ``count`` is exact, or if there are ``more``, as many at least.
    """

    workflow: str
    version: str | None
    count: int
    oldest: datetime
    more: bool


@dataclass(frozen=True, slots=True)
class OddRun:
    """A run that needs a look. For ``kind`` and ``at`` see dashboard_attention."""

    kind: str
    run_id: str
    workflow: str
    version: str | None
    at: datetime


class OverviewQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._now = load("dashboard_now", schema)
        self._recent = load("dashboard_recent", schema)
        self._failures = load("dashboard_recent_failures", schema)
        self._queues = load("dashboard_queues", schema)
        self._attention = load("dashboard_attention", schema)

    def now(self) -> Operation[dict[str, StatusCount]]:
        """Return the number of runs by current status."""

        def parse(results: list[Rows]) -> dict[str, StatusCount]:
            found: dict[str, StatusCount] = {}
            for stored, count, estimate in results[0]:
                status = RunStatus(stored).current
                before = found.get(status, StatusCount(0))
                found[status] = StatusCount(
                    before.counted + min(count, MOST_NOW),
                    before.more or count > MOST_NOW,
                    (before.estimate or 0) + (estimate or 0) or None,
                )
            return found

        return Operation(((self._now, (self._namespace, MOST_NOW)),), parse)

    def recent(
        self, since: datetime, seconds: float, stretches: int
    ) -> Operation[Mapping[str, RecentRuns]]:
        """Return the runs created since then by current status, in stretches of these seconds."""

        def parse(results: list[Rows]) -> Mapping[str, RecentRuns]:
            counts: dict[str, list[int]] = {}
            read: dict[str, int] = {}
            for stored, beginning, count in results[0]:
                status = RunStatus(stored).current
                # Beyond the last: a time of creation that is ahead of the clock.
                place = min(round((beginning - since).total_seconds() / seconds), stretches - 1)
                counts.setdefault(status, [0] * stretches)[place] += count
                read[stored] = read.get(stored, 0) + count
            partial = {
                RunStatus(stored).current for stored, count in read.items() if count >= MOST_RECENT
            }
            return {
                status: RecentRuns(tuple(each), status in partial)
                for status, each in counts.items()
            }

        params = (self._namespace, since.isoformat(), seconds, MOST_RECENT)
        return Operation(((self._recent, params),), parse)

    def failures(self, since: datetime) -> Operation[list[WorkflowFailures]]:
        """Return the workflows of the newest failed runs created since then, the most first."""
        params = (self._namespace, since.isoformat(), MOST_FAILURES)
        return Operation(
            ((self._failures, params),),
            lambda results: [WorkflowFailures(*row) for row in results[0]],
        )

    def queues(self) -> Operation[list[DueRuns]]:
        """Return the due runs by workflow and version, those that wait longest first."""
        params = (self._namespace, MOST_QUEUES, MOST_DUE)
        return Operation(
            ((self._queues, params),),
            lambda results: [
                DueRuns(name, version, int(count), oldest, more)
                for name, version, count, oldest, more in results[0]
            ],
        )

    def attention(
        self, since: datetime, *, lapsed: float, far: float, most: int
    ) -> Operation[list[OddRun]]:
        """Return runs that need a look; seconds as in dashboard_attention, ``most`` of a kind."""
        params = (self._namespace, since.isoformat(), lapsed, far, most)
        return Operation(
            ((self._attention, params),), lambda results: [OddRun(*row) for row in results[0]]
        )
