"""The event loop: it watches what changes, runs what is due, and hands over signals."""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time

from owsuper.event_loop import NEVER, Backoff, Loop, Timers
from owsuper.supervisor.signals import SignalInbox


class Reader:
    """Reads a socket that may be replaced."""

    events = selectors.EVENT_READ

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.heard: list[bytes] = []

    def fileno(self) -> int:
        return self.sock.fileno()

    def on_ready(self, _mask: int) -> None:
        self.heard.append(self.sock.recv(100))


def test_a_timer_ends_the_sleep(loop: Loop) -> None:
    fired: list[float] = []
    start = time.monotonic()
    loop.timers.add("t", lambda: fired.append(time.monotonic())).after(0.02)
    while not fired:
        loop.turn()
    assert fired[0] - start >= 0.02


def test_a_descriptor_of_the_same_number_is_a_new_one(loop: Loop) -> None:
    first, other = socket.socketpair()
    reader = Reader(first)
    loop.add(reader)
    other.send(b"one")
    loop.turn()
    number = first.fileno()
    first.close()
    other.close()
    second, other = socket.socketpair()
    assert number in (second.fileno(), other.fileno())  # the number is used again
    if second.fileno() != number:
        second, other = other, second
    reader.sock = second
    loop.forget_descriptor(reader)
    other.send(b"two")
    loop.turn()
    assert reader.heard == [b"one", b"two"]
    loop.remove(reader)
    second.close()
    other.close()


def test_a_number_moves_from_a_closed_member_to_an_older_one(loop: Loop) -> None:
    a, a_other = socket.socketpair()
    older = Reader(a)
    b, b_other = socket.socketpair()
    younger = Reader(b)
    loop.add(older)
    loop.add(younger)
    loop.timers.add("t", lambda: None).after(0)
    loop.turn()
    number = b.fileno()
    b.close()
    c, c_other = socket.socketpair()
    assert number in (c.fileno(), c_other.fileno())  # the number is used again
    if c.fileno() != number:
        c, c_other = c_other, c
    a.close()
    older.sock = c
    c_other.send(b"here")
    loop.turn()
    assert older.heard == [b"here"]
    for sock in (a_other, b_other, c, c_other):
        sock.close()


def test_a_member_removed_by_another_in_the_same_turn_is_not_called(loop: Loop) -> None:
    a, a_other = socket.socketpair()
    b, b_other = socket.socketpair()
    readers = [Reader(a), Reader(b)]

    def remove_the_other(me: Reader, other: Reader) -> None:
        me.heard.append(me.sock.recv(100))
        loop.remove(other)

    readers[0].on_ready = lambda _mask: remove_the_other(*readers)
    readers[1].on_ready = lambda _mask: remove_the_other(*reversed(readers))
    for reader in readers:
        loop.add(reader)
    a_other.send(b"x")
    b_other.send(b"x")
    loop.turn()
    assert sorted(len(reader.heard) for reader in readers) == [0, 1]
    for sock in (a, b, a_other, b_other):
        sock.close()


def test_a_signal_is_noted_and_handed_over_by_the_loop(loop: Loop) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    got: list[signal.Signals] = []
    inbox = SignalInbox([signal.SIGUSR1, signal.SIGUSR2], got.append)
    loop.add(inbox)
    os.kill(os.getpid(), signal.SIGUSR1)
    os.kill(os.getpid(), signal.SIGUSR2)
    assert got == []
    while len(got) < 2:
        loop.turn()
    assert sorted(got) == [signal.SIGUSR1, signal.SIGUSR2]
    loop.remove(inbox)
    inbox.close()
    assert signal.getsignal(signal.SIGUSR1) == before


def test_a_thousand_signals_do_not_block_the_handler(loop: Loop) -> None:
    got: list[signal.Signals] = []
    inbox = SignalInbox([signal.SIGUSR1], got.append)
    loop.add(inbox)
    for _ in range(1000):
        os.kill(os.getpid(), signal.SIGUSR1)
    loop.turn()
    assert got
    loop.remove(inbox)
    inbox.close()


def test_nothing_is_due_before_anything_is_started() -> None:
    timers = Timers()
    timers.add("poll", lambda: None, period=1.0)
    assert timers.earliest() == NEVER


def test_a_duty_with_a_period_is_due_again_after_each_run() -> None:
    runs: list[float] = []
    timers = Timers()
    timer = timers.add("poll", lambda: runs.append(time.monotonic()), period=60.0)
    timer.after(0)
    before = time.monotonic()
    timers.run_due()
    assert len(runs) == 1
    assert before + 60.0 <= timer.due <= runs[0] + 60.0
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
