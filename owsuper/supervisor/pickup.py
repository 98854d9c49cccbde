"""Picking up due runs: claimed when the policy says so, prefetched, and put in free slots."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from owsuper.core.model import ClaimedRun
from owsuper.db.claims import Claimed
from owsuper.db.listen import EARLY
from owsuper.event_loop import Loop
from owsuper.ipc.messages import Finished
from owsuper.settings import Settings
from owsuper.supervisor.child import HeldRun
from owsuper.supervisor.claim_policy import ClaimNow, ClaimPolicy, SleepFor
from owsuper.supervisor.claims import Claims
from owsuper.supervisor.fleet import Fleet
from owsuper.supervisor.on_call import OnCall
from owsuper.supervisor.prefetched_runs import PrefetchedRuns
from owsuper.supervisor.presence import Workflows
from owsuper.supervisor.turns import PassingOn, Turns, passed_on_by

# Seconds.
_PREFETCH_PERIOD: Final = 0.25
_PREFETCH_TIMEOUT: Final = 0.5  # until a prefetched run is released for other workers

_log = logging.getLogger("owsuper.supervisor")


class Pickup:
    """Claims runs for the ``fleet``, until ``stop``.

    ``notify`` is called with a notification for the other supervisors when more runs are due than
    this one has room for. ``on_call`` learns of other workflows. ``mark`` returns a claimed run,
    perhaps as a suspect. ``prefetched`` are the claimed runs that wait for a slot. ``polls`` counts
    claims that only the poll interval has led to, and ``polls_in_vain`` those without runs.
    """

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        claims: Claims,
        turns: Turns,
        settings: Settings,
        *,
        on_call: OnCall,
        mark: Callable[[ClaimedRun], ClaimedRun],
    ) -> None:
        self.prefetched = PrefetchedRuns()
        self.notify: Callable[[str], None] | None = None
        self._fleet = fleet
        self._claims = claims
        self._turns = turns
        self._on_call = on_call
        self._mark = mark
        self._passing_on = PassingOn(turns)
        self._policy = ClaimPolicy(
            slots=settings.processes * settings.concurrency, poll_interval=settings.poll_interval
        )
        self._workflows: Workflows | None = None  # of the latest decision
        self._stopped = False
        self._polling = False  # the claim in flight was made only because of the poll interval
        self.polls = self.polls_in_vain = 0
        self._timer = loop.timers.add("claim", lambda: None)  # ``claim`` is called on every turn
        self._turn_timer = loop.timers.add("pass on", self._pass_on_turn)
        self._overdue_timer = loop.timers.add(  # on while runs are prefetched
            "release overdue", self._release_overdue, period=_PREFETCH_PERIOD
        )

    # --- when ----------------------------------------------------------------------------

    def claim_soon(self) -> None:
        """Let the policy claim soon, because runs may be due."""
        self._policy.on_runs_due(time.monotonic())

    def claim_for_room(self) -> None:
        """Let the policy claim once: a workflow that had no room of its own has some now."""
        self._policy.run_due_in(time.monotonic(), 0.0, watched=False)

    def limits_changed(self) -> None:
        """Find out which workflows have limits before the next claim, which follows soon."""
        self._claims.limited.doubt()
        self.claim_soon()

    def claim_in_turn(self, occasion: str) -> None:
        """Let the policy claim when it is this supervisor's turn; soon, if others may not know.

        If it has no room then, or has stopped, it tells the others.
        """
        now, wait = time.monotonic(), self._turns.wait(occasion) if occasion else 0.0
        if occasion.startswith(EARLY):
            self._claims.look_back()
        self._policy.on_runs_due(now, wait=wait)
        self._passing_on.on_heard(now, occasion)
        if occasion and not wait and passed_on_by(occasion) is None:
            self._passing_on.on_turn()
            self._pass_on_turn()

    def _pass_on_turn(self) -> None:
        """Tell the others, now or later, if it is this supervisor's turn and it cannot claim."""
        room = self._policy.room(free=self._fleet.free, prefetched=len(self.prefetched))
        if self._stopped or not room:
            self._pass_on(self._passing_on.on_no_room(time.monotonic()))
            if self._passing_on.in_turn:
                self._turn_timer.at_latest(self._passing_on.pause_ends_at)

    def _pass_on(self, payload: str | None) -> None:
        if payload is not None and self.notify is not None:
            _log.debug("tells other workers that more runs are due than it has room for")
            self.notify(payload)

    def resize(self, slots: int) -> None:
        """Claim for so many slots."""
        self._policy.resize(slots)

    def on_run_finished(self, seconds: float, finished: Finished) -> None:
        """Report to the policy that a run took ``seconds`` of a slot, and when it is due again."""
        self._policy.on_run_finished(seconds)
        if finished.due_in is not None:
            self._policy.run_due_in(time.monotonic(), finished.due_in)

    # --- claim and assign ----------------------------------------------------------------

    def assign(self) -> None:
        """Put prefetched runs in free slots."""
        if len(self.prefetched):
            self.prefetched.assign_to(self._fleet)

    def claim(self, workflows: Workflows) -> None:
        """Claim runs of these workflows, if the policy says so.

        Call this after every turn of the loop.
        """
        if not self._claims.ready(workflows):
            self._timer.cancel()
            return
        if workflows is not self._workflows:  # at the start, and after a reload
            self._workflows = workflows
            self._on_call.serve(workflows)
            self._turns.serve(workflows)
            self.claim_soon()
        decision = self._policy.decide(
            time.monotonic(), free=self._fleet.free, prefetched=len(self.prefetched)
        )
        match decision:
            case ClaimNow(count, polled):
                self._polling = polled
                self._passing_on.on_claim_sent()
                self._claims.claim(count, workflows)
                self._timer.cancel()
            case SleepFor(seconds, due):
                self._timer.after(seconds)
                if due:
                    self._passing_on.on_due(time.monotonic())
                    self._pass_on_turn()

    def on_claimed(self, claimed: Claimed, *, limit: int) -> None:
        """Prefetch the runs of a claim; after ``stop``, release them."""
        now = time.monotonic()
        if self._polling:
            self.polls += 1
            self.polls_in_vain += not claimed.runs
        self._policy.on_claimed(
            now,
            len(claimed.runs),
            limit=limit,
            next_due=claimed.next_due,
            complete=claimed.complete,
            quiet=claimed.quiet,
            due_wait=self._turns.wait(claimed.due) if claimed.due else 0.0,
        )
        self._pass_on(self._passing_on.on_claimed(now, more=claimed.more))
        held = [HeldRun(self._mark(run), renewed_at=now, placed_at=now) for run in claimed.runs]
        if self._stopped:
            self._claims.release(held)
        elif held:
            self.prefetched.add(held)
            self._overdue_timer.at_latest(now + _PREFETCH_PERIOD)
        if self._passing_on.in_turn:  # its turn came while the claim was in flight
            self._pass_on_turn()

    def on_claim_failed(self) -> None:
        """Report the failure to the policy, which decides on the next claim."""
        self._policy.on_claim_failed(time.monotonic())

    # --- release -------------------------------------------------------------------------

    def stop(self) -> None:
        """Claim no more, and release what is prefetched."""
        self._stopped = True
        self._timer.cancel()
        self.release_prefetched()

    def release_prefetched(self) -> None:
        """Release the runs that wait for a slot."""
        self._claims.release(self.prefetched.take_all())

    def _release_overdue(self) -> None:
        if not len(self.prefetched):
            self._overdue_timer.cancel()
        if overdue := self.prefetched.take_overdue(_PREFETCH_TIMEOUT):
            self._policy.on_prefetch_stalled()
            self._claims.release(overdue)
