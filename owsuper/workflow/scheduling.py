"""Schedules as programs declare and make them: the arguments, checked before anything is stored."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, TypedDict, TypeVar

import orjson

from owsuper.core import durations
from owsuper.core.durations import Duration
from owsuper.core.names import check_own_workflow_name
from owsuper.core.schedules import cron as crons
from owsuper.core.schedules import timetable
from owsuper.core.schedules.spec import CATCH_UP, OVERLAP, CatchUp, Overlap, ScheduleSpec
from owsuper.core.schedules.tick import Tick
from owsuper.errors import ConfigurationError, InvalidDuration
from owsuper.step.requests import Startable
from owsuper.workflow.input import encode_input, identify
from owsuper.workflow.run_config import config_of
from owsuper.workflow.signature import UnresolvedAnnotation

T = TypeVar("T")

CATCH_UP_LIMIT: Final = 100
_MOST_CAUGHT_UP: Final = 10_000
_LONGEST: Final = 100 * 366 * 86_400.0  # seconds
_LONGEST_JITTER: Final = 86_400.0  # seconds
_INTERVALS: Final = "1 second to 100 years"
_JITTERS: Final = "0 seconds to 1 day"
_LONGEST_NAME: Final = 200  # characters; a schedule's name stands in keys, tables and addresses


class Timing(TypedDict, total=False):
    """The keyword arguments of a schedule, wherever one is declared or made."""

    every: Duration | None
    timezone: str | None
    input: Any
    start: datetime | None
    end: datetime | None
    jitter: Duration | None
    catch_up: CatchUp
    catch_up_limit: int
    overlap: Overlap


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule that code declares. ``workflow`` is the one that it starts."""

    workflow: Startable[Any, Any]
    name: str
    cron: str | None
    timing: Timing

    def spec(self) -> ScheduleSpec:
        """Return the schedule. Raises as ``make`` does."""
        return make(self.name, self.workflow, self.cron, **self.timing)


def declare(workflow: object, name: str | None, cron: str | None, timing: Timing) -> Declaration:
    """Return the declaration of a schedule for a workflow. Raises as ``make`` does."""
    if not isinstance(workflow, Startable):
        raise ConfigurationError(
            f"schedule: {workflow!r:.80} is no workflow. Put @ow.schedule(...) above @ow.workflow."
        )
    declaration = Declaration(workflow, workflow.name if name is None else name, cron, timing)
    with contextlib.suppress(UnresolvedAnnotation):  # a class may be defined further down
        declaration.spec()  # raise now, in the traceback of the definition
    return declaration


def make(
    name: str,
    workflow: Startable[Any, Any] | str,
    cron: str | None = None,
    *,
    version: str | None = None,
    every: Duration | None = None,
    timezone: str | None = None,
    input: Any = None,
    start: datetime | None = None,
    end: datetime | None = None,
    jitter: Duration | None = None,
    catch_up: CatchUp = "last",
    catch_up_limit: int = CATCH_UP_LIMIT,
    overlap: Overlap = "allow",
) -> ScheduleSpec:
    """Return the schedule with these arguments; see ``OpenWorkflow.schedule``.

    Raises ConfigurationError, InvalidDuration, and InvalidData or NotSerializable for the input.
    """
    check_name(name)
    workflow_name, version = identify(workflow, version)
    if (cron is None) == (every is None):
        raise ConfigurationError(
            f"schedule {name!r}: pass either a cron text such as '0 3 * * *', or every='15m'"
        )
    if every is not None and timezone is not None:
        raise ConfigurationError(
            f"schedule {name!r}: timezone has no effect with every, which counts seconds. For times"
            " of the day, use a cron text."
        )
    first, last = _whole_second(start, "start"), _whole_second(end, "end")
    if first is not None and last is not None and first >= last:
        raise ConfigurationError(f"schedule {name!r}: end ({last}) is not after start ({first})")
    zone = "UTC" if timezone is None else timezone
    timetable.zone(zone)
    takes_tick = _takes_tick(workflow, input)
    raw = None if takes_tick else encode_input(workflow, input, "input")
    if takes_tick and isinstance(workflow, Startable):  # keys of limits are read from each tick
        config = config_of(workflow_name, None, workflow.priority)
    else:
        config = config_of(workflow, raw)
    return ScheduleSpec(
        name=name,
        workflow_name=workflow_name,
        version=version,
        cron=None if cron is None else crons.check(cron),
        every=None if every is None else _interval(every),
        timezone=zone,
        start=first,
        end=last,
        jitter=0.0 if jitter is None else _seconds(jitter, "jitter", 0, _LONGEST_JITTER, _JITTERS),
        catch_up=_choice(catch_up, "catch_up", CATCH_UP),
        catch_up_limit=_limit(catch_up_limit),
        overlap=_choice(overlap, "overlap", OVERLAP),
        takes_tick=takes_tick,
        input=None if raw is None else raw.decode(),
        config=None if config is None else orjson.dumps(config).decode(),
    )


def check_name(name: str) -> str:
    """Return ``name`` if a schedule can have it. Raises ConfigurationError."""
    try:
        check_own_workflow_name(name)
    except ConfigurationError as error:
        text = str(error).replace("Invalid workflow name", "Invalid name of a schedule")
        raise ConfigurationError(text) from None
    if len(name) > _LONGEST_NAME:
        raise ConfigurationError(
            f"Invalid name of a schedule {name!r:.60}: it has {len(name)} characters. Use at most"
            f" {_LONGEST_NAME}, with name=."
        )
    return name


def _takes_tick(workflow: Startable[Any, Any] | str, given: Any) -> bool:
    """Whether runs get the tick: a workflow that declares it, or is known by name alone."""
    if not isinstance(workflow, Startable):
        return given is None
    if not (workflow.takes_input and workflow.input_type is Tick):
        return False
    if given is not None:
        raise ConfigurationError(
            f"input: {workflow} takes the tick of its schedule. Leave the input out."
        )
    return True


def _whole_second(moment: datetime | None, parameter: str) -> datetime | None:
    if moment is None:
        return None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise ConfigurationError(
            f"{parameter}: expected an aware datetime, not {moment!r:.80}. Use"
            " datetime(..., tzinfo=...)."
        )
    return durations.in_utc(moment, parameter).astimezone(UTC).replace(microsecond=0)


def _interval(every: Duration) -> float:
    seconds = _seconds(every, "every", 1, _LONGEST, _INTERVALS)
    if seconds != int(seconds):
        raise ConfigurationError(f"every: {every!r:.60} is not a whole number of seconds")
    return seconds


def _seconds(value: Duration, parameter: str, least: float, most: float, bounds: str) -> float:
    try:
        seconds = durations.seconds(value)
    except InvalidDuration as error:
        raise InvalidDuration(f"{parameter}: {error}") from None
    if not least <= seconds <= most:
        raise ConfigurationError(f"{parameter}: {value!r:.60} must be from {bounds}")
    return seconds


def _limit(limit: int) -> int:
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= _MOST_CAUGHT_UP:
        raise ConfigurationError(
            f"catch_up_limit: {limit!r:.60} must be a whole number from 1 to {_MOST_CAUGHT_UP}"
        )
    return limit


def _choice(value: T, parameter: str, choices: tuple[T, ...]) -> T:
    if value not in choices:
        listed = ", ".join(repr(each) for each in choices)
        raise ConfigurationError(f"{parameter}: {value!r:.60} is none of {listed}")
    return value
