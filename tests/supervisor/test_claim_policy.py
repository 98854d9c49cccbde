"""When the supervisor claims runs, and how many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from owsuper.supervisor.claim_policy import RECHECK_DELAYS, ClaimNow, ClaimPolicy, SleepFor

POLL = 2.0


def idle_policy(slots: int = 2, poll_interval: float = POLL) -> ClaimPolicy:
    """A policy whose first claim, at time 0, brought nothing."""
    policy = ClaimPolicy(slots=slots, poll_interval=poll_interval)
    assert policy.decide(0.0, free=slots, prefetched=0) == ClaimNow(slots)
    policy.on_claimed(0.0, 0, limit=slots, next_due=None)
    return policy


def test_without_room_it_says_once_that_a_run_is_due_for_which_it_keeps_watch() -> None:
    policy = idle_policy()
    policy.run_due_in(0.0, 0.5)
    assert policy.decide(0.25, free=0, prefetched=0) == SleepFor(0.25)
    assert policy.decide(0.5, free=0, prefetched=0) == SleepFor(POLL - 0.5, due=True)
    assert policy.decide(1.0, free=0, prefetched=0) == SleepFor(POLL - 1.0)


def test_without_room_it_says_nothing_of_a_due_run_for_which_another_keeps_watch() -> None:
    policy = ClaimPolicy(slots=2, poll_interval=POLL)
    policy.decide(0.0, free=2, prefetched=0)
    policy.on_claimed(0.0, 1, limit=2, next_due=None)
    policy.run_due_in(0.0, 1.0)
    policy.on_runs_due(0.0, wait=0.125)
    assert policy.decide(0.125, free=1, prefetched=0) == ClaimNow(1)
    policy.on_claimed(0.125, 0, limit=1, next_due=0.875, due_wait=0.125)
    assert policy.decide(1.125, free=0, prefetched=0) == SleepFor(1.0)


def test_the_first_claim_is_made_at_once() -> None:
    policy = ClaimPolicy(slots=3, poll_interval=POLL)
    assert policy.decide(100.0, free=3, prefetched=0) == ClaimNow(3)


def test_one_claim_is_in_flight_at_a_time() -> None:
    policy = ClaimPolicy(slots=3, poll_interval=POLL)
    policy.decide(0.0, free=3, prefetched=0)
    policy.on_runs_due(0.1)
    assert policy.decide(0.2, free=3, prefetched=0) == SleepFor(float("inf"))


def test_without_a_reason_it_sleeps_until_the_next_poll() -> None:
    policy = idle_policy()
    assert policy.decide(0.5, free=2, prefetched=0) == SleepFor(POLL - 0.5)
    assert policy.decide(POLL, free=2, prefetched=0) == ClaimNow(2)


def polled(policy: ClaimPolicy, now: float) -> bool:
    decision = policy.decide(now, free=2, prefetched=0)
    assert isinstance(decision, ClaimNow)
    return decision.polled


def test_a_claim_is_a_poll_if_nothing_but_the_interval_has_led_to_it() -> None:
    assert polled(idle_policy(), POLL)
    policy = ClaimPolicy(slots=2, poll_interval=POLL)
    assert not polled(policy, 0.0)  # the first claim
    policy.on_claimed(0.0, 2, limit=2, next_due=None)
    assert not polled(policy, POLL)  # there may be more than the claim has brought


def test_a_claim_with_another_reason_is_no_poll_even_when_a_poll_is_due() -> None:
    notified, in_turn, due, late = (idle_policy() for _ in range(4))
    notified.on_runs_due(POLL)
    in_turn.on_runs_due(POLL - 0.5, wait=0.5)
    due.run_due_in(0.0, POLL)
    assert not polled(notified, POLL)
    assert not polled(in_turn, POLL)
    assert not polled(due, POLL)
    late.decide(POLL, free=0, prefetched=0)  # a poll is due, and there is no room
    late.on_runs_due(POLL + 0.5)
    assert not polled(late, POLL + 1)


def test_a_notification_leads_to_claims_now_and_at_growing_intervals() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5)
    moments = []
    now = 0.5
    while now < 10.0:
        match policy.decide(now, free=2, prefetched=0):
            case ClaimNow(count):
                moments.append(now)
                policy.on_claimed(now, 0, limit=count, next_due=None)
            case SleepFor(seconds):
                now += seconds
    assert moments == [0.5, *(0.5 + delay for delay in RECHECK_DELAYS)]


def moments_of_claims(
    policy: ClaimPolicy, begin: float, *, complete: bool = False, quiet: bool = False
) -> list[float]:
    """When the policy claims in the ten seconds from ``begin``, with claims that bring nothing."""
    moments, now = [], begin
    while now < begin + 10:
        match policy.decide(now, free=2, prefetched=0):
            case ClaimNow(count):
                moments.append(now - begin)
                policy.on_claimed(
                    now, 0, limit=count, next_due=None, complete=complete, quiet=quiet
                )
            case SleepFor(seconds):
                now += seconds
    return moments


def test_after_a_complete_claim_it_claims_no_more_for_a_notification() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5)
    assert moments_of_claims(policy, 0.5, complete=True) == [0]


def test_after_a_claim_that_finds_quiet_it_claims_once_more() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5)
    assert moments_of_claims(policy, 0.5, quiet=True) == pytest.approx([0, RECHECK_DELAYS[0]])


def test_what_a_claim_finds_says_nothing_of_a_notification_that_came_after_it_was_sent() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5)
    policy.decide(0.5, free=2, prefetched=0)
    policy.on_runs_due(0.501)
    policy.on_claimed(0.501, 1, limit=2, next_due=None, complete=True, quiet=True)
    assert moments_of_claims(policy, 0.501, quiet=True) == pytest.approx([0, RECHECK_DELAYS[0]])


def test_out_of_turn_it_claims_once_after_the_wait() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5, wait=0.02)
    assert moments_of_claims(policy, 0.5, quiet=True) == pytest.approx([0.02])


def test_out_of_turn_it_looks_again_while_there_are_transactions_that_did_not_notify() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5, wait=0.02)
    waits = [0.02 * 2**doublings for doublings in range(8)]
    moments = [sum(waits[: count + 1]) for count in range(8)]
    assert moments_of_claims(policy, 0.5) == pytest.approx(moments)


def test_one_claim_serves_for_all_notifications_before_it() -> None:
    policy = idle_policy(poll_interval=60)
    for number in range(10):
        policy.on_runs_due(0.5 + number / 1000, wait=0.1)
    policy.on_runs_due(0.55)
    assert moments_of_claims(policy, 0.55, complete=True) == [0]


def test_a_claim_in_flight_does_not_serve_for_a_notification_after_it() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(0.5)
    policy.decide(0.5, free=2, prefetched=0)
    policy.on_runs_due(0.501, wait=0.02)
    policy.on_claimed(0.502, 1, limit=2, next_due=None, complete=True)
    assert moments_of_claims(policy, 0.502, quiet=True) == pytest.approx([0.019])


def test_who_finds_runs_keeps_watch_for_the_next_due_time_and_others_wait_for_their_turn() -> None:
    for count, moment in ((1, 5.0), (0, 5.5)):
        policy = idle_policy(poll_interval=60)
        policy.run_due_in(0.0, 1.0)
        assert policy.decide(1.0, free=2, prefetched=0) == ClaimNow(2)
        policy.on_claimed(1.0, count, limit=2, next_due=4.0, due_wait=0.5)
        assert policy.decide(1.0, free=2, prefetched=0) == SleepFor(moment - 1.0)


def test_who_looks_because_it_is_its_turn_keeps_watch_for_the_next_due_time() -> None:
    policy = idle_policy(poll_interval=60)
    policy.on_runs_due(1.0)
    policy.decide(1.0, free=2, prefetched=0)
    policy.on_claimed(1.0, 0, limit=2, next_due=4.0, due_wait=0.5, complete=True)
    assert policy.decide(1.0, free=2, prefetched=0) == SleepFor(4.0)


def test_a_claim_just_before_a_due_time_hands_the_watch_to_nobody() -> None:
    policy = idle_policy(poll_interval=60)
    policy.run_due_in(0.0, 1.0)
    policy.decide(1.0, free=2, prefetched=0)
    policy.on_claimed(1.0, 0, limit=2, next_due=0.03125, due_wait=0.5)
    assert policy.decide(1.0, free=2, prefetched=0) == SleepFor(0.03125)


def test_it_sleeps_exactly_until_the_next_run_is_due() -> None:
    policy = idle_policy()
    policy.run_due_in(0.0, 0.75)
    policy.run_due_in(0.0, 0.25)
    assert policy.decide(0.125, free=2, prefetched=0) == SleepFor(0.125)
    assert policy.decide(0.25, free=2, prefetched=0) == ClaimNow(2)
    policy.on_claimed(0.25, 0, limit=2, next_due=0.5)
    assert policy.decide(0.25, free=2, prefetched=0) == SleepFor(0.5)


def test_a_due_time_reported_while_a_claim_is_in_flight_is_kept() -> None:
    policy = ClaimPolicy(slots=2, poll_interval=POLL)
    policy.decide(0.0, free=2, prefetched=0)
    policy.run_due_in(0.0, 0.25)  # of a run that parked after the claim had looked
    policy.on_claimed(0.0, 0, limit=2, next_due=1.0)
    assert policy.decide(0.0, free=2, prefetched=0) == SleepFor(0.25)


def test_the_due_time_of_a_claim_replaces_those_known_before() -> None:
    policy = idle_policy()
    policy.run_due_in(0.0, 10.5)  # then it was canceled, say
    policy.on_runs_due(0.0)
    assert policy.decide(10.0, free=2, prefetched=0) == ClaimNow(2)
    policy.on_claimed(10.0, 0, limit=2, next_due=None)
    assert policy.decide(10.0, free=2, prefetched=0) == SleepFor(POLL)


def test_a_full_claim_is_followed_by_another() -> None:
    policy = ClaimPolicy(slots=2, poll_interval=POLL)
    policy.decide(0.0, free=2, prefetched=0)
    policy.on_claimed(0.0, 2, limit=2, next_due=None)
    assert isinstance(policy.decide(0.0, free=0, prefetched=0), SleepFor)
    assert policy.decide(0.1, free=1, prefetched=0) == ClaimNow(1)


def test_a_notification_while_all_slots_are_busy_is_remembered() -> None:
    policy = idle_policy()
    policy.on_runs_due(0.1)
    assert isinstance(policy.decide(0.1, free=0, prefetched=0), SleepFor)
    assert policy.decide(1.9, free=1, prefetched=0) == ClaimNow(1)


def test_a_failed_claim_waits_for_the_poll_instead_of_spinning() -> None:
    policy = ClaimPolicy(slots=2, poll_interval=POLL)
    policy.decide(0.0, free=2, prefetched=0)
    policy.on_claim_failed(1.0)
    assert policy.decide(1.0, free=2, prefetched=0) == SleepFor(POLL)


def test_no_run_is_prefetched_while_runs_are_long() -> None:
    policy = idle_policy()
    for _ in range(50):
        policy.on_run_finished(1.0)
    policy.on_runs_due(1.0)
    assert policy.prefetch_target == 0
    assert isinstance(policy.decide(1.0, free=0, prefetched=0), SleepFor)


def test_a_batch_is_prefetched_while_runs_take_milliseconds() -> None:
    policy = idle_policy(slots=2)
    for _ in range(50):
        policy.on_run_finished(0.002)
    policy.on_runs_due(1.0)
    decision = policy.decide(1.0, free=0, prefetched=0)
    assert isinstance(decision, ClaimNow)
    assert 16 <= decision.count <= 32


def test_runs_are_prefetched_by_batches_not_one_by_one() -> None:
    policy = idle_policy(slots=2)
    for _ in range(50):
        policy.on_run_finished(0.002)
    target = policy.prefetch_target
    policy.on_runs_due(1.0)
    assert isinstance(policy.decide(1.0, free=0, prefetched=target - 1), SleepFor)
    decision = policy.decide(1.0, free=0, prefetched=target // 2)
    assert decision == ClaimNow(target - target // 2)


def test_runs_that_become_long_end_the_prefetch() -> None:
    policy = idle_policy(slots=2)
    for _ in range(50):
        policy.on_run_finished(0.002)
    policy.on_run_finished(10.0)
    assert policy.prefetch_target == 0


def test_one_run_is_prefetched_while_a_slot_becomes_free_soon() -> None:
    policy = idle_policy(slots=1)
    for _ in range(50):
        policy.on_run_finished(0.1)
    assert policy.prefetch_target == 1
    assert policy.decide(POLL, free=0, prefetched=0) == ClaimNow(1)


def test_more_runs_are_prefetched_while_claims_take_long() -> None:
    def target(claim_seconds: float) -> int:
        policy, now = ClaimPolicy(slots=4, poll_interval=POLL), 0.0
        for _ in range(50):
            policy.on_runs_due(now)
            assert isinstance(policy.decide(now, free=4, prefetched=0), ClaimNow)
            now += claim_seconds
            policy.on_claimed(now, 1, limit=4, next_due=None, complete=True)
            policy.on_run_finished(0.04)
        return policy.prefetch_target

    assert [target(seconds) for seconds in (0.002, 0.015, 10.0)] == [2, 5, 20]


def test_after_a_stall_no_run_is_prefetched_until_runs_prove_short() -> None:
    policy = idle_policy(slots=2)
    policy.on_run_finished(0.002)
    assert policy.prefetch_target > 0
    policy.on_prefetch_stalled()
    assert policy.prefetch_target == 0


class Life(RuleBasedStateMachine):
    """All events, in any order."""

    @initialize(slots=st.integers(1, 64), poll=st.floats(0.01, 5))
    def start(self, slots: int, poll: float) -> None:
        self.poll = poll
        self.slots = slots
        self.now = 0.0
        self.busy = 0
        self.prefetched = 0
        self.in_flight: int | None = None
        self.reason = True
        self.policy = ClaimPolicy(slots=slots, poll_interval=poll)

    @property
    def free(self) -> int:
        return self.slots - self.busy

    @rule(seconds=st.floats(0, 3))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def a_notification_arrives(self) -> None:
        self.policy.on_runs_due(self.now)
        self.reason = True

    @rule(wait=st.floats(0.001, 2))
    def a_notification_arrives_out_of_turn(self, wait: float) -> None:
        self.policy.on_runs_due(self.now, wait=wait)

    @rule(seconds=st.floats(0, 3))
    def a_run_will_be_due(self, seconds: float) -> None:
        self.policy.run_due_in(self.now, seconds)

    @precondition(lambda self: self.busy)
    @rule(seconds=st.floats(1e-5, 2))
    def a_run_finishes(self, seconds: float) -> None:
        self.policy.on_run_finished(seconds)
        self.busy -= 1
        self._assign()

    @rule()
    def it_decides(self) -> None:
        decision = self.policy.decide(self.now, free=self.free, prefetched=self.prefetched)
        match decision:
            case ClaimNow(count):
                assert self.in_flight is None
                assert (
                    0 < count <= max(0, self.free + self.policy.prefetch_target - self.prefetched)
                )
                self.in_flight = count
                self.reason = False
            case SleepFor(seconds):
                assert seconds > 0
                assert seconds <= self.poll + 1e-6 or self.in_flight is not None
                room = self.free > self.prefetched
                assert not (self.reason and room and self.in_flight is None), (
                    "an idle slot was left idle"
                )

    @precondition(lambda self: self.in_flight is not None)
    @rule(
        data=st.data(),
        next_due=st.none() | st.floats(0.001, 3),
        due_wait=st.floats(0, 2),
        complete=st.booleans(),
        quiet=st.booleans(),
    )
    def the_claim_returns(
        self,
        data: st.DataObject,
        next_due: float | None,
        due_wait: float,
        complete: bool,
        quiet: bool,
    ) -> None:
        assert self.in_flight is not None
        count = data.draw(st.integers(0, self.in_flight))
        self.policy.on_claimed(
            self.now,
            count,
            limit=self.in_flight,
            next_due=next_due,
            due_wait=due_wait,
            complete=complete,
            quiet=quiet,
        )
        self.reason = self.reason or count == self.in_flight
        self.prefetched += count
        self.in_flight = None
        self._assign()

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def the_claim_fails(self) -> None:
        self.policy.on_claim_failed(self.now)
        self.in_flight = None
        self.reason = False

    def _assign(self) -> None:
        assigned = min(self.prefetched, self.free)
        self.prefetched -= assigned
        self.busy += assigned

    @invariant()
    def the_number_of_prefetched_runs_is_bounded(self) -> None:
        if hasattr(self, "prefetched"):
            assert self.prefetched <= 200


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)


@given(durations=st.lists(st.floats(0, 1e4), min_size=1, max_size=50), slots=st.integers(1, 1000))
def test_the_prefetch_target_is_never_more_than_one_claim(
    durations: list[float], slots: int
) -> None:
    policy = ClaimPolicy(slots=slots, poll_interval=POLL)
    for duration in durations:
        policy.on_run_finished(duration)
        assert 0 <= policy.prefetch_target <= 200
