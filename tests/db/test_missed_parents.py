"""Parents that nobody woke, because the worker that ended their child run died before it did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from owsuper.db.sweeps import SweepQueries, parse_missed
from tests.db.rows import Tables, from_now, perform
from tests.fixtures.postgres import connect


def wake(tables: Tables, after: tuple[str, str] = ("", "")) -> list[tuple[str, str]]:
    query = SweepQueries(tables.schema, "default").wake_missed_parents(after)
    following, missed = parse_missed(perform(tables.conn, query))
    assert following == ("", "")
    return missed


def due(tables: Tables, run: str) -> bool:
    at = tables.fetch(run)["available_at"]
    return isinstance(at, datetime) and at <= from_now(0)


@pytest.mark.parametrize("status", ["completed", "succeeded", "failed", "canceled"])
@pytest.mark.parametrize("parked", ["running", "sleeping"])
def test_a_parent_whose_child_has_ended_is_due(tables: Tables, parked: str, status: str) -> None:
    parent = tables.parked(status=parked)
    child = tables.child(parent, status=status, worker_id=None, finished_at=from_now(-1))
    assert wake(tables) == [(parent, child)]
    assert due(tables, parent)
    assert wake(tables) == []


@pytest.mark.parametrize(
    ("parent", "child"),
    [
        ({}, {"status": "running"}),
        ({}, {"status": "pending", "worker_id": None}),
        ({}, {"linked": False, "status": "completed"}),
        ({"worker_id": "a"}, {"status": "completed"}),
        ({"status": "completed"}, {"status": "completed"}),
        ({"due_in": 9}, {"status": "completed"}),
    ],
    ids=["its child runs", "waits", "is of another step", "it runs", "it ended", "it is due soon"],
)
def test_others_are_left_alone(
    tables: Tables, parent: dict[str, Any], child: dict[str, Any]
) -> None:
    if "due_in" in parent:
        parent = {"available_at": from_now(parent["due_in"])}
    run = tables.parked(**parent)
    tables.child(run, **child)
    before = tables.fetch(run)
    assert wake(tables) == []
    assert tables.fetch(run) == before


def test_a_parent_that_was_written_since_has_seen_the_end_of_its_child(tables: Tables) -> None:
    """Its code may wait for the child no more: it timed out, or was cancelled."""
    parent = tables.parked(updated_at=from_now(-1))
    tables.child(parent, status="completed", finished_at=from_now(-2))
    assert wake(tables) == []


def test_a_parent_that_may_have_looked_before_the_end_was_committed_is_woken_once(
    tables: Tables,
) -> None:
    parent = tables.parked(updated_at=from_now(-17))
    child = tables.child(parent, status="completed", finished_at=from_now(-20))
    assert wake(tables) == [(parent, child)]
    tables.update("workflow_runs", parent, available_at=from_now(3600))
    assert wake(tables) == []


def test_a_look_ends_after_a_page_and_the_next_goes_on(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.db.sweeps._WAITS", 2)
    parents = sorted(tables.parked() for _ in range(5))
    children = [tables.child(each, status="failed", finished_at=from_now(-1)) for each in parents]
    query = SweepQueries(tables.schema, "default").wake_missed_parents
    after, found = ("", ""), []
    for page in (2, 2, 1):
        after, missed = parse_missed(perform(tables.conn, query(after)))
        assert len(missed) == page
        found += missed
    assert after == ("", "")
    assert sorted(found) == sorted(zip(parents, children, strict=True))


def test_a_locked_parent_is_left_for_the_next_time(tables: Tables, database_url: str) -> None:
    parent = tables.parked()
    tables.child(parent, status="completed", finished_at=from_now(-1))
    with connect(database_url) as other, other.transaction():
        other.execute(
            f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR UPDATE', [parent]
        )
        assert wake(tables) == []
    assert len(wake(tables)) == 1
