"""Pausing, resuming, triggering and backfilling a schedule."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from owsuper.client.schedules import Schedules
from owsuper.client.session import Session
from owsuper.dashboard.actions import performing
from owsuper.dashboard.actions.performing import Action, ActionAnswer
from owsuper.dashboard.schedule_reading import NOT_THERE, read_schedule
from owsuper.dashboard.visit import Handler, Visit, refuse
from owsuper.db.schedule_store import ScheduleStore

_SHOWN_RUNS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _ScheduleAction:
    """An action on a schedule. ``work`` gets what was typed, and the key of the action."""

    name: str
    verb: str
    effect: str
    work: Callable[[Schedules, str, Mapping[str, Any], Session, str], ActionAnswer]


def _pause(
    schedules: Schedules, name: str, _given: Mapping[str, Any], _session: Session, _key: str
) -> ActionAnswer:
    schedules.pause(name)
    return ActionAnswer(done=1, message="The schedule is paused.")


def _resume(
    schedules: Schedules, name: str, _given: Mapping[str, Any], _session: Session, _key: str
) -> ActionAnswer:
    schedules.resume(name)
    return ActionAnswer(done=1, message="The schedule fires again, from its next tick on.")


def _trigger(
    _schedules: Schedules, name: str, _given: Mapping[str, Any], session: Session, key: str
) -> ActionAnswer:
    """The run has the key as its id, so it is started once, however often this is called."""
    if not session.run(ScheduleStore(session.schema, session.namespace).trigger(name, key).run):
        return ActionAnswer(refused=1, message=NOT_THERE)
    return ActionAnswer(done=1, message="The run is started.", runs=(key,))


def _backfill(
    schedules: Schedules, name: str, given: Mapping[str, Any], _session: Session, _key: str
) -> ActionAnswer:
    since, until = (datetime.fromisoformat(given[each]) for each in ("since", "until"))
    started = [each.id for each in schedules.backfill(name, since=since, until=until)]
    if not started:
        return ActionAnswer(message="All ticks of that time have runs, or there are none.")
    message = f"Runs started: {len(started)}."
    return ActionAnswer(done=len(started), message=message, runs=tuple(started[:_SHOWN_RUNS]))


_KINDS: Final = (
    _ScheduleAction(
        name="pause-schedule",
        verb="Pause",
        effect="It fires no ticks until it is resumed. Its runs go on.",
        work=_pause,
    ),
    _ScheduleAction(
        name="resume-schedule",
        verb="Resume",
        effect="It fires from its next tick on. The ticks of the pause are left out.",
        work=_resume,
    ),
    _ScheduleAction(
        name="trigger-schedule",
        verb="Start a run of",
        effect="The run is due at once, whatever else runs. The timetable stays as it is.",
        work=_trigger,
    ),
    _ScheduleAction(
        name="backfill-schedule",
        verb="Backfill",
        effect="Starts the runs of past ticks that have none. All are due at once.",
        work=_backfill,
    ),
)


async def _confirm(kind: _ScheduleAction, visit: Visit, *, error: str = "") -> Response:
    performing.permit(visit)
    name = visit.field("schedule") or visit.query("schedule") or ""
    schedule, _ = await visit.read(lambda conn: read_schedule(visit, name, conn))
    return visit.render(
        "confirm_schedule.html",
        status=422 if error else 200,
        kind=kind,
        schedule=schedule,
        error=error,
        given={each: visit.field(each) for each in ("since", "until")},
        identity=performing.identity(visit),
    )


async def _perform(kind: _ScheduleAction, visit: Visit) -> Response:
    performing.permit(visit)
    name = visit.field("schedule")
    if not name:
        raise refuse("schedule: no schedule is named.")
    given: dict[str, str] = {}
    if kind.name == "backfill-schedule":
        try:
            given = {each: _moment(visit.field(each)) for each in ("since", "until")}
        except ValueError:
            return await _confirm(
                kind, visit, error="Write both times as 2026-03-01 12:00, in UTC."
            )
    action = Action(name=kind.name, target={"schedule": name}, arguments=given)
    work = partial(kind.work, visit.ow.schedules, name, given)
    return await performing.perform(visit, action, work)


def _moment(text: str) -> str:
    """Return a time in UTC, as ISO text. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip())
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


CONFIRMATIONS: Final[Mapping[str, Handler]] = {
    f"/actions/{kind.name}": partial(_confirm, kind) for kind in _KINDS
}
FORMS: Final[Mapping[str, Handler]] = {
    f"/actions/{kind.name}": partial(_perform, kind) for kind in _KINDS
}
