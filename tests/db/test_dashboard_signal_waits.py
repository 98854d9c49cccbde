"""The inbox of the dashboard: steps that wait for signals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper.core.pages import Window
from owsuper.db.dashboard import signal_waits
from owsuper.db.dashboard.signal_waits import WaitLists, WaitPage
from tests.db.rows import Tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def minutes(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


@pytest.fixture
def lists(schema: str) -> WaitLists:
    return WaitLists(schema, "default")


def wait(tables: Tables, number: int, signal: str = "go", **columns: Any) -> str:
    """A parked run with a wait that began so many minutes after noon; the id of the wait."""
    run = tables.parked(id=f"run {number}", **columns)
    started = minutes(number)
    return tables.signal_wait(run, signal, id=str(number), created_at=started, started_at=started)


def page(
    conn: psycopg.Connection,
    lists: WaitLists,
    window: Window = Window(10),  # noqa: B008 - it is frozen
    **options: Any,
) -> WaitPage:
    return lists.page(window, **options).run(conn)


def ids(found: WaitPage) -> list[str]:
    return [wait.id for wait in found.items]


def test_a_wait_says_what_for_since_when_and_until_when(
    conn: psycopg.Connection, lists: WaitLists, tables: Tables
) -> None:
    run = tables.parked(workflow_name="order", version="2", deadline_at=minutes(90))
    context = {"kind": "signal-wait", "signal": "paid", "timeoutAt": "2026-03-01T13:00:00.000Z"}
    tables.step(run, kind="signal-wait", step_name="payment", context=context, started_at=NOON)
    [found] = page(conn, lists).items
    assert (found.signal, found.step_name, found.run_id) == ("paid", "payment", run)
    assert (found.began_at, found.until, found.deadline_at) == (NOON, minutes(60), minutes(90))
    assert (found.workflow_name, found.version) == ("order", "2")


def test_what_does_not_wait_for_a_signal_is_left_out(
    conn: psycopg.Connection, lists: WaitLists, tables: Tables, schema: str
) -> None:
    wait(tables, 1)
    wait(tables, 2, status="canceled")
    answered = wait(tables, 3)
    tables.update("step_attempts", wait(tables, 4), status="completed")
    tables.step(tables.parked(), kind="sleep")
    conn.execute(
        f'INSERT INTO "{schema}".workflow_signals (namespace_id, id, signal, workflow_run_id,'
        f" step_attempt_id) VALUES ('default', 's', 'go', 'run 3', '{answered}')".encode()
    )
    for signal in (None, "go"):
        assert ids(page(conn, lists, signal=signal)) == ["1"]


def test_waits_are_listed_by_their_beginning_and_filtered(
    conn: psycopg.Connection, lists: WaitLists, tables: Tables
) -> None:
    wait(tables, 3, "b", workflow_name="v")
    wait(tables, 1, "a")
    wait(tables, 2, "b")
    assert ids(page(conn, lists)) == ["1", "2", "3"]
    assert ids(page(conn, lists, newest_first=True)) == ["3", "2", "1"]
    assert ids(page(conn, lists, workflow="v")) == ["3"]
    assert ids(page(conn, lists, signal="b")) == ["2", "3"]
    assert ids(page(conn, lists, signal="b", workflow="w", newest_first=True)) == ["2"]
    assert ids(page(conn, lists, signal="c")) == []


@pytest.mark.parametrize("newest_first", [False, True])
@pytest.mark.parametrize("signal", [None, "go"])
@pytest.mark.parametrize("most", [2, 1000])
def test_pages_lead_through_the_inbox_and_back(
    most: int,
    signal: str | None,
    newest_first: bool,
    conn: psycopg.Connection,
    lists: WaitLists,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal_waits, "_SLACK", most)
    monkeypatch.setattr(signal_waits, "_MOST_READ", most)
    for number in range(5):
        wait(tables, number)
    options = {"signal": signal, "newest_first": newest_first}
    everything = ids(page(conn, lists, **options))
    assert sorted(everything) == list("01234")
    found = page(conn, lists, Window(2), **options)
    pages = [ids(found)]
    while found.next:
        found = page(conn, lists, Window(2, found.next), **options)
        pages.append(ids(found))
    assert [number for each in pages for number in each] == everything
    back = []
    while found.previous:
        found = page(conn, lists, Window(2, found.previous, backward=True), **options)
        back.append(ids(found))
    assert [number for each in back[::-1] for number in each] == everything[
        : -len(pages[-1]) or None
    ]


def test_a_search_that_reads_too_much_goes_on_with_the_next_page(
    conn: psycopg.Connection,
    lists: WaitLists,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(signal_waits, "_MOST_READ", 3)
    for number in range(8):
        wait(tables, number, workflow_name="rare" if number == 7 else "w")
    found = page(conn, lists, Window(2), workflow="rare")
    assert (ids(found), found.searched_to) == ([], minutes(2))
    assert found.next
    found = page(conn, lists, Window(2, found.next), workflow="rare")
    assert (ids(found), found.searched_to) == ([], minutes(5))
    found = page(conn, lists, Window(2, found.next), workflow="rare")
    assert (ids(found), found.searched_to, found.next) == (["7"], None, None)
