"""How far back a look for runs must go. Pure: told what looks saw and took, says where to look.

Runs are taken in the order of their due times, so what lies before those that are waiting now
has been taken, and need not be looked at again. It would be stepped over entry by entry: while
some transaction keeps vacuum from removing them, the entries of all runs of the last minutes or
hours stand at the head of the queue. So a look begins where the last one saw the first run.

That is a hint and no more. A run may turn up before that point: committed long after its due time
was written, given a due time in the past by somebody or by a clock that is wrong, restored by an
operator. So some looks go back further, by steps up to the beginning of time, as often as they
can afford it: a step is taken again when fifty times what it took has passed. While the entries
are few, which is nearly always, that is several times a second, and for a worker with little to
do every look is a full one. While they are many, it takes a few hundredths of the time.

All times are seconds on one monotonic clock.
"""

from __future__ import annotations

from typing import Final

from owsuper.db.claims import ALL, Scanned, ScanRange

# Seconds back from now. The first is for what is being committed; claim leaves as much.
STEPS: Final = (0.25, 4.0, 64.0, 1024.0, float("inf"))
SHARE: Final = 50
# A look that hung, or a server that did, must not keep us from looking back for hours.
_LONGEST: Final = 300.0


class Watermark:
    """One per kind of look; ``width`` is the number of queues that it begins to read anew."""

    def __init__(self, width: int) -> None:
        self._since = ("infinity",) * width  # nothing seen yet: the step alone decides
        self._ready = [0.0] * len(STEPS)
        self._took = [float("inf")] * len(STEPS)
        self._reached = 0  # the steps below were taken at least once
        self._out = 0  # the step of the look in flight

    @property
    def complete(self) -> bool:
        """Everything there is has been looked at, once at least."""
        return self._reached == len(STEPS)

    def look(self, now: float) -> ScanRange:
        """One at a time; ``looked`` or ``failed`` follows."""
        # Each step only after the one before it, lest the very first look take for ever.
        steps = range(1, min(self._reached + 1, len(STEPS)))
        self._out = max((step for step in steps if self._ready[step] <= now), default=0)
        if self._out == len(STEPS) - 1:
            return ScanRange((ALL,) * len(self._since), 0.0)
        return ScanRange(self._since, STEPS[self._out])

    def looked(self, now: float, seen: Scanned) -> None:
        self._since = seen.since
        self._reached = max(self._reached, self._out + 1)
        self._wait(now, seen.seconds)

    def failed(self, now: float, seconds: float) -> None:
        """There was no answer for so long."""
        self._wait(now, seconds)

    def _wait(self, now: float, seconds: float) -> None:
        # A look back is also one to every step on the way.
        for step in range(1, self._out + 1):
            took = seconds if step == self._out else min(seconds, self._took[step])
            self._took[step] = took
            self._ready[step] = now + min(SHARE * took, _LONGEST)
