"""When a parent of several child runs is due, as some of them end."""

from __future__ import annotations

from datetime import timedelta

import pytest

from owsuper.core.model import Complete, Park, WriteSet
from owsuper.db.runs import RunStore
from tests.db.rows import ME, Tables, from_now

EACH = timedelta(milliseconds=4)  # for each child run that is still open


def end(tables: Tables, store: RunStore, *children: str) -> None:
    """Complete these child runs in one transaction, each under a claim of its own."""
    for child in children:
        tables.update("workflow_runs", child, worker_id=f"host:1:{child}")
    store.commit(
        tables.conn,
        [WriteSet(child, f"host:1:{child}", (), Complete(None)) for child in children],
    )


def delay(tables: Tables, parent: str) -> timedelta:
    """How long after its last change the parent is due."""
    row = tables.fetch(parent)
    due: timedelta = row["available_at"] - row["updated_at"]
    return due


def test_the_end_of_an_only_child_makes_its_parent_due_at_once(
    tables: Tables, store: RunStore
) -> None:
    parent = tables.parked()
    end(tables, store, tables.child(parent))
    assert delay(tables, parent) == timedelta(0)


@pytest.mark.parametrize("count", [2, 40])
def test_an_earlier_end_makes_it_due_later_the_more_children_are_open(
    tables: Tables, store: RunStore, count: int
) -> None:
    parent = tables.parked()
    children = [tables.child(parent) for _ in range(count)]
    end(tables, store, children[0])
    assert delay(tables, parent) == (count - 1) * EACH


def test_it_is_due_within_two_seconds_however_many_are_open(
    tables: Tables, store: RunStore
) -> None:
    parent = tables.parked()
    first, *_ = [tables.child(parent) for _ in range(520)]
    end(tables, store, first)
    assert delay(tables, parent) == timedelta(seconds=2)


def test_the_end_of_the_last_child_makes_it_due_at_once_whatever_was_said_before(
    tables: Tables, store: RunStore
) -> None:
    parent = tables.parked()
    *others, last = [tables.child(parent) for _ in range(40)]
    end(tables, store, *others)
    tables.update("workflow_runs", parent, available_at=from_now(3600))
    end(tables, store, last)
    assert delay(tables, parent) == timedelta(0)


def test_several_ends_in_one_transaction_count_as_one(tables: Tables, store: RunStore) -> None:
    parent = tables.parked()
    children = [tables.child(parent) for _ in range(5)]
    end(tables, store, *children[:3])
    assert delay(tables, parent) == 2 * EACH


def test_an_end_does_not_postpone_what_is_due_before(tables: Tables, store: RunStore) -> None:
    parent = tables.parked(available_at=from_now(-1))
    before = tables.fetch(parent)
    first, *_ = [tables.child(parent) for _ in range(3)]
    end(tables, store, first)
    assert tables.fetch(parent) == before


@pytest.mark.parametrize("open_children", [0, 3])
def test_a_parent_that_parks_after_an_end_is_due_as_if_it_had_parked_before(
    tables: Tables, store: RunStore, open_children: int
) -> None:
    parent = tables.run()
    tables.child(parent, status="completed")
    for _ in range(open_children):
        tables.child(parent)
    waits = tuple(step["id"] for step in tables.steps_of(parent))
    store.commit(tables.conn, [WriteSet(parent, ME, (), Park(from_now(3600), awaits=waits))])
    assert delay(tables, parent) == open_children * EACH


def test_a_parent_whose_children_are_all_open_parks_until_its_time(
    tables: Tables, store: RunStore
) -> None:
    parent, later = tables.run(), from_now(3600)
    tables.child(parent)
    waits = tuple(step["id"] for step in tables.steps_of(parent))
    store.commit(tables.conn, [WriteSet(parent, ME, (), Park(later, awaits=waits))])
    assert tables.fetch(parent)["available_at"] == later
