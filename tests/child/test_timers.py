"""Delayed calls: other threads ask, the event loop's thread calls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from unittest.mock import MagicMock, Mock

import pytest

from owsuper.child.deferred_writes import DeferredWrites
from owsuper.child.slots import Slots
from owsuper.child.timers import Alarms, DelayedCalls, Sweep
from owsuper.event_loop import Loop, Waker


class CountingWaker(Waker):
    """Counts how often other threads wake the loop."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.wakes = 0

    def wake(self) -> None:
        self.wakes += 1
        super().wake()


@pytest.fixture
def waker() -> Iterator[CountingWaker]:
    waker = CountingWaker()
    yield waker
    waker.close()


@pytest.fixture
def loop(waker: CountingWaker, loop: Loop) -> Loop:
    loop.add(waker)
    return loop


@pytest.fixture
def calls(loop: Loop, waker: CountingWaker) -> DelayedCalls:
    return DelayedCalls(loop, waker)


def test_functions_are_called_in_the_order_of_their_times(loop: Loop, calls: DelayedCalls) -> None:
    called: list[str] = []
    calls.call_later(0.02, lambda: called.append("late"))
    calls.call_later(0.0, lambda: called.append("soon"))
    calls.call_later(0.01, lambda: called.append("between"))
    while len(called) < 3:
        loop.turn()
    assert called == ["soon", "between", "late"]


def test_another_thread_wakes_a_loop_that_sleeps(loop: Loop, calls: DelayedCalls) -> None:
    called = threading.Event()
    calls.call_later(3600.0, lambda: None)
    asking = threading.Timer(0.05, calls.call_later, (0.0, called.set))
    asking.start()
    began = time.monotonic()
    while not called.is_set():
        loop.turn()
    asking.join()
    assert time.monotonic() - began < 60


def test_the_loop_is_woken_only_when_the_earliest_time_changes(
    calls: DelayedCalls, waker: CountingWaker
) -> None:
    calls.call_later(10.0, lambda: None)
    assert waker.wakes == 1
    calls.call_later(20.0, lambda: None)
    assert waker.wakes == 1
    calls.call_later(5.0, lambda: None)
    assert waker.wakes == 2


def test_a_call_that_asks_for_another_does_not_wake_its_own_loop(
    loop: Loop, calls: DelayedCalls, waker: CountingWaker
) -> None:
    called = threading.Event()
    calls.call_later(0.0, lambda: calls.call_later(0.0, called.set))
    while not called.is_set():
        loop.turn()
    assert waker.wakes == 1


def test_a_call_that_fails_is_logged_and_the_next_is_made(
    loop: Loop, calls: DelayedCalls, caplog: pytest.LogCaptureFixture
) -> None:
    called = threading.Event()
    calls.call_later(0.0, lambda: 1 / 0)
    calls.call_later(0.0, called.set)
    while not called.is_set():
        loop.turn()
    assert "a delayed call failed" in caplog.messages


def test_a_sweep_goes_on_while_there_is_something_to_do_and_then_rests(
    loop: Loop, calls: DelayedCalls
) -> None:
    sweeps: list[bool] = []

    def sweep() -> bool:
        sweeps.append(len(sweeps) < 3)
        return sweeps[-1]

    repeated = Sweep(calls, 0.001, sweep, idle_periods=16)
    repeated.arm()
    repeated.arm()  # changes nothing
    while loop.timers.earliest() < time.monotonic() + 10:
        loop.turn()
    assert sweeps == [True] * 3 + [False] * 16
    repeated.arm()
    while loop.timers.earliest() < time.monotonic() + 10:
        loop.turn()
    assert sweeps == [True] * 3 + [False] * 32


def test_an_alarm_that_is_canceled_or_replaced_does_not_ring(
    loop: Loop, calls: DelayedCalls
) -> None:
    alarms = Alarms(calls)
    rung: list[str] = []
    alarms.set("a", 0.01, lambda: rung.append("canceled"))
    alarms.set("b", 0.01, lambda: rung.append("replaced"))
    alarms.set("b", 0.02, lambda: rung.append("b"))
    alarms.set("c", 0.03, lambda: rung.append("c"))
    alarms.cancel("a")
    alarms.cancel("unknown")
    while "c" not in rung:
        loop.turn()
    assert rung == ["b", "c"]


def test_an_alarm_may_set_itself_again(loop: Loop, calls: DelayedCalls) -> None:
    alarms = Alarms(calls)
    rung: list[int] = []

    def ring() -> None:
        rung.append(len(rung))
        if len(rung) < 3:
            alarms.set("again", 0.0, ring)

    alarms.set("again", 0.0, ring)
    while len(rung) < 3:
        loop.turn()
    assert rung == [0, 1, 2]


# --- results that wait a moment for the next write of their run ---------------------------------


def turn_until_idle(loop: Loop) -> int:
    """Return how often the loop has turned."""
    turns = 0
    while loop.timers.earliest() < time.monotonic() + 10:
        loop.turn()
        turns += 1
    return turns


def test_the_first_result_of_a_run_wakes_no_loop(
    loop: Loop, calls: DelayedCalls, waker: CountingWaker
) -> None:
    calls.call_later(0.0, lambda: None)
    turn_until_idle(loop)  # the loop is in this thread
    waker.wakes = 0
    threads, owner = Mock(), Mock()
    deferred = DeferredWrites(calls, threads)
    slots = MagicMock(_services=Mock(deferred_writes=deferred))
    slots._executor.workflow_of.return_value.is_async = False
    Slots.assign(slots, 0, Mock())
    step = threading.Thread(target=deferred.add, args=[owner, Mock()])
    step.start()
    step.join()
    assert waker.wakes == 0
    turn_until_idle(loop)
    threads.submit.assert_called_once_with(owner.flush_deferred)


def test_a_run_without_results_wakes_the_process_a_few_times_only(
    loop: Loop, calls: DelayedCalls
) -> None:
    deferred = DeferredWrites(calls, Mock())
    deferred.expect()
    assert turn_until_idle(loop) < 10
