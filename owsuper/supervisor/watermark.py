"""How far back a scan for runs must go. Pure: takes what scans saw and cost, returns ranges.

Runs are taken in the order of their due times. So the runs before the first waiting run have been
taken already, and a scan need not read their index entries again. While a long transaction keeps
vacuum from removing these entries, the entries of the last minutes or hours stand at the head of
the queue, and a full scan steps over all of them. So a scan begins where the last scan saw its
first run: at the watermark.

The watermark is only a hint. A run may turn up before it: a run whose transaction committed long
after its due time, a run that was given a due time in the past, a run that an operator restored. A
run with a priority has a due time in the past from the beginning. So some scans go back further, in
steps, up to the beginning of time. A step is repeated after a rest of fifty times its cost. While
the entries are few, which is nearly always, that is several times a second, and a worker with
little to do scans everything each time. While the entries are many, the steps take a few hundredths
of the time.

A worker that hears of such a run looks back at once, but not more often than a fifth of the time.

All times are seconds on one monotonic clock.
"""

from __future__ import annotations

from typing import Final

from owsuper.db.claims import ALL, ScanRange, ScanResult

# Seconds back from now. The first step covers transactions that are committing now; the claim
# statement subtracts as much from the watermark.
STEPS: Final = (0.25, 4.0, 64.0, 1024.0, float("inf"))
REST_FACTOR: Final = 50  # the rest after a step, in units of its cost
EAGER_REST_FACTOR: Final = 4  # the same, if a run is known to have a due time long past
_MAX_REST: Final = 300.0  # seconds; a scan that hung must not end scans back for hours


class Watermark:
    """The watermark of one kind of scan, which reads ``queues`` index ranges."""

    def __init__(self, queues: int) -> None:
        self._since = ("infinity",) * queues  # nothing seen yet: the step alone decides
        self._ready_at = [0.0] * len(STEPS)
        self._cost = [float("inf")] * len(STEPS)
        self._reached = 0  # every step below this one was taken at least once
        self._step = 0  # the step of the scan in flight
        self._looking_back = False  # a run is known to have a due time before the watermark
        self._looks_back = False  # the scan in flight is for its sake
        self._eager_at = 0.0  # when a scan of everything is possible for its sake

    @property
    def complete(self) -> bool:
        """Whether scans have covered every step at least once, back to the beginning of time."""
        return self._reached == len(STEPS)

    def look_back(self) -> None:
        """Let a scan go back to the beginning soon: some run was given a due time long past."""
        self._looking_back = True

    def looks_back_in(self, now: float) -> float | None:
        """Return in how many seconds a scan for ``look_back`` is possible; None if none is due."""
        return max(0.0, self._eager_at - now) if self._looking_back else None

    def next_range(self, now: float) -> ScanRange:
        """Return the range of the next scan; ``on_scanned`` or ``on_scan_failed`` follows."""
        # A step is possible only after the step before it, so that the first scan is short.
        steps = range(1, min(self._reached + 1, len(STEPS)))
        self._step = max((step for step in steps if self._ready_at[step] <= now), default=0)
        if self._looking_back and self._eager_at <= now:
            self._step = len(STEPS) - 1
        if self._step == len(STEPS) - 1:
            self._looks_back, self._looking_back = self._looking_back, False
            return ScanRange((ALL,) * len(self._since), 0.0)
        self._looks_back = False
        return ScanRange(self._since, STEPS[self._step])

    def on_scanned(self, now: float, scan: ScanResult) -> None:
        """The scan in flight succeeded."""
        self._since = scan.since
        self._reached = max(self._reached, self._step + 1)
        self._rest(now, scan.seconds)

    def on_scan_failed(self, now: float, seconds: float) -> None:
        """The scan in flight failed after ``seconds``."""
        self._looking_back = self._looking_back or self._looks_back
        self._rest(now, seconds)

    def _rest(self, now: float, seconds: float) -> None:
        if self._step == len(STEPS) - 1:
            self._eager_at = now + min(EAGER_REST_FACTOR * seconds, _MAX_REST)
        # A scan back to one step covers all shorter steps.
        for step in range(1, self._step + 1):
            cost = seconds if step == self._step else min(seconds, self._cost[step])
            self._cost[step] = cost
            self._ready_at[step] = now + min(REST_FACTOR * cost, _MAX_REST)
