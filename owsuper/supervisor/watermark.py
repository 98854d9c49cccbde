"""How far back a scan for runs must go. Pure: takes what scans saw and cost, returns ranges.

Runs are taken in the order of their due times. So the runs before the first waiting run have been
taken already, and a scan need not read their index entries again. While a long transaction keeps
vacuum from removing these entries, the entries of the last minutes or hours stand at the head of
the queue, and a full scan steps over all of them. So a scan begins where the last scan saw its
first run: at the watermark.

The watermark is only a hint. A run may turn up before it: a run whose transaction committed long
after its due time, a run that was given a due time in the past, a run that an operator restored.
So some scans go back further, in steps, up to the beginning of time. A step is repeated after a
rest of fifty times its cost. While the entries are few, which is nearly always, that is several
times a second, and a worker with little to do scans everything each time. While the entries are
many, the steps take a few hundredths of the time.

All times are seconds on one monotonic clock.
"""

from __future__ import annotations

from typing import Final

from owsuper.db.claims import ALL, ScanRange, ScanResult

# Seconds back from now. The first step covers transactions that are committing now; the claim
# statement subtracts as much from the watermark.
STEPS: Final = (0.25, 4.0, 64.0, 1024.0, float("inf"))
REST_FACTOR: Final = 50  # the rest after a step, in units of its cost
_MAX_REST: Final = 300.0  # seconds; a scan that hung must not end scans back for hours


class Watermark:
    """The watermark of one kind of scan, which reads ``queues`` index ranges."""

    def __init__(self, queues: int) -> None:
        self._since = ("infinity",) * queues  # nothing seen yet: the step alone decides
        self._ready_at = [0.0] * len(STEPS)
        self._cost = [float("inf")] * len(STEPS)
        self._reached = 0  # every step below this one was taken at least once
        self._step = 0  # the step of the scan in flight

    @property
    def complete(self) -> bool:
        """Whether scans have covered every step at least once, back to the beginning of time."""
        return self._reached == len(STEPS)

    def next_range(self, now: float) -> ScanRange:
        """Return the range of the next scan; ``on_scanned`` or ``on_scan_failed`` follows."""
        # A step is possible only after the step before it, so that the first scan is short.
        steps = range(1, min(self._reached + 1, len(STEPS)))
        self._step = max((step for step in steps if self._ready_at[step] <= now), default=0)
        if self._step == len(STEPS) - 1:
            return ScanRange((ALL,) * len(self._since), 0.0)
        return ScanRange(self._since, STEPS[self._step])

    def on_scanned(self, now: float, scan: ScanResult) -> None:
        """The scan in flight succeeded."""
        self._since = scan.since
        self._reached = max(self._reached, self._step + 1)
        self._rest(now, scan.seconds)

    def on_scan_failed(self, now: float, seconds: float) -> None:
        """The scan in flight failed after ``seconds``."""
        self._rest(now, seconds)

    def _rest(self, now: float, seconds: float) -> None:
        # A scan back to one step covers all shorter steps.
        for step in range(1, self._step + 1):
            cost = seconds if step == self._step else min(seconds, self._cost[step])
            self._cost[step] = cost
            self._ready_at[step] = now + min(REST_FACTOR * cost, _MAX_REST)
