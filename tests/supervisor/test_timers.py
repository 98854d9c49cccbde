"""Duties run when they are due, and delays grow."""

from __future__ import annotations

import time

from owsuper.supervisor.timers import NEVER, Backoff, Timers


def test_nothing_is_due_before_anything_is_started() -> None:
    timers = Timers()
    timers.add("poll", lambda: None, period=1.0)
    assert timers.earliest() == NEVER


def test_a_duty_with_a_period_is_due_again_after_each_run() -> None:
    runs: list[float] = []
    timers = Timers()
    timer = timers.add("poll", lambda: runs.append(time.monotonic()), period=1.0)
    timer.after(0)
    timers.run_due()
    assert len(runs) == 1
    assert 0.9 < timer.due - time.monotonic() <= 1.0
    timers.run_due()
    assert len(runs) == 1


def test_a_duty_without_a_period_runs_once() -> None:
    runs: list[str] = []
    timers = Timers()
    timer = timers.add("reconnect", lambda: runs.append("ran"))
    timer.after(0)
    timers.run_due()
    timers.run_due()
    assert runs == ["ran"]
    assert timer.due == NEVER


def test_the_earliest_of_several_reasons_counts() -> None:
    timer = Timers().add("due", lambda: None)
    timer.at_latest(20.0)
    timer.at_latest(10.0)
    timer.at_latest(15.0)
    assert timer.due == 10.0


def test_what_is_due_runs_in_the_order_of_its_time() -> None:
    order: list[str] = []
    timers = Timers()
    late = timers.add("late", lambda: order.append("late"))
    early = timers.add("early", lambda: order.append("early"))
    late.at_latest(2.0)
    early.at_latest(1.0)
    timers.run_due()
    assert order == ["early", "late"]


def test_a_duty_may_cancel_a_later_one_that_is_due_as_well() -> None:
    ran: list[str] = []
    timers = Timers()
    second = timers.add("second", lambda: ran.append("second"))
    first = timers.add("first", second.cancel)
    first.at_latest(1.0)
    second.at_latest(2.0)
    timers.run_due()
    assert ran == []


def test_delays_grow_with_jitter_up_to_a_limit_and_start_over() -> None:
    backoff = Backoff(0.1, limit=5.0)
    delays = [backoff.next() for _ in range(100)]
    assert 0.05 <= delays[0] <= 0.1
    assert 0.1 <= delays[1] <= 0.2
    assert all(2.5 <= delay <= 5.0 for delay in delays[6:])
    assert len(set(delays[6:])) > 1
    backoff.reset()
    assert backoff.next() <= 0.1
