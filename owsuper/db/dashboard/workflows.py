"""Statements of the dashboard about workflows: names, numbers of runs, durations, steps.

Each reads a bounded number of runs of a workflow: the newest. What was read stands beside what was
found, so that a page can say which runs a figure is about.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from owsuper.core.model import RunStatus
from owsuper.db.clients import Operation, Rows
from owsuper.db.statement import load

MOST_COUNTED: Final = 2000
"""The largest number of runs of one workflow and status that is counted exactly."""

MOST_TIMED: Final = 1000
"""The number of completed runs of a workflow whose durations are read: the newest."""

MOST_RUNS: Final = 1000
"""The number of runs of a workflow whose steps are read: the newest that have ended."""

MOST_ATTEMPTS: Final = 100
"""The number of step attempts of a run that are read: the first."""


@dataclass(frozen=True, slots=True)
class Durations:
    """Durations in seconds of the ``runs`` that were read."""

    runs: int
    p50: float | None
    p95: float | None
    p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowStatistics:
    """The runs of one workflow.

    ``runs`` are the numbers by current status; a number above MOST_COUNTED says that there are
    more. ``lately`` are the numbers of those created at ``since`` or later. ``versions`` are those
    of the runs whose durations were read.
    """

    name: str
    runs: Mapping[str, int]
    lately: Mapping[str, int]
    since: datetime
    durations: Durations
    versions: tuple[str | None, ...]

    @property
    def failure_rate(self) -> float | None:
        """The share of failed runs of those that completed or failed lately; None without any."""
        failed = self.lately.get("failed", 0)
        ended = failed + self.lately.get("completed", 0)
        return failed / ended if ended else None


@dataclass(frozen=True, slots=True)
class StepStatistics:
    """The attempts of the steps of one name. Durations are in seconds, of attempts that ended."""

    name: str
    kind: str
    attempts: int
    failed: int
    p50: float | None
    p95: float | None
    longest: float | None

    @property
    def failure_rate(self) -> float:
        """The share of the attempts that failed."""
        return self.failed / self.attempts


@dataclass(slots=True)
class _Numbers:
    """``since`` is the same in all rows of a workflow."""

    since: datetime
    runs: dict[str, int] = field(default_factory=dict)
    lately: dict[str, int] = field(default_factory=dict)


class WorkflowLists:
    """The workflows of one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._names = load("dashboard_workflow_names", schema)
        self._counts = load("dashboard_workflow_counts", schema)
        self._durations = load("dashboard_workflow_durations", schema)
        self._steps = load("dashboard_workflow_steps", schema)

    def names(
        self, limit: int, *, after: str = "", known: Collection[str] = ()
    ) -> Operation[list[str]]:
        """Return names of workflows that have runs, and ``known`` ones: the first ``after`` one."""
        call = (self._names, (self._namespace, after, limit, list(known)))
        return Operation((call,), lambda results: [name for (name,) in results[0]])

    def statistics(
        self, names: Sequence[str], since: datetime
    ) -> Operation[dict[str, WorkflowStatistics]]:
        """Return the numbers of these workflows by name; durations of runs created ``since``."""
        common = (self._namespace, list(names), since.isoformat())
        calls = (
            (self._counts, (*common, MOST_COUNTED)),
            (self._durations, (*common, MOST_TIMED)),
        )

        def parse(results: list[Rows]) -> dict[str, WorkflowStatistics]:
            numbers: dict[str, _Numbers] = {}
            for name, status, runs, lately, counted_since in results[0]:
                of = numbers.setdefault(name, _Numbers(counted_since))
                current = RunStatus(status).current
                of.runs[current] = of.runs.get(current, 0) + runs
                of.lately[current] = of.lately.get(current, 0) + lately
            return {
                name: WorkflowStatistics(
                    name=name,
                    runs=numbers[name].runs,
                    lately=numbers[name].lately,
                    since=numbers[name].since,
                    durations=Durations(*durations),
                    versions=tuple(versions or ()),
                )
                for name, *durations, versions in results[1]
            }

        return Operation(calls, parse)

    def steps(self, workflow: str, since: datetime) -> Operation[list[StepStatistics]]:
        """Return the steps of runs of a workflow that were created ``since``, the slowest first."""
        params = (self._namespace, workflow, since.isoformat(), MOST_RUNS, MOST_ATTEMPTS)
        return Operation(
            ((self._steps, params),),
            lambda results: [StepStatistics(*row) for row in results[0]],
        )
