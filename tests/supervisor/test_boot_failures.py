"""How long a supervisor waits after children that die at their start."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from owsuper.supervisor.boot_failures import BootFailures
from tests.supervisor.worker import FLOWS, Begin


def pauses(count: int) -> list[tuple[float, float]]:
    """The pauses after so many children that died at their start, one after the other.

    Each from before the death and from after it, since this process may be interrupted between.
    """
    failures = BootFailures()
    failures.on_ready(all_ready=True)
    found = []
    for _ in range(count):
        before = time.monotonic()
        failures.next_start = 0.0
        failures.on_failed(requested_at=before, was_ready=False)
        found.append((failures.next_start - before, failures.next_start - time.monotonic()))
    return found


def test_pauses_double_up_to_half_a_minute_less_a_random_part() -> None:
    for nominal, (at_least, at_most) in zip([0.1, 0.2, 0.4, 0.8, 1.6], pauses(5), strict=True):
        assert nominal / 2 <= at_least
        assert at_most <= nominal
    at_least, at_most = pauses(20)[-1]
    assert at_least >= 15
    assert at_most <= 30
    assert pauses(20)[-1] != pauses(20)[-1]


def test_children_that_were_started_together_count_as_one_failure_for_the_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    failures = BootFailures()
    failures.on_ready(all_ready=True)
    together = time.monotonic() - 1
    with caplog.at_level(logging.ERROR):
        for _ in range(8):
            failures.on_failed(requested_at=together, was_ready=False)
    assert failures.next_start <= time.monotonic() + 0.1
    assert failures.in_a_row == 8
    [line] = caplog.messages
    assert line.startswith(
        "child processes end at or soon after their start; failures in a row: 1;"
    )


def test_one_ready_child_that_is_killed_delays_nothing() -> None:
    failures = BootFailures()
    failures.on_ready(all_ready=True)
    failures.on_failed(requested_at=time.monotonic(), was_ready=True)
    assert failures.next_start == 0.0
    assert str(failures) == ""
    before = time.monotonic()
    failures.on_failed(requested_at=before, was_ready=True)
    assert failures.next_start >= before + 0.1
    assert str(failures) == "failed starts in a row: 2"


def test_all_children_ready_is_the_end_of_it_but_another_failure_waits_longer() -> None:
    failures = BootFailures()
    for _ in range(2):
        failures.on_failed(requested_at=time.monotonic(), was_ready=False)
    failures.on_ready(all_ready=False)
    assert str(failures) == "failed starts in a row: 2"
    failures.on_ready(all_ready=True)
    assert str(failures) == ""
    before = time.monotonic()
    failures.on_failed(requested_at=before, was_ready=True)
    assert failures.next_start >= before + 0.2


def test_a_child_that_served_forgives() -> None:
    failures = BootFailures()
    failures.on_ready(all_ready=True)
    for _ in range(9):
        failures.on_failed(requested_at=time.monotonic(), was_ready=False)
    failures.on_served()
    failures.next_start = 0.0
    failures.on_failed(requested_at=time.monotonic(), was_ready=False)
    assert failures.next_start <= time.monotonic() + 0.1


def test_at_the_start_three_failures_are_enough() -> None:
    failures = BootFailures()
    hopeless = []
    for _ in range(3):
        failures.on_failed(requested_at=time.monotonic(), was_ready=False)
        hopeless.append(failures.hopeless)
    assert hopeless == [False, False, True]


@pytest.fixture
def flaky(tmp_path: Path) -> Callable[[], None]:
    """An application whose children cannot start while a file exists; call it to make the file."""
    code = (
        "\nos.register_at_fork(after_in_child=lambda: os.path.exists('broken') and os._exit(9))\n"
    )
    (tmp_path / "flows.py").write_text(FLOWS + code)
    return (tmp_path / "broken").touch


def test_later_failures_are_logged_and_shown_in_the_title_until_they_end(
    begin: Begin, flaky: Callable[[], None], tmp_path: Path
) -> None:
    worker = begin()
    flaky()
    worker.kill_child(0)
    worker.log.wait_for(r"child died: exit code 9", count=2)
    worker.log.wait_for(r"failures in a row: \d+; starting others in [\d.]+ s", count=2)
    worker.await_title("failed starts in a row: ")
    worker.await_outcome(worker.start("record", text="hello"))
    (tmp_path / "broken").unlink()
    worker.log.wait_for("all child processes are ready again")
    worker.await_title("/2 busy$")
