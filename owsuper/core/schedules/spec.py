"""What a schedule is, as code, a client or a row of the database says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

import orjson

if TYPE_CHECKING:
    from owsuper.core.schedules.timetable import Timetable

CatchUp = Literal["none", "last", "all"]
Overlap = Literal["allow", "skip", "queue", "cancel_running"]
CATCH_UP: Final[tuple[CatchUp, ...]] = get_args(CatchUp)
OVERLAP: Final[tuple[Overlap, ...]] = get_args(Overlap)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleSpec:
    """A schedule. Of ``cron`` and ``every`` (seconds), one is given; ``jitter`` is in seconds.

    ``input`` is JSON, or None. With ``takes_tick``, runs get the tick in its place. ``config`` is
    what the runs store in theirs, as JSON, or None.
    """

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
    config: str | None = None

    def timetable(self) -> Timetable:
        """Return the times of the schedule. Raises as ``Timetable`` does."""
        from owsuper.core.schedules.timetable import Timetable  # few processes need it

        return Timetable(
            cron=self.cron,
            every=self.every,
            timezone=self.timezone,
            start=self.start,
            end=self.end,
        )

    @property
    def times(self) -> list[Any]:
        """What decides when the schedule is due, as JSON."""
        return [self.cron, self.every, self.timezone, _text(self.start), _text(self.end)]

    @property
    def fingerprint(self) -> str:
        """A text that differs from that of any other declaration of the schedule."""
        values = asdict(self) | {"start": _text(self.start), "end": _text(self.end)}
        return sha256(orjson.dumps(values, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
