"""The screens Runs, Workflows and Waiting: what they show, their filters, and wrong parameters."""

from __future__ import annotations

import asyncio
import html
import json
import re
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import psycopg
import pytest
from starlette.datastructures import QueryParams
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from owsuper.core.pages import Position, encode_cursor
from owsuper.dashboard.run_query import RunQuery, matching_ids
from owsuper.dashboard.visit import Visit
from owsuper.db.dashboard import run_lists
from owsuper.db.dashboard.run_lists import RunSearch
from tests.dashboard.conftest import Browse
from tests.db.rows import Tables

NASTY = '<script>alert(1)</script> \u202e "x"'
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"


def shown(page: str) -> list[str]:
    """The ids of the runs in the rows of a list, in their order."""
    return re.findall(r'<th scope="row" class="id"><a class="mono" href="/runs/([^"]+)"', page)


def text_of(page: str) -> str:
    body = page[page.index("<main") : page.index("</main>")]
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", body)).split())


def link(page: str, rel: str) -> str | None:
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page)
    return None if found is None else html.unescape(found[1])


# --- Runs ------------------------------------------------------------------


def test_runs_are_listed_with_what_a_person_looks_for(browser: TestClient, tables: Tables) -> None:
    parent = tables.parked(
        id="1-parent", workflow_name="order", version="2", idempotency_key="key 7"
    )
    tables.child(parent, id="2-child", status="failed", worker_id=None,
                 error={"message": "card declined"}, finished_at=datetime.now(UTC))  # fmt: skip
    page = browser.get("/runs").text
    assert sorted(shown(page)) == ["1-parent", "2-child"]
    text = text_of(page)
    for part in ("2 runs", "order 2", "waits", "card declined", "key key 7", "child of 1-parent"):
        assert part in text


def test_no_runs_are_said_to_be_none(browser: TestClient) -> None:
    assert "There are no runs yet." in browser.get("/runs").text
    assert "No run matches this filter." in browser.get("/runs?status=failed").text


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("status=failed", "2"),
        ("status=failed&status=canceled", "3 2"),
        ("workflow=v", "2"),
        ("version=2", "2"),
        ("q=3-c", "3"),
        ("q=order+7", "1"),
        ("created_from=90m&created_until=30m", "2"),
        ("created_from=2000-01-01&created_until=2999-01-01T00:00Z", "3 2 1"),
        ("finished_from=1h", "3"),
        ("crashed=1", ""),
        ("attribute=tenant%3D7", "2 1"),
        ("attribute=tenant%3D7&attribute=of%3Dyou", "2"),
        ("attribute=tenant%3D7&sort=oldest", "1 2"),
        ("sort=oldest", "1 2 3"),
        ("status=&q=&sort=", "3 2 1"),
    ],
)
def test_a_filter_stands_in_the_address_and_in_its_form(
    query: str, expected: str, browser: TestClient, tables: Tables
) -> None:
    now = datetime.now(UTC)
    tables.run(id="1-a", idempotency_key="order 7", created_at=now - timedelta(hours=2))
    tables.run(id="2-b", status="failed", workflow_name="v", version="2",
               created_at=now - timedelta(hours=1),
               finished_at=now - timedelta(hours=3))  # fmt: skip
    tables.run(id="3-c", status="canceled", finished_at=now)
    tables.describe("1-a", tenant="7")
    tables.describe("2-b", tenant="7", of="you")
    page = browser.get(f"/runs?{query}")
    assert page.status_code == 200
    assert " ".join(run[0] for run in shown(page.text)) == expected
    for name, value in QueryParams(query).multi_items():
        if value and name not in ("sort", "status", "crashed"):
            assert f'name="{name}" value="{value}"' in page.text
    checked = re.findall(r'value="(\w+)" checked', page.text)
    assert sorted(checked) == sorted(re.findall(r"(?:status|crashed)=(\w+)", query))


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("attribute=tenant", "attribute: &#39;tenant&#39; must be a name and a value"),
        ("attribute=%3D7", "attribute: the name &#39;&#39; must have 1 to 64 characters"),
        ("attribute=a%3D1&attribute=a%3D2", "attribute: an attribute is given twice"),
        ("attribute=a%3D" + "x" * 257, "the value has 257 characters"),
    ],
)
def test_an_attribute_that_is_none_is_refused(
    query: str, message: str, browser: TestClient
) -> None:
    answer = browser.get(f"/runs?{query}")
    assert answer.status_code == 400
    assert message in answer.text


def test_attributes_are_links_to_the_runs_that_have_them(browse: Browse, tables: Tables) -> None:
    tables.run(id="1-a")
    tables.describe("1-a", **{"tenant": "7 & 8", NASTY[:20]: NASTY})
    for page in ("/runs", "/runs/1-a"):
        shows = browse().get(page).text
        assert 'href="/runs?attribute=tenant%3D7+%26+8"' in shows
        assert "7 &amp; 8" in shows
        assert "<script>alert" not in shows
        hides = browse(hide_values=True).get(page).text
        assert "tenant" in hides
        assert "7 &amp; 8" not in hides
    raw = browse(hide_values=True).get("/runs/1-a/raw.json").json()
    assert raw["run"]["attributes"]["tenant"] == "hidden"
    assert browse().get("/runs/1-a/raw.json").json()["run"]["attributes"]["tenant"] == "7 & 8"


