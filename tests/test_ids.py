"""Random ids."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import RFC_4122, UUID

from owsuper.ids import Ids, draw


def test_ids_are_random_uuids_in_their_usual_form() -> None:
    for made in (Ids()(), *draw(1000)):
        assert (UUID(made).version, UUID(made).variant) == (4, RFC_4122)
        assert str(UUID(made)) == made


def test_as_many_are_drawn_as_were_asked_for() -> None:
    assert [len(set(draw(count))) for count in (0, 1, 3)] == [0, 1, 3]


def test_threads_never_get_the_same_id() -> None:
    ids = Ids()
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: ids(), range(20_000)))
    assert len(set(made)) == len(made)
