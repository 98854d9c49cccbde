"""What the overview of the dashboard counts: queues up to a bound."""

from __future__ import annotations

import psycopg
import pytest

from owsuper.db.dashboard import overview
from owsuper.db.dashboard.overview import OverviewQueries
from tests.db.rows import Tables, from_now


@pytest.mark.parametrize(("most", "expected"), [(2, (4, True)), (3, (5, False))])
def test_a_queue_says_that_there_are_more_only_if_some_were_not_counted(
    most: int,
    expected: tuple[int, bool],
    conn: psycopg.Connection,
    schema: str,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(overview, "MOST_DUE", most)
    for _ in range(3):
        tables.pending(available_at=from_now(-60))
    for _ in range(2):
        tables.parked(available_at=from_now(-60))
    [queue] = OverviewQueries(schema, "default").queues().run(conn)
    assert (queue.count, queue.more) == expected
