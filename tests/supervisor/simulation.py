"""Supervisors and a database in simulated time: the policy and the turns are the real ones."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count

from owsuper.supervisor.claim_policy import ClaimNow, ClaimPolicy, SleepFor
from owsuper.supervisor.on_call import ENOUGH, OnCall
from owsuper.supervisor.peers import Occupancy, Peer, Workflow
from owsuper.supervisor.turns import PassingOn, Turns, passed_on_by

EVERYTHING: frozenset[Workflow] = frozenset({("w", None)})

# Seconds. The server begins to look, looks for the mark, and has answered.
SNAPSHOT, MARK, ANSWER = 0.0004, 0.0007, 0.001
NOTIFICATION = 0.0003

LOOK, ANNOUNCEMENT = 2.0, 3.0  # between two of them


@dataclass(slots=True)
class Run:
    """``due_at`` is when it could be claimed at the earliest: due, and its insert committed."""

    due_at: float
    workflow: Workflow
    claimed_at: float | None = None

    @property
    def waited(self) -> float:
        assert self.claimed_at is not None
        return self.claimed_at - self.due_at


@dataclass(slots=True)
class Supervisor:
    """``hung``: it is there for the others, and does nothing. ``gone``: they can see that."""

    name: str
    policy: ClaimPolicy
    turns: Turns
    passing_on: PassingOn
    on_call: OnCall
    slots: int
    workflows: frozenset[Workflow]
    hears: bool = True
    hung: bool = False
    gone: bool = False
    busy: int = 0
    claims: int = 0
    heard: int = 0
    wakes: int = field(default=0, compare=False)  # the number of the latest appointment
    said: Peer = field(init=False)  # as the others see it

    def __post_init__(self) -> None:
        self.announce()

    def announce(self) -> None:
        free = max(0, self.slots - self.busy)
        self.said = Peer(self.name, self.workflows, self.on_call.stays, free, self.slots)

    @property
    def does_nothing(self) -> bool:
        return self.hung or self.gone


class Fleet:
    """Some supervisors of one database, which have known each other for some time.

    Runs take ``run`` seconds. ``looks``: they look at each other from now on, too.
    """

    def __init__(
        self,
        *serving: frozenset[Workflow],
        slots: int = 4,
        poll: float = 2.0,
        run: float = 0.003,
        looks: bool = False,
    ) -> None:
        self.now = 0.0
        self.runs: list[Run] = []
        self.notifications = 0  # passed on
        self.changes = 0  # supervisors that went on call or left
        self._run_seconds = run
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._transactions = count(1000)
        self._bell_until = 0.0
        self._marked_until: list[tuple[float, float]] = []  # from and to
        self.supervisors = [
            Supervisor(
                name := f"host-{number}:1:{number:08x}",
                ClaimPolicy(slots=slots, poll_interval=poll),
                turns := Turns(name),
                PassingOn(turns),
                OnCall(name),
                slots,
                workflows,
            )
            for number, workflows in enumerate(serving)
        ]
        for moment in range(-30, 0, 3) if len(serving) > ENOUGH else [0]:
            for each in self.supervisors:
                each.announce()
            for each in self.supervisors:
                self._meet(each, moment)
        for number, supervisor in enumerate(self.supervisors):  # polls do not coincide
            supervisor.on_call.on_change = partial(self._change, supervisor)
            self.at(min(poll, 60.0) * number / len(serving), partial(self.turn, supervisor))
            if looks:
                share = number / len(serving)
                self.at(LOOK * share, partial(self._look, supervisor))
                self.at(ANNOUNCEMENT * share, partial(self._announce, supervisor))

    @property
    def claims(self) -> int:
        return sum(each.claims for each in self.supervisors)

    @property
    def on_call(self) -> list[Supervisor]:
        return [each for each in self.supervisors if each.on_call.on_call]

    @property
    def heard(self) -> int:
        """How often a supervisor was woken by a notification."""
        return sum(each.heard for each in self.supervisors)

    # --- presence ------------------------------------------------------------------------

    def _announce(self, supervisor: Supervisor) -> None:
        if not supervisor.does_nothing:
            supervisor.announce()
        self.at(self.now + ANNOUNCEMENT, partial(self._announce, supervisor))

    def _look(self, supervisor: Supervisor) -> None:
        if not supervisor.does_nothing:
            self._meet(supervisor, self.now)
        self.at(self.now + LOOK, partial(self._look, supervisor))

    def _meet(self, supervisor: Supervisor, now: float) -> None:
        said = [each.said for each in self.supervisors if not each.gone]
        peers = [each for each in said if each.occupancy is not Occupancy.FULL]
        busy = sum(each.slots - each.free for each in said)
        on_call, serving, own = supervisor.on_call, supervisor.workflows, supervisor.said
        on_call.look(now, peers, serving=serving, free=own.free, slots=own.slots, busy=busy)
        supervisor.turns.meet(peers, serving=serving, on_call=on_call.on_call)

    def _change(self, supervisor: Supervisor, on_call: bool) -> None:
        self.changes += 1
        if on_call:
            supervisor.policy.on_runs_due(self.now)
            self.at(self.now, partial(self.turn, supervisor))

    # --- time ----------------------------------------------------------------------------

    def at(self, moment: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._order), action))

    def run_until(self, moment: float) -> None:
        while self._events and self._events[0][0] <= moment:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = moment

    # --- the database ----------------------------------------------------------------------

    def insert(
        self,
        at: float,
        *,
        commit_takes: float = 0.001,
        due_in: float = 0.0,
        workflow: Workflow = ("w", None),
        lost: bool = False,
    ) -> None:
        """A transaction stores a run; its commit begins at ``at``. ``lost``: nobody hears of it."""
        self.at(at, lambda: self._ring(commit_takes, due_in, workflow, lost))

    def _ring(self, commit_takes: float, due_in: float, workflow: Workflow, lost: bool) -> None:
        payload, visible = str(next(self._transactions)), self.now + commit_takes
        self._marked_until.append((self.now, visible))
        run = Run(max(visible, self.now + due_in), workflow)
        self.at(visible, lambda: self.runs.append(run))
        if self._bell_until <= self.now:
            self._bell_until = visible
            if not lost:
                self.at(visible + NOTIFICATION, lambda: self._notify(payload))

    def _notify(self, payload: str) -> None:
        passed_on = payload.startswith("more:")
        for supervisor in self.supervisors:
            hears = supervisor.hears and (passed_on or supervisor.on_call.on_call)
            if hears and not supervisor.does_nothing:
                supervisor.heard += 1
                if (by := passed_on_by(payload)) is not None:
                    supervisor.on_call.on_passed_on(self.now, by)
                self._hear(supervisor, payload)
                self.turn(supervisor)

    def _hear(self, supervisor: Supervisor, payload: str) -> None:
        wait = supervisor.turns.wait(payload)
        supervisor.policy.on_runs_due(self.now, wait=wait)
        supervisor.passing_on.on_heard(self.now, payload)
        if wait == 0 and passed_on_by(payload) is None:
            supervisor.passing_on.on_turn()
            self._pass_on_turn(supervisor)

    def _pass_on_turn(self, supervisor: Supervisor) -> None:
        free, passing_on = supervisor.slots - supervisor.busy, supervisor.passing_on
        room = supervisor.policy.room(free=max(0, free), prefetched=max(0, -free))
        if not room and not supervisor.does_nothing:
            self._pass_on(passing_on.on_no_room(self.now))
            if passing_on.in_turn:
                self.at(passing_on.pause_ends_at, partial(self._pass_on_turn, supervisor))

    def _pass_on(self, payload: str | None) -> None:
        if payload is not None:
            self.notifications += 1
            self.at(self.now + NOTIFICATION, lambda: self._notify(payload))

    # --- a supervisor ----------------------------------------------------------------------

    def turn(self, supervisor: Supervisor) -> None:
        if supervisor.does_nothing:
            return
        free = supervisor.slots - supervisor.busy
        match supervisor.policy.decide(self.now, free=max(0, free), prefetched=max(0, -free)):
            case ClaimNow(limit):
                supervisor.claims += 1
                supervisor.passing_on.on_claim_sent()
                self.at(self.now + SNAPSHOT, lambda: self._claim(supervisor, limit))
            case SleepFor(seconds, due) if seconds < 1e9:
                if due:
                    supervisor.passing_on.on_due(self.now)
                    self._pass_on_turn(supervisor)
                supervisor.wakes += 1
                number = supervisor.wakes

                def wake() -> None:
                    if supervisor.wakes == number:
                        self.turn(supervisor)

                self.at(self.now + max(seconds, 1e-6), wake)

    def _claim(self, supervisor: Supervisor, limit: int) -> None:
        known = [
            run
            for run in self.runs
            if run.claimed_at is None and run.workflow in supervisor.workflows
        ]
        due = [run for run in known if run.due_at <= self.now]
        more, due = len(due) > limit, due[:limit]
        in_flight = any(begun <= self.now < ended for begun, ended in self._marked_until)
        complete = bool(due) and not in_flight
        for run in due:
            run.claimed_at = self.now
        later = min((run.due_at for run in known if run not in due), default=None)
        self.at(
            self.now - SNAPSHOT + MARK,
            lambda: self._look_for_marks(supervisor, limit, len(due), later, complete, more),
        )

    def _look_for_marks(
        self,
        supervisor: Supervisor,
        limit: int,
        count: int,
        later: float | None,
        complete: bool,
        more: bool,
    ) -> None:
        self._marked_until = [each for each in self._marked_until if each[1] > self.now]
        quiet = all(begun > self.now for begun, _ in self._marked_until)

        def answer() -> None:
            next_due = 0.0 if count == limit else later and max(0.0, later - self.now)
            supervisor.policy.on_claimed(
                self.now,
                count,
                limit=limit,
                next_due=next_due,
                complete=complete,
                quiet=quiet,
                due_wait=0.0 if later is None else supervisor.turns.wait(str(later)),
            )
            self._pass_on(supervisor.passing_on.on_claimed(self.now, more=more))
            supervisor.busy += count
            for _ in range(count):
                self.at(self.now + self._run_seconds, lambda: self._finish(supervisor))
            if supervisor.passing_on.in_turn:
                self._pass_on_turn(supervisor)
            self.turn(supervisor)

        self.at(self.now - MARK + ANSWER, answer)

    def _finish(self, supervisor: Supervisor) -> None:
        supervisor.busy -= 1
        if not supervisor.does_nothing:
            supervisor.policy.on_run_finished(self._run_seconds)
            self.turn(supervisor)
