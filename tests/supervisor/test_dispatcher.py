"""When the supervisor looks for runs, and for how many."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owsuper.supervisor.dispatcher import LOOK_AGAIN, Claim, Dispatcher, Sleep

POLL = 2.0


def fed(slots: int = 2, poll_interval: float = POLL) -> Dispatcher:
    """A dispatcher that has looked once, at time 0, and found nothing."""
    dispatcher = Dispatcher(slots=slots, poll_interval=poll_interval)
    assert dispatcher.decide(0.0, free=slots, in_hand=0) == Claim(slots)
    dispatcher.claimed(0.0, 0, asked=slots, next_due=None)
    return dispatcher


def test_it_looks_at_once_when_it_starts() -> None:
    dispatcher = Dispatcher(slots=3, poll_interval=POLL)
    assert dispatcher.decide(100.0, free=3, in_hand=0) == Claim(3)


def test_one_claim_is_out_at_a_time() -> None:
    dispatcher = Dispatcher(slots=3, poll_interval=POLL)
    dispatcher.decide(0.0, free=3, in_hand=0)
    dispatcher.rang(0.1)
    assert dispatcher.decide(0.2, free=3, in_hand=0) == Sleep(float("inf"))


def test_without_a_reason_it_sleeps_until_the_next_poll() -> None:
    dispatcher = fed()
    assert dispatcher.decide(0.5, free=2, in_hand=0) == Sleep(POLL - 0.5)
    assert dispatcher.decide(POLL, free=2, in_hand=0) == Claim(2)


def test_after_the_bell_it_looks_now_and_again_at_growing_intervals() -> None:
    dispatcher = fed(poll_interval=60)
    dispatcher.rang(0.5)
    looked = []
    now = 0.5
    while now < 10.0:
        match dispatcher.decide(now, free=2, in_hand=0):
            case Claim(count):
                looked.append(now)
                dispatcher.claimed(now, 0, asked=count, next_due=None)
            case Sleep(seconds):
                now += seconds
    assert looked == [0.5, *(0.5 + delay for delay in LOOK_AGAIN)]


def test_it_sleeps_exactly_until_the_next_run_is_due() -> None:
    dispatcher = fed()
    dispatcher.due(0.0, 0.75)
    dispatcher.due(0.0, 0.25)
    assert dispatcher.decide(0.125, free=2, in_hand=0) == Sleep(0.125)
    assert dispatcher.decide(0.25, free=2, in_hand=0) == Claim(2)
    dispatcher.claimed(0.25, 0, asked=2, next_due=0.5)
    assert dispatcher.decide(0.25, free=2, in_hand=0) == Sleep(0.5)


def test_a_due_time_told_while_a_claim_is_out_is_not_forgotten() -> None:
    dispatcher = Dispatcher(slots=2, poll_interval=POLL)
    dispatcher.decide(0.0, free=2, in_hand=0)
    dispatcher.due(0.0, 0.25)  # of a run that parked after the claim had looked
    dispatcher.claimed(0.0, 0, asked=2, next_due=1.0)
    assert dispatcher.decide(0.0, free=2, in_hand=0) == Sleep(0.25)


def test_what_the_database_says_replaces_what_was_known_before() -> None:
    dispatcher = fed()
    dispatcher.due(0.0, 10.5)  # then it was canceled, say
    dispatcher.rang(0.0)
    assert dispatcher.decide(10.0, free=2, in_hand=0) == Claim(2)
    dispatcher.claimed(10.0, 0, asked=2, next_due=None)
    assert dispatcher.decide(10.0, free=2, in_hand=0) == Sleep(POLL)


def test_a_full_claim_is_followed_by_another() -> None:
    dispatcher = Dispatcher(slots=2, poll_interval=POLL)
    dispatcher.decide(0.0, free=2, in_hand=0)
    dispatcher.claimed(0.0, 2, asked=2, next_due=None)
    assert isinstance(dispatcher.decide(0.0, free=0, in_hand=0), Sleep)
    assert dispatcher.decide(0.1, free=1, in_hand=0) == Claim(1)


def test_a_bell_while_all_slots_are_busy_is_remembered() -> None:
    dispatcher = fed()
    dispatcher.rang(0.1)
    assert isinstance(dispatcher.decide(0.1, free=0, in_hand=0), Sleep)
    assert dispatcher.decide(1.9, free=1, in_hand=0) == Claim(1)


def test_a_failed_claim_waits_for_the_poll_instead_of_spinning() -> None:
    dispatcher = Dispatcher(slots=2, poll_interval=POLL)
    dispatcher.decide(0.0, free=2, in_hand=0)
    dispatcher.failed(1.0)
    assert dispatcher.decide(1.0, free=2, in_hand=0) == Sleep(POLL)


def test_no_run_is_held_in_hand_while_runs_are_long() -> None:
    dispatcher = fed()
    for _ in range(50):
        dispatcher.finished(1.0)
    dispatcher.rang(1.0)
    assert dispatcher.spare == 0
    assert isinstance(dispatcher.decide(1.0, free=0, in_hand=0), Sleep)


def test_a_batch_is_held_in_hand_while_runs_take_milliseconds() -> None:
    dispatcher = fed(slots=2)
    for _ in range(50):
        dispatcher.finished(0.002)
    dispatcher.rang(1.0)
    decision = dispatcher.decide(1.0, free=0, in_hand=0)
    assert isinstance(decision, Claim)
    assert 16 <= decision.count <= 32


def test_the_hand_is_refilled_by_batches_not_one_by_one() -> None:
    dispatcher = fed(slots=2)
    for _ in range(50):
        dispatcher.finished(0.002)
    spare = dispatcher.spare
    dispatcher.rang(1.0)
    assert isinstance(dispatcher.decide(1.0, free=0, in_hand=spare - 1), Sleep)
    decision = dispatcher.decide(1.0, free=0, in_hand=spare // 2)
    assert decision == Claim(spare - spare // 2)


def test_runs_that_turn_long_end_the_holding() -> None:
    dispatcher = fed(slots=2)
    for _ in range(50):
        dispatcher.finished(0.002)
    dispatcher.finished(10.0)
    assert dispatcher.spare == 0


def test_one_run_is_held_while_a_slot_is_sure_to_be_free_soon() -> None:
    dispatcher = fed(slots=1)
    for _ in range(50):
        dispatcher.finished(0.1)
    assert dispatcher.spare == 1
    assert dispatcher.decide(POLL, free=0, in_hand=0) == Claim(1)


def test_after_giving_runs_back_it_holds_none_until_they_prove_short() -> None:
    dispatcher = fed(slots=2)
    dispatcher.finished(0.002)
    assert dispatcher.spare > 0
    dispatcher.stuck()
    assert dispatcher.spare == 0


class Life(RuleBasedStateMachine):
    """Whatever happens, in whatever order."""

    @initialize(slots=st.integers(1, 64), poll=st.floats(0.01, 5))
    def start(self, slots: int, poll: float) -> None:
        self.poll = poll
        self.slots = slots
        self.now = 0.0
        self.busy = 0
        self.in_hand = 0
        self.out: int | None = None
        self.reason = True
        self.dispatcher = Dispatcher(slots=slots, poll_interval=poll)

    @property
    def free(self) -> int:
        return self.slots - self.busy

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def the_bell_rings(self) -> None:
        self.dispatcher.rang(self.now)
        self.reason = True

    @rule(seconds=st.floats(0, 3))
    def a_run_will_be_due(self, seconds: float) -> None:
        self.dispatcher.due(self.now, seconds)

    @precondition(lambda self: self.busy)
    @rule(seconds=st.floats(1e-5, 2))
    def a_run_finishes(self, seconds: float) -> None:
        self.dispatcher.finished(seconds)
        self.busy -= 1
        self._deal()

    @rule()
    def it_decides(self) -> None:
        decision = self.dispatcher.decide(self.now, free=self.free, in_hand=self.in_hand)
        match decision:
            case Claim(count):
                assert self.out is None
                assert 0 < count <= max(0, self.free + self.dispatcher.spare - self.in_hand)
                self.out = count
                self.reason = False
            case Sleep(seconds):
                assert seconds > 0
                assert seconds <= self.poll + 1e-6 or self.out is not None
                room = self.free > self.in_hand
                assert not (self.reason and room and self.out is None), "an idle slot was left idle"

    @precondition(lambda self: self.out is not None)
    @rule(data=st.data(), next_due=st.none() | st.floats(0.001, 3))
    def the_claim_returns(self, data: st.DataObject, next_due: float | None) -> None:
        assert self.out is not None
        count = data.draw(st.integers(0, self.out))
        self.dispatcher.claimed(self.now, count, asked=self.out, next_due=next_due)
        self.reason = self.reason or count == self.out
        self.in_hand += count
        self.out = None
        self._deal()

    @precondition(lambda self: self.out is not None)
    @rule()
    def the_claim_fails(self) -> None:
        self.dispatcher.failed(self.now)
        self.out = None
        self.reason = False

    def _deal(self) -> None:
        dealt = min(self.in_hand, self.free)
        self.in_hand -= dealt
        self.busy += dealt

    @invariant()
    def what_is_held_in_hand_is_bounded(self) -> None:
        if hasattr(self, "in_hand"):
            assert self.in_hand <= 200


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(durations=st.lists(st.floats(0, 1e4), min_size=1, max_size=50), slots=st.integers(1, 1000))
def test_what_may_be_held_in_hand_is_never_more_than_a_claim(
    durations: list[float], slots: int
) -> None:
    dispatcher = Dispatcher(slots=slots, poll_interval=POLL)
    for duration in durations:
        dispatcher.finished(duration)
        assert 0 <= dispatcher.spare <= 200
