"""The flight recorder keeps the steps in flight beyond a death."""

from __future__ import annotations

import faulthandler
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from owsuper.ipc.flight_recorder import FlightRecorder, StepInTime, create, read_claims


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


def test_a_name_that_is_half_written_has_no_characters_that_the_database_refuses(
    fd: int, recorder: FlightRecorder
) -> None:
    os.pwrite(fd, b"\x06\x00abc", 8)  # the length, and half of the name
    assert recorder.read(0) == "abc\ufffd\ufffd\ufffd"


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
    assert read_claims(fd, 3) == []
    recorder.assign(2, "host:1:a:one")
    recorder.assign(0, "host:1:a:two")
    recorder.assign(2, "host:1:a:3")
    assert read_claims(fd, 3) == ["host:1:a:two", "host:1:a:3"]


def test_claims_and_steps_do_not_touch_each_other(fd: int, recorder: FlightRecorder) -> None:
    recorder.assign(0, "w" * 254)
    recorder.enter(2, "s" * 254)
    assert read_claims(fd, 3) == ["w" * 254]
    assert recorder.read(2) == "s" * 254
    assert recorder.read(0) is None


def test_a_claim_that_does_not_fit_is_refused_rather_than_cut(recorder: FlightRecorder) -> None:
    with pytest.raises(ValueError, match="at most 254 bytes, not 255"):
        recorder.assign(0, "w" * 255)


# --- since when, standard error, stacks ----------------------------------------------------------


def test_a_slot_says_since_when_its_oldest_step_runs(recorder: FlightRecorder) -> None:
    assert recorder.running_since(1) is None
    before = time.monotonic()
    recorder.enter(1, "first")
    between = time.monotonic()
    recorder.enter(1, "second")
    assert before <= (recorder.running_since(1) or 0) <= between
    recorder.leave(1, "first")
    assert between <= (recorder.running_since(1) or 0) <= time.monotonic()
    recorder.leave(1)
    assert recorder.running_since(1) is None


def test_a_short_standard_error_is_kept_whole(recorder: FlightRecorder) -> None:
    assert recorder.read_stderr() is None
    recorder.append_stderr(b"one\ntw")
    recorder.append_stderr(b"o\n")
    assert recorder.read_stderr() == "one\ntwo\n"


@pytest.mark.parametrize("size", [1, 7, 100, 8192, 20_000])
def test_of_a_long_standard_error_the_last_whole_lines_are_kept(
    recorder: FlightRecorder, size: int
) -> None:
    written = "".join(f"line {n} äöü\n" for n in range(3_000)).encode()
    for start in range(0, len(written), size):
        recorder.append_stderr(written[start : start + size])
    kept = (recorder.read_stderr() or "").encode()
    assert written.endswith(b"\n" + kept)
    assert 8192 - 20 <= len(kept) <= 8192


def test_one_endless_line_is_kept_in_part(recorder: FlightRecorder) -> None:
    recorder.append_stderr(b"x" * 10_000)
    assert recorder.read_stderr() == "x" * 8192


def test_a_last_line_that_is_too_long_is_kept_in_part(recorder: FlightRecorder) -> None:
    recorder.append_stderr(b"before\n" + b"x" * 10_000 + b"\n")
    assert recorder.read_stderr() == "x" * 8191


def test_what_was_written_by_a_child_that_was_killed_is_read_by_others(
    fd: int, recorder: FlightRecorder
) -> None:
    pid = os.fork()
    if pid == 0:
        FlightRecorder(fd, slots=3).append_stderr(b"last words\n")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert recorder.read_stderr() == "last words\n"


def test_stacks_are_written_through_the_descriptor(fd: int, recorder: FlightRecorder) -> None:
    assert recorder.read_trace() is None
    os.lseek(fd, recorder.trace_offset, os.SEEK_SET)
    recorder.assign(2, "w" * 254)
    recorder.append_stderr(b"x" * 10_000)
    faulthandler.dump_traceback(fd)
    assert "test_stacks_are_written_through_the_descriptor" in (recorder.read_trace() or "")
    assert read_claims(fd, 3) == ["w" * 254]
    assert recorder.read_stderr() == "x" * 8192


def test_a_fork_that_is_detached_records_nothing(fd: int, recorder: FlightRecorder) -> None:
    recorder.append_stderr(b"mine\n")
    copy = FlightRecorder(fd, slots=3)
    copy.detach()
    copy.append_stderr(b"of a fork\n")
    copy.enter(0, "of a fork")
    assert recorder.read_stderr() == "mine\n"
    assert recorder.read(0) is None


def test_the_step_that_times_out_first_is_kept_beside_the_names_and_the_claims(
    fd: int, recorder: FlightRecorder
) -> None:
    longest = StepInTime("id", "\U0001f642" * 500, 30.0, datetime(2030, 1, 1, tzinfo=UTC), 12.5)
    for slot in range(3):
        recorder.enter(slot, f"step {slot}")
        recorder.assign(slot, f"claim {slot}")
    recorder.write_timed(0, longest)
    recorder.write_timed(2, longest)
    recorder.write_timed(2, None)
    assert [recorder.read_timed(slot) for slot in range(3)] == [longest, None, None]
    assert [recorder.read(slot) for slot in range(3)] == ["step 0", "step 1", "step 2"]
    assert read_claims(fd, 3) == ["claim 0", "claim 1", "claim 2"]


def test_a_record_that_is_torn_is_none(fd: int, recorder: FlightRecorder) -> None:
    step = StepInTime("id", "key", 30.0, datetime(2030, 1, 1, tzinfo=UTC), 12.5)
    recorder.write_timed(1, step)
    start = 3 * (2 * 256 + 8) + 4096
    os.pwrite(fd, b"\x05\x00", start)
    assert recorder.read_timed(1) is None


def test_a_record_that_is_replaced_while_it_is_read_is_none(
    fd: int, recorder: FlightRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixture of two records could be decoded: the id of one attempt, the time of another."""
    times = (30.0, datetime(2030, 1, 1, tzinfo=UTC), 12.5)
    reads: list[bytes] = []
    read = FlightRecorder._timed_data

    def read_and_replace(self: FlightRecorder, slot: int) -> bytes:
        reads.append(read(self, slot))
        self.write_timed(slot, StepInTime("other", "key", *times))
        return reads[-1]

    recorder.write_timed(1, StepInTime("first", "key", *times))
    monkeypatch.setattr(FlightRecorder, "_timed_data", read_and_replace)
    assert recorder.read_timed(1) is None
    assert len(reads) == 2
