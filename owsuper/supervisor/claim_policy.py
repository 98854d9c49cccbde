"""When to look for due runs, and for how many. Pure: told what happened, says what to do.

Reasons to look: the bell rang, or may have been missed (so look again soon after it, a few
times); a run is known to become due; the last look found as many runs as it asked for; or
nothing of all that for a whole poll interval. A reason is kept until there is room.

Room is the free slots, and beyond them a few runs to hold in hand: as many as the slots will
have finished before a claim can bring more. That is a batch while runs take milliseconds; one,
so that no slot waits for a claim, while one is sure to be free soon; and none while runs are
long, since another supervisor may have a slot for them. All times are seconds on one monotonic
clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A transaction that rang no bell because another one had it may commit after that other one:
# seconds after, where a disk or a synchronous standby is slow.
LOOK_AGAIN: Final = (0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0)
# Runs in hand should be gone within this time; it spans a few round trips to the database.
_IN_HAND: Final = 0.025
_SOON: Final = 0.15  # seconds until some slot is free; a claim takes a few thousandths
_LIMIT: Final = 200  # runs to a claim, and runs in hand
_NEVER: Final = float("inf")
_WEIGHT: Final = 0.2  # of the latest run in the average duration


@dataclass(frozen=True, slots=True)
class ClaimNow:
    """Look now, for so many runs at most."""

    count: int


@dataclass(frozen=True, slots=True)
class SleepFor:
    """Nothing to do for so long, unless something happens. Infinite while a claim is out."""

    seconds: float


class ClaimPolicy:
    """One per supervisor. Every method takes ``now`` first, which never goes back."""

    def __init__(self, *, slots: int, poll_interval: float) -> None:
        self._slots = slots
        self._poll_interval = poll_interval
        self._hungry = True  # there may be due runs that we have not looked for
        self._claiming = False
        self._next_poll = 0.0
        self._look_again: list[float] = []  # ascending
        self._due = _NEVER  # the earliest that we know of
        self._due_since = _NEVER  # the earliest that the claim in flight may not have seen
        self._run_seconds: float | None = None

    # --- what happened -------------------------------------------------------------------

    def rang(self, now: float) -> None:
        """The bell, or anything else after which due runs may turn up."""
        self._hungry = True
        self._look_again = [now + delay for delay in LOOK_AGAIN]

    def due(self, now: float, seconds: float) -> None:
        """A run becomes due in so many seconds."""
        self._due = min(self._due, now + seconds)
        self._due_since = min(self._due_since, now + seconds)

    def finished(self, seconds: float) -> None:
        """A run kept its slot for so long."""
        if self._run_seconds is None:
            self._run_seconds = seconds
        self._run_seconds += _WEIGHT * (seconds - self._run_seconds)

    def stuck(self) -> None:
        """Runs in hand had to be given back: hold none until runs prove short again."""
        self._run_seconds = None

    def claimed(self, now: float, count: int, *, asked: int, next_due: float | None) -> None:
        """The claim brought ``count`` runs; ``next_due`` seconds until another is due, if any.

        The database knows of every run, except of those whose due time we were told meanwhile.
        """
        self._claiming = False
        if count >= asked:
            self._hungry = True
        self._due = self._due_since
        if next_due is not None:
            self.due(now, next_due)

    def failed(self, now: float) -> None:
        """The claim brought an error; the next poll tries again."""
        self._claiming = False
        self._next_poll = now + self._poll_interval

    # --- what to do ----------------------------------------------------------------------

    def decide(self, now: float, *, free: int, prefetched: int) -> ClaimNow | SleepFor:
        """``free`` slots take no run yet; ``prefetched`` claimed runs have no slot yet."""
        self._notice(now)
        if self._claiming:
            return SleepFor(_NEVER)
        room = min(free + self.spare - prefetched, _LIMIT)
        worth_it = free > prefetched or prefetched <= self.spare // 2
        if self._hungry and room > 0 and worth_it:
            self._hungry, self._claiming = False, True
            self._due_since = _NEVER
            self._next_poll = now + self._poll_interval
            return ClaimNow(room)
        return SleepFor(self._next_reason() - now)

    @property
    def spare(self) -> int:
        """How many runs to hold in hand beyond the free slots."""
        if self._run_seconds is None:
            return 0
        until_free = max(self._run_seconds, 1e-4) / self._slots
        least = 1 if until_free <= _SOON else 0
        return min(max(int(_IN_HAND / until_free), least), _LIMIT)

    def _notice(self, now: float) -> None:
        """Turn moments that have come into hunger."""
        while self._look_again and self._look_again[0] <= now:
            del self._look_again[0]
            self._hungry = True
        if self._due <= now:
            self._due = _NEVER
            self._hungry = True
        if self._next_poll <= now:
            self._next_poll = now + self._poll_interval
            self._hungry = True

    def _next_reason(self) -> float:
        return min([self._next_poll, self._due, *self._look_again[:1]])
