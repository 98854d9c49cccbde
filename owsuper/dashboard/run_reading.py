"""What the page of a run shows, read in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from psycopg import Connection

from owsuper.client import limit_reasons, models, post_mortem, waiting, why
from owsuper.client.models import Run, RunRetry, SkippedSignal, StepAttempt
from owsuper.client.post_mortem import PostMortem
from owsuper.client.reasons import Reason
from owsuper.client.workers import worker_from_row
from owsuper.client.workflow_status import read_pauses
from owsuper.core.durations import parse_iso
from owsuper.core.model import StepKind, StepStatus
from owsuper.dashboard.run_spans import began_at, is_lost
from owsuper.dashboard.values import ShownValue, shown_in_order
from owsuper.db.dashboard.run_page import (
    ATTEMPT_VALUES,
    RUN_VALUES,
    RunPageQueries,
    StartedRun,
    ValueLimits,
)
from owsuper.db.lists import ListQueries
from owsuper.db.pauses import PauseQueries
from owsuper.db.reports import LineRow, ProgressRow, ReportQueries
from owsuper.db.workers import WorkerQueries

MAX_ATTEMPTS: Final = 20_000
"""The most step attempts that a page reads; OpenWorkflow's limit is 1,000 a run."""

PAGE_SIZE: Final = 100
"""How many step attempts a page lists."""

LOG_LINES: Final = 200
"""How many log lines a page shows."""

