"""The lists of runs of the dashboard: filters, search, pages both ways, and numbers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper.core.pages import Position, Window
from owsuper.db.dashboard import run_lists
from owsuper.db.dashboard.run_lists import RunLists, RunPage, RunSearch
from tests.db.rows import Tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)


@pytest.fixture
def lists(schema: str) -> RunLists:
    return RunLists(schema, "default")


@pytest.fixture
def runs(tables: Tables) -> Tables:
    """Six runs of two workflows, one a minute; and one of another namespace."""
    tables.run(id="1-a", created_at=minutes(1), status="completed", finished_at=minutes(10))
    tables.run(id="2-b", created_at=minutes(2), status="failed", finished_at=minutes(3),
               error={"message": "no"}, version="2", workflow_name="v")  # fmt: skip
    tables.run(id="3-c", created_at=minutes(3), status="succeeded", finished_at=minutes(30))
    tables.run(id="4-d", created_at=minutes(4), status="sleeping", worker_id=None, version="2")
    tables.run(id="5-e", created_at=minutes(5), idempotency_key="order 5")
    tables.run(id="6-f", created_at=minutes(6), status="canceled", workflow_name="v",
               idempotency_key="order 5", finished_at=minutes(30))  # fmt: skip
    tables.run(id="7-g", created_at=minutes(7), namespace_id="other")
    for run in ("1-a", "2-b", "6-f", "7-g"):
        tables.describe(run, tenant="7", parity="odd" if run == "1-a" else "even")
    return tables


def page(
    conn: psycopg.Connection,
    lists: RunLists,
    search: RunSearch = RunSearch(),  # noqa: B008 - it is frozen
    window: Window = Window(10),  # noqa: B008 - likewise
    **options: Any,
) -> RunPage:
    return lists.page(search, window, **options).run(conn)


def ids(found: RunPage) -> str:
    return " ".join(run.id[0] for run in found.items)


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ({}, "6 5 4 3 2 1"),
        ({"statuses": ("failed",)}, "2"),
        ({"statuses": ("failed", "canceled")}, "6 2"),
        ({"statuses": ("completed",)}, "3 1"),
        ({"statuses": ("running",)}, "5 4"),
        ({"workflow": "v"}, "6 2"),
        ({"workflow": "v", "statuses": ("failed",)}, "2"),
        ({"workflow": "x"}, ""),
        ({"version": "2"}, "4 2"),
        ({"version": "2", "workflow": "v"}, "2"),
        ({"created_from": minutes(2), "created_until": minutes(4)}, "3 2"),
        ({"statuses": ("completed",), "created_from": minutes(2)}, "3"),
        ({"finished_from": minutes(10), "finished_until": minutes(30)}, "1"),
        ({"finished_from": minutes(10)}, "6 3 1"),
        ({"finished_until": minutes(10), "workflow": "v"}, "2"),
        ({"text": "2-b"}, "2"),
        ({"text": "5-"}, "5"),
        ({"text": "order 5"}, "6 5"),
        ({"text": "order 5", "workflow": "v"}, "6"),
        ({"text": "order 5", "statuses": ("running",)}, "5"),
        ({"text": "nothing"}, ""),
        ({"attributes": (("tenant", "7"),)}, "6 2 1"),
        ({"attributes": (("tenant", "7"), ("parity", "even"))}, "6 2"),
        ({"attributes": (("parity", "even"),), "statuses": ("failed",)}, "2"),
        ({"attributes": (("tenant", "7"),), "created_from": minutes(2)}, "6 2"),
        ({"attributes": (("tenant", "7"),), "text": "order 5"}, "6"),
        ({"attributes": (("tenant", "7"),), "crashed": True}, ""),
        ({"attributes": (("tenant", "8"),)}, ""),
    ],
    ids=str,
)
def test_a_list_has_the_runs_for_which_all_filters_hold_the_newest_first(
    search: dict[str, Any],
    expected: str,
    conn: psycopg.Connection,
    lists: RunLists,
    runs: Tables,
) -> None:
    wanted = RunSearch(**search)
    assert ids(page(conn, lists, wanted)) == expected
    assert ids(page(conn, lists, wanted, oldest_first=True)) == expected[::-1]
    number = len(expected.split())
    if wanted.few:
        assert page(conn, lists, wanted).total == number
    else:
        count = lists.count(wanted).run(conn)
        assert (count.counted, count.read_all) == (number, True)


def test_children_of_a_run_are_listed_and_filtered(
    conn: psycopg.Connection, lists: RunLists, tables: Tables
) -> None:
    parent = tables.run(id="9-parent")
    child = tables.child(parent, id="1-child", status="failed")
    tables.child(parent, id="2-child", idempotency_key="key")
    elsewhere = tables.run(id="3-child", namespace_id="other")
    tables.step(parent, kind="workflow", child_workflow_run_namespace_id="other",
                child_workflow_run_id=elsewhere)  # fmt: skip
    both = page(conn, lists, RunSearch(parent=parent))
    assert ids(both) in ("1 2", "2 1")
    assert both.total == 2
    assert ids(page(conn, lists, RunSearch(parent=parent, statuses=("failed",)))) == "1"
    assert ids(page(conn, lists, RunSearch(parent=parent, text="key"))) == "2"
    assert ids(page(conn, lists, RunSearch(parent=parent, text="1-ch"))) == "1"
    assert ids(page(conn, lists, RunSearch(parent="missing"))) == ""
    tables.describe(child, tenant="7")
    of_seven = RunSearch(parent=parent, attributes=(("tenant", "7"),))
    assert ids(page(conn, lists, of_seven)) == "1"
    [found] = page(conn, lists, RunSearch(text=child)).items
    assert found.parent_run_id == parent


def test_crashed_are_runs_that_were_given_up(
    conn: psycopg.Connection, lists: RunLists, schema: str, runs: Tables
) -> None:
    conn.execute(
        f'INSERT INTO "{schema}".owsuper_post_mortems (namespace_id, workflow_run_id, crash_id,'
        f" run_created_at, counted, given_up, evidence) SELECT 'default', id, n, created_at, true,"
        f" id = '2-b' AND n = 2, '{{}}' FROM \"{schema}\".workflow_runs, generate_series(1, 2) AS n"
        " WHERE id IN ('1-a', '2-b')".encode()
    )
    assert ids(page(conn, lists, RunSearch(crashed=True))) == "2"
    assert ids(page(conn, lists, RunSearch(crashed=True, workflow="w"))) == ""
    assert ids(page(conn, lists, RunSearch(crashed=True, text="order 5"))) == ""
    assert lists.count(RunSearch(crashed=True)).run(conn).counted == 1
    assert [run.id for run in page(conn, lists).items if run.crashed] == ["2-b"]


def test_a_summary_has_the_current_status_and_no_large_error(
    conn: psycopg.Connection, lists: RunLists, tables: Tables
) -> None:
    tables.run(id="1", status="sleeping", worker_id=None)
    tables.run(id="2", status="failed", error={"message": "x" * 1_000_000}, created_at=NOON)
    tables.run(id="3", status="failed", error={"message": "y" * 1000}, created_at=minutes(-1))
    parked, large, small = page(conn, lists).items
    assert (parked.status, parked.stored_status, parked.parked) == ("running", "sleeping", True)
    assert large.error is None or len(large.error) == 300
    assert small.error == "y" * 300


@pytest.mark.parametrize("oldest_first", [False, True])
@pytest.mark.parametrize(
    "search",
    [{}, {"statuses": ("completed",)}, {"workflow": "w"}, {"version": "1"}, {"text": "r1"}],
    ids=str,
)
def test_pages_lead_through_a_list_and_back(
    search: dict[str, Any],
    oldest_first: bool,
    conn: psycopg.Connection,
    lists: RunLists,
    tables: Tables,
) -> None:
    for number in range(7):  # three runs of each moment
        tables.run(
            id=f"r1-{number}", status="completed", version="1", created_at=minutes(number // 3)
        )
    wanted = RunSearch(**search)
    everything = ids_of(page(conn, lists, wanted, oldest_first=oldest_first))
    assert len(everything) == 7
    found = page(conn, lists, wanted, Window(3), oldest_first=oldest_first)
    assert found.previous is None
    pages = [ids_of(found)]
    while found.next:
        found = page(conn, lists, wanted, Window(3, found.next), oldest_first=oldest_first)
        pages.append(ids_of(found))
    assert [len(each) for each in pages] == [3, 3, 1]
    assert [run for each in pages for run in each] == everything
    for expected in pages[-2::-1]:
        assert found.previous
        window = Window(3, found.previous, backward=True)
        found = page(conn, lists, wanted, window, oldest_first=oldest_first)
        assert ids_of(found) == expected
        assert found.next
    assert found.previous is None


def ids_of(found: RunPage) -> list[str]:
    return [run.id for run in found.items]


@pytest.mark.parametrize("search", [{"workflow": "w"}, {"statuses": ("completed",)}, {}], ids=str)
def test_a_search_that_reads_too_much_says_how_far_it_has_come_and_goes_on(
    search: dict[str, Any],
    conn: psycopg.Connection,
    lists: RunLists,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_lists, "_MOST_READ", 4)
    for number in range(12):
        version = "rare" if number in (0, 1, 11) else "1"
        tables.run(id=f"{number:02}", status="completed", version=version,
                   created_at=minutes(number))  # fmt: skip
    wanted = RunSearch(version="rare", **search)
    found = page(conn, lists, wanted, Window(2))
    assert ids_of(found) == ["11"]
    assert found.searched_to == minutes(8)
    assert found.next == Position(minutes(8), "")
    found = page(conn, lists, wanted, Window(2, found.next))
    assert (ids_of(found), found.searched_to) == ([], minutes(4))
    found = page(conn, lists, wanted, Window(2, found.next))
    assert (ids_of(found), found.searched_to) == (["01", "00"], None)
    backward = Window(2, Position(minutes(0), "00"), backward=True)
    found = page(conn, lists, wanted, backward)
    assert (ids_of(found), found.searched_to) == (["01"], minutes(4))
    assert found.previous
    assert found.previous.created_at == minutes(4)
    found = page(conn, lists, wanted, Window(2, found.previous, backward=True))
    assert (ids_of(found), found.searched_to) == ([], minutes(8))


def test_more_runs_than_are_counted_are_estimated(
    conn: psycopg.Connection,
    lists: RunLists,
    tables: Tables,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(run_lists, "MOST_COUNTED", 5)
    for _ in range(20):
        tables.run(status="completed", finished_at=NOON)
    conn.execute(f'ANALYZE "{schema}".workflow_runs'.encode())
    for search in (RunSearch(), RunSearch(statuses=("completed",)), RunSearch(workflow="w")):
        count = lists.count(search).run(conn)
        assert (count.counted, count.read_all) == (5, False)
        assert count.estimate
        assert 10 <= count.estimate <= 30
    count = lists.count(RunSearch(finished_from=minutes(1))).run(conn)
    assert (count.counted, count.read_all) == (0, False)
    assert not lists.count(RunSearch(statuses=("failed",))).run(conn).counted


def test_a_search_says_that_more_ids_begin_with_the_text_than_it_finds(
    conn: psycopg.Connection, lists: RunLists, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_lists, "MOST_BEGINNINGS", 3)
    for number in range(3):
        tables.run(id=f"1-{number}", created_at=minutes(number))
    tables.run(id="2", idempotency_key="1-", created_at=minutes(3))
    found = page(conn, lists, RunSearch(text="1-"), Window(2))
    assert (ids_of(found), found.total, found.has_all) == (["2", "1-2"], 4, False)
    assert found.next
    found = page(conn, lists, RunSearch(text="1-"), Window(2, found.next))
    assert (ids_of(found), found.next, found.has_all) == (["1-1", "1-0"], None, False)
    assert page(conn, lists, RunSearch(text="1-1")).has_all
