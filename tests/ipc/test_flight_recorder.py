"""The flight recorder keeps the steps in flight beyond a death."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from owsuper.ipc.flight_recorder import FlightRecorder, create, read_claims


@pytest.fixture
def fd() -> Iterator[int]:
    fd = create(slots=3)
    yield fd
    os.close(fd)


@pytest.fixture
def recorder(fd: int) -> Iterator[FlightRecorder]:
    recorder = FlightRecorder(fd, slots=3)
    yield recorder
    recorder.close()


def test_nothing_is_in_flight_at_first(recorder: FlightRecorder) -> None:
    assert [recorder.read(slot) for slot in range(3)] == [None, None, None]


def test_slots_are_separate_and_a_step_that_is_over_is_removed(recorder: FlightRecorder) -> None:
    recorder.enter(0, "fetch")
    recorder.enter(2, "send")
    assert [recorder.read(slot) for slot in range(3)] == ["fetch", None, "send"]
    recorder.leave(0, "fetch")
    assert [recorder.read(slot) for slot in range(3)] == [None, None, "send"]


def test_parallel_steps_of_one_slot_are_all_named(recorder: FlightRecorder) -> None:
    recorder.enter(1, "a")
    recorder.enter(1, "b")
    recorder.enter(1, "a")
    assert recorder.read(1) == "a, b, a"
    recorder.leave(1, "a")
    assert recorder.read(1) == "b, a"
    recorder.leave(1)
    assert recorder.read(1) is None


def test_a_name_that_is_too_long_is_cut_where_a_character_may_be_torn(
    recorder: FlightRecorder,
) -> None:
    recorder.enter(0, "ü" * 300)
    recorder.enter(1, "next")
    read = recorder.read(0)
    assert read is not None
    assert read == "ü" * 127
    assert recorder.read(1) == "next"
    recorder.leave(0)
    recorder.enter(0, "x" + "ü" * 300)
    assert (recorder.read(0) or "").startswith("x" + "ü" * 126)


def test_leaving_a_step_that_was_never_entered_changes_nothing(recorder: FlightRecorder) -> None:
    recorder.enter(0, "fetch")
    recorder.leave(0, "other")
    assert recorder.read(0) == "fetch"


def test_records_of_many_threads_are_complete(recorder: FlightRecorder) -> None:
    def work(name: str) -> None:
        for _ in range(500):
            recorder.enter(0, name)
            recorder.leave(0, name)
        recorder.enter(0, name)

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set((recorder.read(0) or "").split(", ")) == {"t0", "t1", "t2", "t3"}


def test_the_record_outlives_a_child_that_was_killed(fd: int, recorder: FlightRecorder) -> None:
    pid = os.fork()
    if pid == 0:
        FlightRecorder(fd, slots=3).enter(1, "charge-card")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert recorder.read(1) == "charge-card"


def test_the_last_claim_of_each_slot_is_known_to_all_who_have_the_descriptor(
    fd: int, recorder: FlightRecorder
) -> None:
    assert read_claims(fd) == []
    recorder.assign(2, "host:1:a:one")
    recorder.assign(0, "host:1:a:two")
    recorder.assign(2, "host:1:a:3")
    assert read_claims(fd) == ["host:1:a:two", "host:1:a:3"]


def test_claims_and_steps_do_not_touch_each_other(fd: int, recorder: FlightRecorder) -> None:
    recorder.assign(0, "w" * 254)
    recorder.enter(2, "s" * 254)
    assert read_claims(fd) == ["w" * 254]
    assert recorder.read(2) == "s" * 254
    assert recorder.read(0) is None


def test_a_claim_that_does_not_fit_is_refused_rather_than_cut(recorder: FlightRecorder) -> None:
    with pytest.raises(ValueError, match="at most 254 bytes, not 255"):
        recorder.assign(0, "w" * 255)