_OF_RUN: Final = ValueLimits(stored=1_000_000, text=100_000)
_OF_ATTEMPT: Final = ValueLimits(stored=20_000, text=4_000)
_HIDDEN: Final = ValueLimits(stored=0, text=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedAttempt:
    """A step attempt in the list. ``number`` is its place in the run, from 1.

    ``attempt`` of a step begins with 1. ``took`` is in seconds: until now if ``growing``, None if
    it is not known. ``tried_again_at`` is when its step is tried again, if that is to come.
    """

    number: int
    attempt: int
    step: StepAttempt
    child: StartedRun | None
    took: float | None
    growing: bool
    lost: bool
    until: datetime | None
    tried_again_at: datetime | None
    values: Sequence[ShownValue]


@dataclass(frozen=True, slots=True)
class LogPlace:
    """Which log lines to show: those before the line ``before``, from ``level`` up."""

    before: int | None = None
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRun:
    """A run at the time ``at``; ``run`` has no input and no output, which are in ``values``.

    ``first`` is the place of the first of ``listed`` among all ``steps``. ``more``: the run has
    more step attempts than were read.
    """

    run: Run
    at: datetime
    reasons: Sequence[Reason]
    steps: Sequence[StepAttempt]
    more: bool
    first: int
    listed: Sequence[ListedAttempt]
    values: Sequence[ShownValue]
    retries: Sequence[RunRetry]
    deaths: Sequence[PostMortem]
    skipped: Sequence[SkippedSignal]
    progress: ProgressRow | None
    lines: Sequence[LineRow]
    earlier: int | None
    """The id of the first of ``lines``, if there are lines before it."""

    @property
    def children(self) -> int:
        """The number of runs that the steps have started."""
        return sum(step.child_run_id is not None for step in self.steps)

    @property
    def growing(self) -> bool:
        """Whether a step executes at the moment, so that the page changes with time alone."""
        return self.run.worker_id is not None and not self.run.status.is_terminal


class RunPages:
    """Reads pages of runs of one schema and namespace. With ``hide``, no value is read."""

    def __init__(self, schema: str, namespace: str, *, hide: bool) -> None:
        self._place = schema, namespace
        self._pages = RunPageQueries(schema, namespace)
        self._lists = ListQueries(schema, namespace)
        self._workers = WorkerQueries(schema, namespace)
        self._reports = ReportQueries(schema, namespace)
        self._pauses = PauseQueries(schema, namespace)
        self._hide = hide
        self._of_run = _HIDDEN if hide else _OF_RUN
        self._of_attempt = _HIDDEN if hide else _OF_ATTEMPT

    def read(self, conn: Connection[Any], run_id: str, first: int, logs: LogPlace) -> ShownRun:
        """Return the page that lists attempts from the place ``first``. Raises RunNotFound."""
        run = models.run_from_row(self._pages.run(run_id).run(conn))
        at, crashes = self._workers.standing(run_id).run(conn)
        found = self._pages.attempts(run_id, MAX_ATTEMPTS + 1).run(conn)
        steps = [models.attempt_from_row(run_id, row) for row, _ in found[:MAX_ATTEMPTS]]
        workers, pause = [], None
        if not run.status.is_terminal:
            workers = [worker_from_row(row) for row in self._workers.all().run(conn)]
            pause = read_pauses(self._pauses, conn).get(run.workflow_name)
        first = min(max(first, 0), max(len(steps) - 1, 0) // PAGE_SIZE * PAGE_SIZE)
        children = [child for _, child in found]
        values = self._pages.values(run_id, RUN_VALUES, self._of_run).run(conn)
        newest = self._pages.log_lines(
            run_id, before=logs.before, level=logs.level, limit=LOG_LINES + 1
        )
        lines = newest.run(conn)[::-1]
        limit = limit_reasons.read(conn, *self._place, run)
        if limit is not None and self._hide:
            limit = replace(limit, key="")  # it is a part of the input
        turns = limit_reasons.read_turns(conn, *self._place, run)
        if self._hide:
            turns = [replace(each, key="") for each in turns]
        may_skip = any(step.kind is StepKind.SIGNAL_WAIT for step in steps)
        return ShownRun(
            run=run,
            at=at,
            reasons=[
                *why.reasons(
                    run,
                    steps,
                    workers,
                    at,
                    suspect=crashes > 0,
                    pause=pause,
                    limit=limit,
                    turns=turns,
                )
            ],
            steps=steps,
            more=len(found) > MAX_ATTEMPTS,
            first=first,
            listed=self._listed(conn, run, at, steps, children, first),
            values=shown_in_order(values, RUN_VALUES, hide=self._hide),
            retries=[models.retry_from_row(row) for row in self._lists.retries(run_id).run(conn)],
            deaths=[
                post_mortem.from_row(run_id, row)
                for row in self._lists.post_mortems(run_id).run(conn)
            ],
            skipped=[
                models.skipped_from_row(run_id, row)
                for row in self._lists.skipped_signals(run_id).run(conn)
            ]
            if may_skip
            else [],
            progress=self._reports.progress(run_id).run(conn),
            lines=lines[-LOG_LINES:],
            earlier=lines[-LOG_LINES].id if len(lines) > LOG_LINES else None,
        )

    def _listed(
        self,
        conn: Connection[Any],
        run: Run,
        at: datetime,
        steps: Sequence[StepAttempt],
        children: Sequence[StartedRun | None],
        first: int,
    ) -> list[ListedAttempt]:
        page = range(first, min(first + PAGE_SIZE, len(steps)))
        ids = [steps[place].id for place in page]
        values = self._pages.attempt_values(run.id, ids, ATTEMPT_VALUES, self._of_attempt).run(conn)
        latest = {step.step_name: step.id for step in steps}
        due = _retries_due(run, steps, at)
        numbers: dict[str, int] = {}
        listed: list[ListedAttempt] = []
        for place, step in enumerate(steps[: page.stop]):
            numbers[step.step_name] = numbers.get(step.step_name, 0) + 1
            if place < first:
                continue
            last = latest[step.step_name] == step.id
            lost = is_lost(run, step, superseded=not last)
            growing = step.status is StepStatus.RUNNING and not lost
            end = at if growing else step.finished_at
            listed.append(
                ListedAttempt(
                    number=place + 1,
                    attempt=numbers[step.step_name],
                    step=step,
                    child=children[place],
                    took=None if end is None else (end - began_at(step)).total_seconds(),
                    growing=growing,
                    lost=lost,
                    until=waiting.until(step) if growing else None,
                    tried_again_at=due.get(step.step_name) if last else None,
                    values=shown_in_order(values.get(step.id, {}), ATTEMPT_VALUES, hide=self._hide),
                )
            )
        return listed


def _retries_due(run: Run, steps: Sequence[StepAttempt], at: datetime) -> dict[str, datetime]:
    """Return when failed steps are tried again, by name, at the earliest."""
    parked = waiting.parked(run, steps, at)
    if parked is None:
        return {}
    latest = {step.step_name: step for step in steps}
    due: dict[str, datetime] = {}
    for retry in parked.retries:
        error = latest[retry.step_name].error
        stored = None if error is None else parse_iso(error.retry_at)
        if stored is not None or parked.retry_due:
            due[retry.step_name] = stored or parked.due
    return due