def test_pages_of_runs_lead_on_and_back(browser: TestClient, tables: Tables) -> None:
    for number in range(120):
        tables.run(id=f"{number:03}", created_at=datetime.now(UTC) - timedelta(minutes=number),
                   status="failed")  # fmt: skip
    everything: list[str] = []
    url: str | None = "/runs?status=failed"
    while url is not None:
        last, page = url, browser.get(url).text
        assert "120 runs" in page
        everything += shown(page)
        url = link(page, "next")
    assert everything == [f"{number:03}" for number in range(120)]
    back = link(browser.get(last).text, "prev")
    assert back
    assert shown(browser.get(back).text) == everything[50:100]


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/runs?status=done", "status: must be one of pending, running, completed, failed"),
        ("/runs?staus=failed", "staus: there is no such filter; there are q, status, workflow"),
        ("/runs?crashed=yes", "crashed: must be one of 1"),
        ("/runs?sort=up", "sort: must be one of newest, oldest"),
        ("/runs?created_from=soon", "created_from: 'soon' is no time"),
        ("/runs?finished_until=-1h", "finished_until: '-1h' is no time"),
        ("/runs?workflow=a&workflow=b", "workflow: was given 2 times"),
        ("/runs?parent=a%00b", "parent: has a character"),
        ("/runs?q=" + "x" * 600, "q: has 600 characters"),
        ("/runs?after=yesterday", "after: 'yesterday' is no cursor"),
        ("/runs?before=e30%3D", "before: 'e30=' is no cursor"),
        ("/runs?after=e30%3D&before=e30%3D", "after"),
        ("/waiting?sort=up", "sort: must be one of oldest, newest"),
        ("/waiting?after=x", "after: 'x' is no cursor"),
        ("/waiting?signals=x", "signals: there is no such filter"),
        ("/workflows?name=x", "name: there is no such filter"),
    ],
)
def test_a_wrong_parameter_is_named(path: str, named: str, browser: TestClient) -> None:
    page = browser.get(path)
    assert page.status_code == 400
    assert named in text_of(page.text)


def test_a_cursor_of_a_run_that_is_gone_still_finds_its_place(
    browser: TestClient, tables: Tables
) -> None:
    now = datetime.now(UTC)
    tables.run(id="old", created_at=now - timedelta(days=1))
    gone = encode_cursor(Position(now - timedelta(hours=1), "gone"))
    assert shown(browser.get(f"/runs?after={quote(gone)}").text) == ["old"]


def test_text_of_runs_is_text_and_values_can_be_hidden(browse: Browse, tables: Tables) -> None:
    tables.run(id=f"1{NASTY}", workflow_name=NASTY, version=NASTY, idempotency_key=NASTY,
               status="failed", error={"message": NASTY})  # fmt: skip
    page = browse().get("/runs").text
    assert "<script>alert" not in page
    assert "\u202e" not in page
    assert page.count(ESCAPED) >= 5
    hidden = browse(hide_values=True).get("/runs").text
    assert "error hidden" in hidden


def test_runs_can_be_selected_only_where_actions_are_allowed(
    browse: Browse, tables: Tables
) -> None:
    tables.run(id="1-a")
    assert 'form="selected"' not in browse().get("/runs").text
    page = browse(allow_actions=True).get("/runs").text
    assert '<input type="checkbox" name="id" value="1-a" form="selected"' in page


def test_a_filter_can_be_passed_on_as_text() -> None:
    given = "q=a%26b&status=failed&status=pending&created_from=2026-03-01T00%3A00Z"
    query = RunQuery.read(QueryParams(given + "&after=x&sort=oldest&version="))
    assert query.search.statuses == ("pending", "failed")
    again = RunQuery.from_text(query.text)
    assert (again.search, again.text) == (query.search, query.text)
    assert RunQuery.read(QueryParams("")).is_empty
    with pytest.raises(HTTPException, match="status: must be one of"):
        RunQuery.from_text("status=x")


