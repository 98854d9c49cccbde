"""What is to be done about a schedule that is due: which tick fires, and when the next one is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from owsuper.core.schedules.spec import CatchUp
from owsuper.core.schedules.timetable import Timetable

ON_TIME: Final = timedelta(seconds=60)
"""A tick that is not later than this, and is the latest, was not missed."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The tick that fires (None: those that are due were missed), and the next one."""

    tick: datetime | None
    following: datetime | None


def decide(
    timetable: Timetable, at: datetime, now: datetime, *, catch_up: CatchUp, limit: int
) -> Decision:
    """Decide about a schedule whose next tick was to be ``at``, which is not after ``now``.

    With ``catch_up="all"``, one tick fires and the following may be due, too.
    """
    # ``at`` counts, whatever this host would have computed: another host may know the zone better.
    number = limit if catch_up == "all" else 1
    later = timetable.latest(number, at + timedelta(microseconds=1), now)
    due = [at, *later][-number:]
    latest = due[-1]
    if catch_up == "none" and now - latest > ON_TIME:
        return Decision(None, timetable.next_after(latest))
    if catch_up == "all":
        return Decision(due[0], due[1] if len(due) > 1 else timetable.next_after(latest))
    return Decision(latest, timetable.next_after(latest))
