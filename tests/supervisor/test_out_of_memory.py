"""What the kernel's count of kills says about a child that was killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from owsuper.supervisor.out_of_memory import OutOfMemoryKills

Count = Callable[[int], None]


@pytest.fixture
def events(tmp_path: Path) -> Path:
    return tmp_path / "memory.events"


@pytest.fixture
def count(events: Path) -> Count:
    def write(kills: int) -> None:
        text = f"low 0\nhigh 3\nmax 17\noom {kills}\noom_kill {kills}\noom_group_kill 0\n"
        events.write_text(text)

    write(5)
    return write


def test_a_kill_while_the_count_stands_still_was_somebody_elses(events: Path, count: Count) -> None:
    assert OutOfMemoryKills(events).explain() is False


def test_each_kill_that_the_kernel_counts_explains_one_death(events: Path, count: Count) -> None:
    kills = OutOfMemoryKills(events)
    count(7)
    assert [kills.explain() for _ in range(3)] == [True, True, False]


def test_a_kill_just_before_a_look_still_explains_a_death(events: Path, count: Count) -> None:
    kills = OutOfMemoryKills(events)
    count(6)
    kills.look()
    assert kills.explain() is True
    kills.look()
    assert kills.explain() is False


def test_a_kill_of_long_ago_was_another_process(events: Path, count: Count) -> None:
    kills = OutOfMemoryKills(events)
    count(6)
    kills.look()
    kills.look()
    assert kills.explain() is False


def test_cgroup_v1_counts_in_a_file_of_another_form(events: Path) -> None:
    events.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n")
    kills = OutOfMemoryKills(events)
    assert kills.explain() is False
    events.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 4\n")
    assert kills.explain() is True


@pytest.mark.parametrize("text", [None, "", "oom 3\n", "oom_kill x\n"])
def test_without_a_count_nothing_is_known(events: Path, text: str | None) -> None:
    if text is not None:
        events.write_text(text)
    kills = OutOfMemoryKills(events)
    kills.look()
    assert kills.explain() is None
