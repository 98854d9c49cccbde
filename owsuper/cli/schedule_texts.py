"""Schedules as people read them on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from owsuper import PastTick, ScheduleState, ScheduleStatus
from owsuper.cli.formatting import Layout, moment, plain, relative, span
from owsuper.cli.output import to_json
from owsuper.cli.tables import Column, fitted, table
from owsuper.client.worker_texts import title


def listing(schedules: Sequence[ScheduleStatus], layout: Layout) -> list[str]:
    """Return a heading, and a line for each schedule."""
    names = [plain(each.name, None) for each in schedules]
    workflows = [plain(title(each.workflow_name, each.version), None) for each in schedules]
    words = [plain(each.words, None) for each in schedules]
    upcoming = [_next(each) for each in schedules]
    previous = [_when(each.previous_at, each.read_at) for each in schedules]
    columns = [
        Column(heading="NAME", cells=names, rank=1, least=12, yields=2),
        Column(heading="STATE", cells=[each.state for each in schedules], rank=2, least=7),
        Column(heading="NEXT", cells=upcoming, rank=3, least=10),
        Column(heading="LAST", cells=previous, rank=5, least=10),
        Column(heading="WORKFLOW", cells=workflows, rank=6, least=12, yields=2),
        Column(heading="WHEN", cells=words, rank=4, least=20, yields=1),
    ]
    return fitted(columns, None if layout.full else layout.width)


def summary(schedule: ScheduleStatus) -> str:
    """Return when a schedule is due, and its next tick."""
    upcoming = "" if schedule.next_at is None else f"; next at {moment(schedule.next_at)}"
    return f"{plain(schedule.words, None)}{upcoming}"


def details(schedule: ScheduleStatus, ticks: Sequence[PastTick]) -> list[str]:
    """Return all about a schedule, and its latest ticks."""
    lines = table((f"{name}:", value) for name, value in _facts(schedule))
    if not ticks:
        return [*lines, "", "no tick yet"]
    rows = [(moment(tick.at), tick.outcome, tick.run_id or "") for tick in ticks]
    return [*lines, "", "latest ticks:", *(f"  {line}" for line in table(rows))]


def _facts(schedule: ScheduleStatus) -> Iterator[tuple[str, str]]:
    at = schedule.read_at
    yield "schedule", plain(schedule.name, None)
    yield "state", _state(schedule)
    yield "workflow", plain(title(schedule.workflow_name, schedule.version), None)
    yield "when", plain(schedule.words, None)
    if schedule.cron is not None:
        yield "cron", plain(schedule.cron, None)
    for name, value in (("start", schedule.start), ("end", schedule.end)):
        if value is not None:
            yield name, moment(value)
    if schedule.jitter:
        yield "jitter", span(schedule.jitter.total_seconds())
    yield "catch up", f"{schedule.catch_up} (at most {schedule.catch_up_limit})"
    yield "overlap", schedule.overlap
    yield "input", "the tick" if schedule.takes_tick else plain(to_json(schedule.input))
    if schedule.next_at is not None:
        yield "next", f"{moment(schedule.next_at)} ({relative(schedule.next_at, at)})"
    if schedule.previous_at is not None:
        yield "last", f"{moment(schedule.previous_at)} ({relative(schedule.previous_at, at)})"
    if schedule.queued:
        yield "queued", f"{len(schedule.queued)}, since {moment(schedule.queued[0])}"


def _state(schedule: ScheduleStatus) -> str:
    if schedule.state is ScheduleState.REMOVED and schedule.removed_at is not None:
        return f"removed from the code, {relative(schedule.removed_at, schedule.read_at)}"
    if schedule.state is ScheduleState.PAUSED and schedule.paused_at is not None:
        return f"paused, {relative(schedule.paused_at, schedule.read_at)}"
    if schedule.declared_in is not None:
        return f"{schedule.state}, declared in {plain(schedule.declared_in)}"
    return f"{schedule.state}, made by hand"


def _next(schedule: ScheduleStatus) -> str:
    if schedule.state is not ScheduleState.ACTIVE:
        return ""
    return _when(schedule.next_at, schedule.read_at)


def _when(when: datetime | None, at: datetime) -> str:
    return "" if when is None else relative(when, at)
