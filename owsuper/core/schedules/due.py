"""What is to be done about a schedule that is due: which tick fires, and when the next one is."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from owsuper.core.schedules.spec import CatchUp
from owsuper.core.schedules.timetable import Timetable

ON_TIME: Final = timedelta(seconds=60)
"""A tick that is not later than this, and is the latest, was not missed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The tick that fires (None: those that are due were missed), and the next one.

    With ``catch_up="all"``, ``missed`` are those after it that are due, too.
    """

    tick: datetime | None
    following: datetime | None
    missed: tuple[datetime, ...] = ()


def decide(
    timetable: Timetable,
    at: datetime,
    now: datetime,
    *,
    catch_up: CatchUp,
    limit: int,
    missed: Sequence[datetime] = (),
) -> Decision:
    """Decide about a schedule whose next tick was to be ``at``, which is not after ``now``.

    With ``catch_up="all"``, one tick fires and the following may be due, too. ``missed`` is that of
    an earlier decision about the schedule: so ticks by the thousand are sought once, not for each.
    """
    if catch_up == "all":
        due = list(missed[bisect_left(missed, at) :])
        if due[:1] == [at]:
            return _first_of(due, timetable)
    # ``at`` counts, whatever this host would have computed: another host may know the zone better.
    number = limit if catch_up == "all" else 1
    later = timetable.latest(number, at + timedelta(microseconds=1), now)
    due = [at, *later][-number:]
    if catch_up == "all":
        return _first_of(due, timetable)
    latest = due[-1]
    if catch_up == "none" and now - latest > ON_TIME:
        return Decision(None, timetable.next_after(latest))
    return Decision(latest, timetable.next_after(latest))


def _first_of(due: list[datetime], timetable: Timetable) -> Decision:
    first, *missed = due
    return Decision(first, missed[0] if missed else timetable.next_after(first), tuple(missed))
