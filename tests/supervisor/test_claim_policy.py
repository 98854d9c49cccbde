"""When the supervisor looks for runs, and for how many."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owsuper.supervisor.claim_policy import LOOK_AGAIN, ClaimNow, ClaimPolicy, SleepFor

POLL = 2.0


def fed(slots: int = 2, poll_interval: float = POLL) -> ClaimPolicy:
    """A dispatcher that has looked once, at time 0, and found nothing."""
    claim_policy = ClaimPolicy(slots=slots, poll_interval=poll_interval)
    assert claim_policy.decide(0.0, free=slots, prefetched=0) == ClaimNow(slots)
    claim_policy.claimed(0.0, 0, asked=slots, next_due=None)
    return claim_policy


def test_it_looks_at_once_when_it_starts() -> None:
    claim_policy = ClaimPolicy(slots=3, poll_interval=POLL)
    assert claim_policy.decide(100.0, free=3, prefetched=0) == ClaimNow(3)


def test_one_claim_is_out_at_a_time() -> None:
    claim_policy = ClaimPolicy(slots=3, poll_interval=POLL)
    claim_policy.decide(0.0, free=3, prefetched=0)
    claim_policy.rang(0.1)
    assert claim_policy.decide(0.2, free=3, prefetched=0) == SleepFor(float("inf"))


def test_without_a_reason_it_sleeps_until_the_next_poll() -> None:
    claim_policy = fed()
    assert claim_policy.decide(0.5, free=2, prefetched=0) == SleepFor(POLL - 0.5)
    assert claim_policy.decide(POLL, free=2, prefetched=0) == ClaimNow(2)


def test_after_the_bell_it_looks_now_and_again_at_growing_intervals() -> None:
    claim_policy = fed(poll_interval=60)
    claim_policy.rang(0.5)
    looked = []
    now = 0.5
    while now < 10.0:
        match claim_policy.decide(now, free=2, prefetched=0):
            case ClaimNow(count):
                looked.append(now)
                claim_policy.claimed(now, 0, asked=count, next_due=None)
            case SleepFor(seconds):
                now += seconds
    assert looked == [0.5, *(0.5 + delay for delay in LOOK_AGAIN)]


def test_it_sleeps_exactly_until_the_next_run_is_due() -> None:
    claim_policy = fed()
    claim_policy.due(0.0, 0.75)
    claim_policy.due(0.0, 0.25)
    assert claim_policy.decide(0.125, free=2, prefetched=0) == SleepFor(0.125)
    assert claim_policy.decide(0.25, free=2, prefetched=0) == ClaimNow(2)
    claim_policy.claimed(0.25, 0, asked=2, next_due=0.5)
    assert claim_policy.decide(0.25, free=2, prefetched=0) == SleepFor(0.5)


def test_a_due_time_told_while_a_claim_is_out_is_not_forgotten() -> None:
    claim_policy = ClaimPolicy(slots=2, poll_interval=POLL)
    claim_policy.decide(0.0, free=2, prefetched=0)
    claim_policy.due(0.0, 0.25)  # of a run that parked after the claim had looked
    claim_policy.claimed(0.0, 0, asked=2, next_due=1.0)
    assert claim_policy.decide(0.0, free=2, prefetched=0) == SleepFor(0.25)


def test_what_the_database_says_replaces_what_was_known_before() -> None:
    claim_policy = fed()
    claim_policy.due(0.0, 10.5)  # then it was canceled, say
    claim_policy.rang(0.0)
    assert claim_policy.decide(10.0, free=2, prefetched=0) == ClaimNow(2)
    claim_policy.claimed(10.0, 0, asked=2, next_due=None)
    assert claim_policy.decide(10.0, free=2, prefetched=0) == SleepFor(POLL)


def test_a_full_claim_is_followed_by_another() -> None:
    claim_policy = ClaimPolicy(slots=2, poll_interval=POLL)
    claim_policy.decide(0.0, free=2, prefetched=0)
    claim_policy.claimed(0.0, 2, asked=2, next_due=None)
    assert isinstance(claim_policy.decide(0.0, free=0, prefetched=0), SleepFor)
    assert claim_policy.decide(0.1, free=1, prefetched=0) == ClaimNow(1)


def test_a_bell_while_all_slots_are_busy_is_remembered() -> None:
    claim_policy = fed()
    claim_policy.rang(0.1)
    assert isinstance(claim_policy.decide(0.1, free=0, prefetched=0), SleepFor)
    assert claim_policy.decide(1.9, free=1, prefetched=0) == ClaimNow(1)


def test_a_failed_claim_waits_for_the_poll_instead_of_spinning() -> None:
    claim_policy = ClaimPolicy(slots=2, poll_interval=POLL)
    claim_policy.decide(0.0, free=2, prefetched=0)
    claim_policy.failed(1.0)
    assert claim_policy.decide(1.0, free=2, prefetched=0) == SleepFor(POLL)


def test_no_run_is_held_in_hand_while_runs_are_long() -> None:
    claim_policy = fed()
    for _ in range(50):
        claim_policy.finished(1.0)
    claim_policy.rang(1.0)
    assert claim_policy.spare == 0
    assert isinstance(claim_policy.decide(1.0, free=0, prefetched=0), SleepFor)


def test_a_batch_is_held_in_hand_while_runs_take_milliseconds() -> None:
    claim_policy = fed(slots=2)
    for _ in range(50):
        claim_policy.finished(0.002)
    claim_policy.rang(1.0)
    decision = claim_policy.decide(1.0, free=0, prefetched=0)
    assert isinstance(decision, ClaimNow)
    assert 16 <= decision.count <= 32


def test_the_hand_is_refilled_by_batches_not_one_by_one() -> None:
    claim_policy = fed(slots=2)
    for _ in range(50):
        claim_policy.finished(0.002)
    spare = claim_policy.spare
    claim_policy.rang(1.0)
    assert isinstance(claim_policy.decide(1.0, free=0, prefetched=spare - 1), SleepFor)
    decision = claim_policy.decide(1.0, free=0, prefetched=spare // 2)
    assert decision == ClaimNow(spare - spare // 2)


def test_runs_that_turn_long_end_the_holding() -> None:
    claim_policy = fed(slots=2)
    for _ in range(50):
        claim_policy.finished(0.002)
    claim_policy.finished(10.0)
    assert claim_policy.spare == 0


def test_one_run_is_held_while_a_slot_is_sure_to_be_free_soon() -> None:
    claim_policy = fed(slots=1)
    for _ in range(50):
        claim_policy.finished(0.1)
    assert claim_policy.spare == 1
    assert claim_policy.decide(POLL, free=0, prefetched=0) == ClaimNow(1)


def test_after_giving_runs_back_it_holds_none_until_they_prove_short() -> None:
    claim_policy = fed(slots=2)
    claim_policy.finished(0.002)
    assert claim_policy.spare > 0
    claim_policy.stuck()
    assert claim_policy.spare == 0


class Life(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(slots=st.integers(1, 64), poll=st.floats(0.01, 5))
    def start(self, slots: int, poll: float) -> None:
        self.poll = poll
        self.slots = slots
        self.now = 0.0
        self.busy = 0
        self.prefetched = 0
        self.out: int | None = None
        self.reason = True
        self.claim_policy = ClaimPolicy(slots=slots, poll_interval=poll)

    @property
    def free(self) -> int:
        return self.slots - self.busy

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_bell_rings(self) -> None:
        self.claim_policy.rang(self.now)
        self.reason = True

    @rule(seconds=st.floats(0, 3))
    def a_run_will_be_due(self, seconds: float) -> None:
        self.claim_policy.due(self.now, seconds)

    @precondition(lambda self: self.busy)
    @rule(seconds=st.floats(1e-5, 2))
    def a_run_finishes(self, seconds: float) -> None:
        self.claim_policy.finished(seconds)
        self.busy -= 1
        self._deal()

    @rule()
    def it_decides(self) -> None:
        decision = self.claim_policy.decide(self.now, free=self.free, prefetched=self.prefetched)
        match decision:
            case ClaimNow(count):
                assert self.out is None
                assert 0 < count <= max(0, self.free + self.claim_policy.spare - self.prefetched)
                self.out = count
                self.reason = False
            case SleepFor(seconds):
                assert seconds > 0
                assert seconds <= self.poll + 1e-6 or self.out is not None
                room = self.free > self.prefetched
                assert not (self.reason and room and self.out is None), "an idle slot was left idle"

    @precondition(lambda self: self.out is not None)
    @rule(data=st.data(), next_due=st.none() | st.floats(0.001, 3))
    def the_claim_returns(self, data: st.DataObject, next_due: float | None) -> None:
        assert self.out is not None
        count = data.draw(st.integers(0, self.out))
        self.claim_policy.claimed(self.now, count, asked=self.out, next_due=next_due)
        self.reason = self.reason or count == self.out
        self.prefetched += count
        self.out = None
        self._deal()

    @precondition(lambda self: self.out is not None)
    @rule()
    def the_claim_fails(self) -> None:
        self.claim_policy.failed(self.now)
        self.out = None
        self.reason = False

    def _deal(self) -> None:
        dealt = min(self.prefetched, self.free)
        self.prefetched -= dealt
        self.busy += dealt

    @invariant()
    def what_is_held_in_hand_is_bounded(self) -> None:
        if hasattr(self, "in_hand"):
            assert self.prefetched <= 200


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(durations=st.lists(st.floats(0, 1e4), min_size=1, max_size=50), slots=st.integers(1, 1000))
def test_what_may_be_held_in_hand_is_never_more_than_a_claim(
    durations: list[float], slots: int
) -> None:
    claim_policy = ClaimPolicy(slots=slots, poll_interval=POLL)
    for duration in durations:
        claim_policy.finished(duration)
        assert 0 <= claim_policy.spare <= 200
