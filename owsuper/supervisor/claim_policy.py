"""When to claim runs, and how many. Pure: takes what happened, returns a decision.

There is a reason to claim when

- runs may be due: a notification arrived, or one may have been missed. If it is this supervisor's
  turn (``turns``), a claim follows at once, and again at growing intervals, because a transaction
  may commit after the notification. That ends with a claim that has seen all such transactions:
  it was *complete*, or the claim before it found *quiet* (``db.claims.Claimed``). If it is the
  turn of another supervisor, a claim follows after a wait, in case the other is gone or busy. One
  claim is enough for all notifications before it;
- a run is known to become due now;
- the last claim brought as many runs as it asked for;
- a whole poll interval has passed.

A reason is kept until there is room for runs.

Of several supervisors that know the next due time, one *keeps watch* and claims then: the one that
saw it while it found runs, or that looked because it was its turn. The others wait as for a
notification.

Room is the number of free slots and a few runs more, to prefetch: as many as the slots finish
before another claim can bring more. That is a batch while runs take milliseconds. It is one run
while some slot becomes free soon, so that the slot need not wait for a claim. It is none while
runs are long, because another supervisor may have a free slot for them.

All times are seconds on one monotonic clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from owsuper.supervisor.turns import LONGEST_WAIT

# Only one of several concurrent transactions notifies; the others may commit after that one:
# seconds after, where a disk or a synchronous standby is slow.
RECHECK_DELAYS: Final = (0.001, 0.004, 0.016, 0.064, 0.25, 1.0, 4.0)
# Prefetched runs should get a slot within this time, which spans a few round trips; where claims
# are slow, within so many claims, up to a limit.
_PREFETCH_SECONDS: Final = 0.025
_PREFETCH_CLAIMS: Final = 4
_MAX_PREFETCH_SECONDS: Final = 0.2
_SOON: Final = 0.15  # seconds until some slot is free; a claim takes a few milliseconds
_SHORTEST_RUN: Final = 1e-4  # seconds; avoids a division by zero
_MAX_RUNS: Final = 200  # the most runs in one claim, and the most prefetched runs
_NEVER: Final = float("inf")
_EARLY: Final = 0.05  # seconds; a claim this long before a due time was meant for it
_WEIGHT: Final = 0.2  # the weight of the latest run in the average duration


@dataclass(frozen=True, slots=True)
class ClaimNow:
    """Claim now, up to ``count`` runs. ``polled``: only because the poll interval has passed."""

    count: int
    polled: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class SleepFor:
    """Claim nothing for so many seconds, unless something happens.

    Infinite while a claim is in flight. ``due``: a run is due now for which this supervisor keeps
    watch, and it has no room.
    """

    seconds: float
    due: bool = False


class ClaimPolicy:
    """One supervisor's policy. ``now`` never goes back from one call to the next."""

    def __init__(self, *, slots: int, poll_interval: float) -> None:
        self._slots = slots
        self._poll_interval = poll_interval
        self._needs_claim = True  # there may be due runs that no claim has looked for
        self._polled = False  # only the poll interval is among the reasons to claim
        self._claiming = False
        self._next_poll = 0.0
        self._rechecks: list[float] = []  # ascending
        self._quiet = False  # a claim after the last notification found quiet
        self._unheard = False  # a notification came after the claim in flight was sent
        self._in_turn = False  # this supervisor's turn is among the reasons to claim
        self._claiming_in_turn = False  # was, for the claim in flight
        self._turn_at = _NEVER  # when to claim although others may have done so
        self._wait = 0.0  # the wait that led to ``_turn_at``
        self._claiming_wait = 0.0  # that wait, for the claim in flight
        self._next_due = _NEVER  # the earliest due time that is known
        self._next_due_unseen = _NEVER  # the earliest that the claim in flight may have missed
        self._watched = False  # this supervisor keeps watch for the earliest
        self._due = False  # it came, and no claim was sent since
        self._run_seconds: float | None = None  # moving average
        self._claim_seconds = 0.0  # moving average
        self._claimed_at = 0.0  # when the claim in flight was sent

    def resize(self, slots: int) -> None:
        """There are ``slots`` slots now."""
        self._slots = slots

    # --- what happened -------------------------------------------------------------------

    def on_runs_due(self, now: float, *, wait: float = 0.0) -> None:
        """Runs may be due: a notification arrived, or something else made runs due.

        ``wait`` is the number of seconds until it is this supervisor's turn; 0 if it is first.
        """
        if wait > 0:
            if now + wait < self._turn_at:
                self._turn_at, self._wait = now + wait, wait
            return
        self._needs_claim = self._in_turn = True
        self._polled = False
        self._rechecks = [now + delay for delay in RECHECK_DELAYS]
        self._quiet, self._unheard = False, self._claiming

    def run_due_in(self, now: float, seconds: float, *, watched: bool = True) -> None:
        """A run becomes due in ``seconds``. ``watched``: this supervisor keeps watch for that."""
        if now + seconds < self._next_due:
            self._next_due, self._watched = now + seconds, watched
        self._next_due_unseen = min(self._next_due_unseen, now + seconds)

    def on_run_finished(self, seconds: float) -> None:
        """A run occupied its slot for ``seconds``."""
        if self._run_seconds is None:
            self._run_seconds = seconds
        self._run_seconds += _WEIGHT * (seconds - self._run_seconds)

    def on_prefetch_stalled(self) -> None:
        """Prefetched runs found no slot: prefetch none until runs prove short again."""
        self._run_seconds = None

    def on_claimed(
        self,
        now: float,
        count: int,
        *,
        limit: int,
        next_due: float | None,
        complete: bool = False,
        quiet: bool = False,
        due_wait: float = 0.0,
    ) -> None:
        """A claim of up to ``limit`` runs brought ``count``.

        ``next_due`` is the number of seconds until another run is due, None if there is none. For
        that moment, ``due_wait`` is what ``wait`` is for a notification. The database knows all due
        times but those reported while the claim was in flight. For ``complete`` and ``quiet`` see
        the module.
        """
        self._claiming = False
        self._claim_seconds += _WEIGHT * (now - self._claimed_at - self._claim_seconds)
        if count >= limit:
            self._needs_claim, self._polled = True, False
        self._look_again(now, complete, quiet)
        self._next_due, self._watched = self._next_due_unseen, True
        if next_due is not None:
            keeps_watch = count or self._claiming_in_turn or next_due < _EARLY
            wait = 0.0 if keeps_watch else due_wait
            self.run_due_in(now, next_due + wait, watched=next_due >= _EARLY and not wait)

    def _look_again(self, now: float, complete: bool, quiet: bool) -> None:
        """Claim no more for the last notification if all that it stood for has been seen."""
        if self._unheard:
            return
        if complete or (quiet and self._quiet):
            self._rechecks.clear()
        elif not quiet and 0 < self._claiming_wait < LONGEST_WAIT:
            self.on_runs_due(now, wait=2 * self._claiming_wait)
        self._quiet = self._quiet or quiet

    def on_claim_failed(self, now: float) -> None:
        """The claim failed; the next poll claims again."""
        self._claiming = False
        self._next_poll = now + self._poll_interval

    # --- what to do ----------------------------------------------------------------------

    def decide(self, now: float, *, free: int, prefetched: int) -> ClaimNow | SleepFor:
        """Return what to do now, with ``free`` free slots and ``prefetched`` runs without one."""
        self._check_times(now)
        if self._claiming:
            return SleepFor(_NEVER)
        room = self.room(free=free, prefetched=prefetched)
        if self._needs_claim and room:
            self._needs_claim, self._claiming, self._claimed_at = False, True, now
            self._claiming_in_turn, self._in_turn = self._in_turn, False
            self._claiming_wait = 0.0 if self._claiming_in_turn else self._wait
            self._wait, self._unheard, self._due = 0.0, False, False
            self._turn_at = self._next_due_unseen = _NEVER
            self._next_poll = now + self._poll_interval
            polled, self._polled = self._polled, False
            return ClaimNow(room, polled)
        moments = [self._next_poll, self._next_due, self._turn_at, *self._rechecks[:1]]
        due, self._due = self._due, False
        return SleepFor(min(moments) - now, due)

    def room(self, *, free: int, prefetched: int) -> int:
        """Return how many runs a claim may bring now; 0 if a claim is not worthwhile."""
        worthwhile = free > prefetched or prefetched <= self.prefetch_target // 2
        room = min(free + self.prefetch_target - prefetched, _MAX_RUNS)
        return max(0, room) if worthwhile else 0

    @property
    def prefetch_target(self) -> int:
        """The number of runs to hold beyond the free slots."""
        if self._run_seconds is None:
            return 0
        until_free = max(self._run_seconds, _SHORTEST_RUN) / self._slots
        least = 1 if until_free <= _SOON else 0
        span = min(_PREFETCH_CLAIMS * self._claim_seconds, _MAX_PREFETCH_SECONDS)
        return min(max(int(max(span, _PREFETCH_SECONDS) / until_free), least), _MAX_RUNS)

    def _check_times(self, now: float) -> None:
        """Need a claim if one of the moments to claim has come."""
        while self._rechecks and self._rechecks[0] <= now:
            del self._rechecks[0]
            self._needs_claim = self._in_turn = True
            self._polled = False
        if self._turn_at <= now:
            self._turn_at = _NEVER
            self._needs_claim, self._polled = True, False
        if self._next_due <= now:
            self._next_due = _NEVER
            self._needs_claim, self._due = True, self._due or self._watched
            self._polled = False
        if self._next_poll <= now:
            self._next_poll = now + self._poll_interval
            self._needs_claim, self._polled = True, self._polled or not self._needs_claim
