"""The statements of the supervisor about schedules, as those of ``db.claims``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.core.schedules.spec import CatchUp, ScheduleSpec
from owsuper.core.schedules.tick import delay_of, key_of, run_id_of
from owsuper.db import times
from owsuper.db.claims import Call, Rows, text
from owsuper.db.statement import load

REMEMBERED: Final = 200
"""How many ticks of a schedule are kept in ``owsuper_ticks``."""
YIELDS_AFTER: Final = 180.0
"""Seconds after which a declaration that no worker confirms gives way to an older one."""
_DUE: Final = 100  # schedules in one look


@dataclass(frozen=True, slots=True, kw_only=True)
class DueSchedule:
    """A schedule with a tick to decide about, ``at``: one that is due, or a ``queued`` one."""

    name: str
    workflow_name: str
    cron: str | None
    every: float | None
    timezone: str
    start: datetime | None
    end: datetime | None
    jitter: float
    catch_up: CatchUp
    catch_up_limit: int
    at: datetime
    queued: bool


@dataclass(frozen=True, slots=True)
class ScheduleLook:
    """What a look has found at ``now`` of the database's clock.

    ``next_in`` is the number of seconds until the next tick, None if there is none to come.
    """

    now: datetime
    next_in: float | None
    queued: bool
    declared: bool
    due: list[DueSchedule]


class ScheduleQueries:
    """The statements for one schema and namespace."""

    def __init__(self, schema: str, namespace: str) -> None:
        self._namespace = namespace
        self._look = load("look_at_schedules", schema)
        self._fire = load("fire_tick", schema)
        self._declare = load("declare_schedules", schema)

    def look(self, but: Sequence[str] = ()) -> Call:
        """Find the schedules that are due, ``but`` for these names; see ``parse_look``."""
        return self._look, (self._namespace, _DUE, orjson.dumps(but).decode())

    def fire(self, due: DueSchedule, tick: datetime | None, following: datetime | None) -> Call:
        """Decide about the tick at this time; one row if nobody else has: its outcome.

        Without a ``tick``, it was missed. ``following`` is the next tick of the schedule.
        """
        at = due.at if tick is None else tick
        return self._fire, (
            self._namespace,
            due.name,
            due.at.isoformat(),
            None if tick is None else tick.isoformat(),
            None if following is None else following.isoformat(),
            run_id_of(self._namespace, due.name, due.workflow_name, at),
            "true" if due.queued else "false",
            key_of(due.name, at),
            delay_of(due.name, at, due.jitter),
            REMEMBERED,
        )

    def declare(
        self, declared: Sequence[tuple[ScheduleSpec, datetime | None]], modules: str
    ) -> Call:
        """Store what code declares, each with its next tick; see ``parse_declared``."""
        documents = [
            {**document(spec), "next_at": following, "fingerprint": spec.fingerprint}
            for spec, following in declared
        ]
        return self._declare, (
            self._namespace,
            orjson.dumps(documents).decode(),
            modules,
            YIELDS_AFTER,
        )


def document(spec: ScheduleSpec) -> dict[str, Any]:
    """Return a schedule as JSON for statements."""
    return {
        "name": spec.name,
        "workflow_name": spec.workflow_name,
        "version": spec.version,
        "cron": spec.cron,
        "every": spec.every,
        "timezone": spec.timezone,
        "start": spec.start,
        "end": spec.end,
        "jitter": spec.jitter,
        "catch_up": spec.catch_up,
        "catch_up_limit": spec.catch_up_limit,
        "overlap": spec.overlap,
        "takes_tick": spec.takes_tick,
        "input": None if spec.input is None else orjson.Fragment(spec.input),
        "config": orjson.Fragment(spec.config or "{}"),
    }


def parse_look(rows: Rows) -> ScheduleLook:
    """Return the result of ``look``."""
    [(now, next_in, queued, declared, due, waiting)] = rows
    found = [*orjson.loads(text(due)), *orjson.loads(text(waiting))]
    return ScheduleLook(
        now=times.read(text(now)),
        next_in=None if next_in is None else float(text(next_in)),
        queued=text(queued) == "t",
        declared=text(declared) == "t",
        due=[_due(each) for each in found],
    )


def _due(row: dict[str, Any]) -> DueSchedule:
    for name in ("start", "end", "at"):
        row[name] = None if row[name] is None else times.read(row[name])
    return DueSchedule(**row)


def parse_fired(rows: Rows) -> str | None:
    """Return the outcome of a tick; None if somebody else has decided about it."""
    return text(rows[0][0]) if rows else None


def parse_declared(rows: Rows) -> list[tuple[str, str]]:
    """Return the names of schedules, and what became of each."""
    return [(text(name), text(verdict)) for name, verdict in rows]
