"""Schedules as programs see them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from owsuper.core import codec
from owsuper.core.schedules.spec import CatchUp, Overlap
from owsuper.db.schedule_store import ScheduleRow


class ScheduleState(StrEnum):
    """What a schedule does.

    ``removed``: it was declared in code that no longer declares it. ``ended``: no tick is to come.
    """

    ACTIVE = "active"
    PAUSED = "paused"
    REMOVED = "removed"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class PastTick:
    """A tick of a schedule, and what came of it at ``decided_at``.

    ``outcome`` is ``fired``, ``queued`` (its run starts when the run before it has ended),
    ``skipped`` (a run had not ended), ``paused`` (the workflow was), ``missed`` (nobody served; it
    may stand for several), ``triggered`` or ``backfilled`` (by hand). ``run_id`` is that of its
    run, if it has one.
    """

    at: datetime
    outcome: str
    run_id: str | None
    decided_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleStatus:
    """A schedule, as it was at ``read_at`` of the database's clock. Times are aware, in UTC.

    ``cron`` or ``every`` says when it is due, and ``words`` says so for people. ``next_at`` is the
    next tick, None if none is to come; ``previous_at`` is the latest that has started a run.
    ``queued`` are ticks that wait for a run to end. ``takes_tick``: runs get the tick, and no
    ``input``. ``declared_in`` names the modules of the code that declares it, None for one that was
    made by hand; ``confirmed_at`` is when a worker with this code was last there.
    """

    name: str
    state: ScheduleState
    workflow_name: str
    version: str | None
    words: str
    cron: str | None
    every: timedelta | None
    timezone: str
    start: datetime | None
    end: datetime | None
    jitter: timedelta
    catch_up: CatchUp
    catch_up_limit: int
    overlap: Overlap
    takes_tick: bool
    input: Any
    next_at: datetime | None
    previous_at: datetime | None
    queued: tuple[datetime, ...]
    paused_at: datetime | None
    removed_at: datetime | None
    declared_in: str | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime
    read_at: datetime


def schedule_from_row(row: ScheduleRow) -> ScheduleStatus:
    """Return the schedule of a row of ``owsuper_schedules``."""
    from owsuper.core.schedules.words import in_words  # few programs need it

    raw = None if row.input is None else row.input.encode()
    return ScheduleStatus(
        name=row.name,
        state=_state(row),
        workflow_name=row.workflow_name,
        version=row.version,
        words=in_words(row.cron, row.every, row.timezone),
        cron=row.cron,
        every=None if row.every is None else timedelta(seconds=row.every),
        timezone=row.timezone,
        start=row.start,
        end=row.end,
        jitter=timedelta(seconds=row.jitter),
        catch_up=row.catch_up,
        catch_up_limit=row.catch_up_limit,
        overlap=row.overlap,
        takes_tick=row.takes_tick,
        input=codec.decode(raw, path="input", owner=f'schedule "{row.name}"'),
        next_at=row.next_at,
        previous_at=row.previous_at,
        queued=tuple(row.queued),
        paused_at=row.paused_at,
        removed_at=row.removed_at,
        declared_in=row.declared_in,
        confirmed_at=row.confirmed_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        read_at=row.now,
    )


def _state(row: ScheduleRow) -> ScheduleState:
    if row.removed_at is not None:
        return ScheduleState.REMOVED
    if row.paused_at is not None:
        return ScheduleState.PAUSED
    return ScheduleState.ENDED if row.next_at is None else ScheduleState.ACTIVE