def test_all_ids_that_match_are_read_in_batches(
    conn: psycopg.Connection, schema: str, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        tables.run(id=str(number), created_at=datetime.now(UTC) - timedelta(minutes=number))
    tables.run(id="x", status="failed")

    async def read(work: Any) -> Any:
        return work(conn)

    async def batches(search: RunSearch) -> list[list[str]]:
        visit = cast("Visit", SimpleNamespace(schema=schema, namespace="default", read=read))
        return [ids async for ids in matching_ids(visit, search, size=2)]

    running = RunSearch(statuses=("running",))
    assert asyncio.run(batches(running)) == [["0", "1"], ["2", "3"], ["4"]]
    monkeypatch.setattr(run_lists, "MOST_BEGINNINGS", 1)
    with pytest.raises(HTTPException, match="runs or more begin with '1'; write more"):
        asyncio.run(batches(RunSearch(text="1")))


# --- Workflows -------------------------------------------------------------


def serve(tables: Tables, *workflows: tuple[str, str | None]) -> None:
    """A connected worker, behind a pooler, that serves these workflows."""
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_supervisors (namespace_id, id, lease_seconds, host,'
        " pid, pooled, announced_at, workflows, status) VALUES ('default', 'box:7:x', 0, 'box', 7,"
        ' true, now(), $1, \'{"state": "serving"}\')'.encode(),
        [json.dumps(workflows)],
    )


def test_workflows_show_their_versions_who_serves_them_and_their_numbers(
    browser: TestClient, tables: Tables
) -> None:
    serve(tables, ("order", "2"), ("unused", None))
    now = datetime.now(UTC)
    for seconds in (1, 3):
        tables.run(workflow_name="order", version="1", status="completed", created_at=now,
                   started_at=now, finished_at=now + timedelta(seconds=seconds))  # fmt: skip
    for _ in range(2):
        tables.run(workflow_name="order", status="failed", created_at=now)
    text = text_of(browser.get("/workflows").text)
    assert "order 1 · 0 workers 2 · 1 worker 0 0 2 2 0 50.0 % 2.00s" in text
    assert "unused no version · 1 worker 0 0 0 0 0 \u2013 \u2013" in text


def test_a_workflow_shows_its_slowest_and_its_failing_steps(
    browser: TestClient, tables: Tables
) -> None:
    now = datetime.now(UTC)
    run = tables.run(workflow_name="order", status="completed", created_at=now, finished_at=now)
    for name, status, seconds in (("charge", "failed", 1), ("charge", "completed", 1),
                                  ("ship", "completed", 9)):  # fmt: skip
        tables.step(run, step_name=name, status=status, started_at=now,
                    finished_at=now + timedelta(seconds=seconds))  # fmt: skip
    slow, bad = text_of(browser.get("/workflows?workflow=order").text).split("Steps that fail most")
    assert slow.index("ship function 1 0 9.00s") < slow.index("charge function 2 1 (50.0 %) 1.00s")
    assert "charge function 2 1 (50.0 %)" in bad
    assert "ship" not in bad
    assert "No step has ended" in browser.get("/workflows?workflow=missing").text


def test_many_workflows_are_shown_page_by_page(browser: TestClient, tables: Tables) -> None:
    assert "There are no workflows" in browser.get("/workflows").text
    for number in range(30):
        tables.run(workflow_name=f"w{number:02}")
    names: list[str] = []
    url: str | None = "/workflows"
    while url is not None:
        page = browser.get(url).text
        names += re.findall(r'/workflows\?workflow=(\w+)"', page)
        url = link(page, "next")
    assert names == [f"w{number:02}" for number in range(30)]


# --- Waiting ---------------------------------------------------------------


def test_the_inbox_shows_what_runs_wait_for(browser: TestClient, tables: Tables) -> None:
    assert "No run waits for a signal." in browser.get("/waiting").text
    run = tables.parked(id="1-a", workflow_name="expense", version="3")
    until = (datetime.now(UTC) + timedelta(days=2, minutes=1)).isoformat()
    context = {"kind": "signal-wait", "signal": NASTY, "timeoutAt": until}
    tables.step(run, kind="signal-wait", step_name="approval", context=context,
                started_at=datetime.now(UTC) - timedelta(hours=3))  # fmt: skip
    tables.signal_wait(tables.parked(id="2-b"), "go")
    page = browser.get("/waiting").text
    assert ESCAPED in page
    assert "<script>alert" not in page
    for part in ("approval", "1-a", "expense 3", "3h 0m ago", "in 2d 0h"):
        assert part in text_of(page)
    assert "2-b" not in browser.get("/waiting?workflow=expense").text
    only = browser.get("/waiting?signal=go").text
    assert "2-b" in only
    assert "1-a" not in only
    assert "No run waits for such a signal." in browser.get("/waiting?signal=stop").text


def test_pages_of_the_inbox_lead_on_and_back(browser: TestClient, tables: Tables) -> None:
    for number in range(60):
        run = tables.parked(id=f"{number:03}")
        tables.signal_wait(run, created_at=datetime.now(UTC) - timedelta(minutes=100 - number))
    first = browser.get("/waiting?workflow=w").text
    following = link(first, "next")
    assert following
    second = browser.get(following).text
    assert link(second, "next") is None
    runs = [re.findall(r'href="/runs/(\d+)"', page) for page in (first, second)]
    assert runs[0] + runs[1] == [f"{number:03}" for number in range(60)]
    back = link(second, "prev")
    assert back
    assert re.findall(r'href="/runs/(\d+)"', browser.get(back).text) == runs[0]
