"""The statements of clients about schedules, as those of ``db.clients``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson

from owsuper.core.schedules.spec import CatchUp, Overlap, ScheduleSpec
from owsuper.core.schedules.tick import key_of, run_id_of
from owsuper.db import schedules
from owsuper.db.clients import Operation, Rows
from owsuper.db.listen import SCHEDULES, workers_channel
from owsuper.db.statement import load


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """A row of ``owsuper_schedules``, read at ``now`` by the database. ``input`` is JSON."""

    now: datetime
    name: str
    workflow_name: str
    version: str | None
    cron: str | None
    every: float | None
    timezone: str
    start: datetime | None
    end: datetime | None
    jitter: float
    catch_up: CatchUp
    catch_up_limit: int
    overlap: Overlap
    takes_tick: bool
    input: str | None
    next_at: datetime | None
    previous_at: datetime | None
    queued: list[datetime]
    paused_at: datetime | None
    removed_at: datetime | None
    declared_in: str | None
    confirmed_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def spec(self) -> ScheduleSpec:
        """What the schedule is."""
        return ScheduleSpec(
            name=self.name,
            workflow_name=self.workflow_name,
            version=self.version,
            cron=self.cron,
            every=self.every,
            timezone=self.timezone,
            start=self.start,
            end=self.end,
            jitter=self.jitter,
            catch_up=self.catch_up,
            catch_up_limit=self.catch_up_limit,
            overlap=self.overlap,
            takes_tick=self.takes_tick,
            input=self.input,
        )


@dataclass(frozen=True, slots=True)
class Deletion:
    """What came of deleting a schedule. ``declared_in`` names the modules that declare it."""

    found: bool
    declared_in: str | None


class ScheduleStore:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._tell = (
            load("notify", schema),
            (workers_channel(schema, namespace), SCHEDULES),
        )
        self._list = load("list_schedules", schema)
        self._ticks = load("list_ticks", schema)
        self._create = load("create_schedule", schema)
        self._pause = load("pause_schedule", schema)
        self._resume = load("resume_schedule", schema)
        self._delete = load("delete_schedule", schema)
        self._start = load("start_scheduled", schema)

    def page(
        self, after: str | None = None, limit: int | None = None
    ) -> Operation[list[ScheduleRow]]:
        """Return at most ``limit`` schedules by name, those after the name ``after``."""
        call = (self._list, (self._namespace, None, after, limit))
        return Operation(
            (call,), lambda results: [ScheduleRow(*row) for row in results[0] if row[1] is not None]
        )

    def get(self, name: str) -> Operation[tuple[datetime, ScheduleRow | None]]:
        """Return the present time, and the schedule of this name, if there is one."""

        def parse(results: list[Rows]) -> tuple[datetime, ScheduleRow | None]:
            [row] = results[0]
            return row[0], None if row[1] is None else ScheduleRow(*row)

        return Operation(((self._list, (self._namespace, name, None, 1)),), parse)

    def ticks(
        self, name: str, limit: int
    ) -> Operation[list[tuple[datetime, str, str | None, datetime]]]:
        """Return the latest ticks: the time of each, its outcome, its run, when it was decided."""
        call = (self._ticks, (self._namespace, name, limit))
        return Operation((call,), lambda results: [(*row,) for row in results[0]])

    def create(
        self, spec: ScheduleSpec, next_at: datetime | None, *, paused: bool
    ) -> Operation[bool]:
        """Make a schedule; return whether there is an equal one now."""
        described = {
            **schedules.document(spec),
            "next_at": next_at,
            "fingerprint": spec.fingerprint,
        }
        call = (self._create, (self._namespace, orjson.dumps(described).decode(), paused))
        return Operation((call, self._tell), lambda results: bool(results[0]))

    def pause(self, name: str) -> Operation[bool]:
        """Pause a schedule; return whether there is one."""
        call = (self._pause, (self._namespace, name))
        return Operation((call, self._tell), lambda results: bool(results[0]))

    def resume(self, name: str, next_at: datetime | None) -> Operation[None]:
        """Resume a schedule, if it is paused."""
        call = (self._resume, (self._namespace, name, next_at))
        return Operation((call, self._tell), lambda _: None)

    def delete(self, name: str) -> Operation[Deletion]:
        """Delete a schedule that was made by hand, or that no code declares any more."""
        call = (self._delete, (self._namespace, name, schedules.YIELDS_AFTER))
        return Operation((call, self._tell), lambda results: Deletion(*results[0][0]))

    def trigger(self, name: str, run_id: str) -> Operation[bool]:
        """Start a run now; return whether there is such a schedule."""
        call = (self._start, (self._namespace, name, orjson.dumps([{"id": run_id}]).decode()))
        return Operation((call,), lambda results: bool(results[0]))

    def backfill(
        self, row: ScheduleRow, ticks: Sequence[tuple[datetime, datetime | None]]
    ) -> Operation[list[str]]:
        """Start the runs of past ticks, each with the tick before it; return those that are new."""
        runs = [
            {
                "id": run_id_of(self._namespace, row.name, row.workflow_name, at),
                "at": at,
                "previous": previous,
                "key": key_of(row.name, at),
            }
            for at, previous in ticks
        ]
        call = (self._start, (self._namespace, row.name, orjson.dumps(runs).decode()))
        return Operation((call,), lambda results: [str(each) for (each,) in results[0][1:]])
