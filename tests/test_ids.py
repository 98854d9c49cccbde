"""Ids that sort by the time at which they were made."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

import pytest

from owsuper.ids import Ids, draw, new_id


def milliseconds(id_: str) -> int:
    """Since 1970, as RFC 9562 has it for version 7."""
    return UUID(id_).int >> 80


def test_ids_are_uuids_in_their_usual_form() -> None:
    for made in (Ids()(), new_id(), *draw(1000)):
        assert (UUID(made).version, UUID(made).variant) == (7, RFC_4122)
        assert str(UUID(made)) == made


def test_an_id_holds_the_time_of_its_creation() -> None:
    before = time.time_ns() // 1_000_000
    made = [new_id(), Ids()(), *draw(2)]
    after = time.time_ns() // 1_000_000
    assert all(before <= milliseconds(each) <= after + 1 for each in made)


def test_draw_returns_the_number_of_ids_in_ascending_order() -> None:
    for count in (0, 1, 3, 20_000):
        drawn = draw(count)
        assert len(drawn) == count
        assert drawn == sorted(set(drawn))


def test_each_call_gives_a_greater_id_even_if_the_clock_is_put_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ids = Ids()
    made = [ids() for _ in range(10_000)]
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    made += [ids() for _ in range(1000)]
    assert made == sorted(set(made))


def test_the_random_part_differs_between_ids_of_the_same_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_700_000_000_000_000_000)
    assert len({new_id() for _ in range(1000)}) == 1000


def test_threads_never_get_the_same_id() -> None:
    ids = Ids()
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: ids(), range(20_000)))
    assert len(set(made)) == len(made)
