"""Actions on many runs: in lists, with progress, each refusal told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from owsuper.dashboard.run_query import RunQuery
from tests.client.conftest import Rows
from tests.dashboard.conftest import Browse
from tests.dashboard.forms import finished, follow, forms, send
from tests.db.rows import Tables

Insert = Callable[..., list[str]]


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    return browse(allow_actions=True)


@pytest.fixture
def insert(conn: psycopg.Connection, schema: str) -> Insert:
    def runs(count: int, workflow: str = "w", status: str = "pending") -> list[str]:
        cursor = conn.execute(
            f'INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status,'
            " config, attempts, available_at, created_at, updated_at)"
            " SELECT 'default', gen_random_uuid(), $1, $2, '{}', 0, now() + interval '1 hour',"
            " now() - n * interval '1 ms', now() FROM generate_series(1, $3::integer) AS n"
            " RETURNING id".encode(),
            (workflow, status, count),
        )
        return [str(row[0]) for row in cursor]

    return runs


def notice(page: Response) -> str:
    found = re.search(r'<p class="notice[^>]*>(.*?)</p>', page.text, re.S)
    assert found, page.text
    return re.sub(r"<.*?>", "", found[1]).strip()


def test_selected_runs_are_canceled_and_refusals_are_told(
    browser: TestClient, insert: Insert, tables: Tables, rows: Rows
) -> None:
    wanted = insert(120)
    spared = insert(3)
    ended = wanted[:2]
    rows.end(*ended)
    page = browser.get("/actions/cancel", params={"id": wanted})
    assert "Cancel 120 runs?" in page.text
    answer = finished(browser, follow(browser, send(browser, forms(page)[0])))
    assert notice(answer) == "118 done, 2 refused."
    assert all(run in answer.text for run in ended)
    assert "completed" in answer.text
    canceled = {row["id"] for row in tables.rows("workflow_runs", "status = 'canceled'")}
    assert canceled == set(wanted) - set(ended)
    assert {tables.fetch(run)["status"] for run in spared} == {"pending"}


def test_how_long_ago_is_counted_from_when_the_page_was_shown(
    browser: TestClient, insert: Insert, tables: Tables
) -> None:
    insert(2, "mail", "failed")
    match = "workflow=mail&finished_until=1h&created_from=1d&version= "
    form = forms(browser.get("/actions/retry", params={"all": "1", "match": match}))[0]
    assert form.value("match") is not None
    shown = RunQuery.from_text(str(form.value("match")))
    assert shown == RunQuery.from_text(shown.text)  # it reads no clock
    assert (shown.search.workflow, shown.search.version) == ("mail", None)
    assert shown.search.finished_until is not None
    since = shown.search.finished_until + timedelta(microseconds=1)
    for run in tables.rows("workflow_runs"):  # an hour ago by now, and not when the page was shown
        tables.update("workflow_runs", run["id"], finished_at=since)
    answer = finished(browser, follow(browser, send(browser, form)))
    assert notice(answer) == "0 done."


def test_all_runs_that_match_are_retried_but_for_those_that_came_later(
    browser: TestClient, insert: Insert, tables: Tables
) -> None:
    wanted = insert(150, "mail", "failed")
    others = insert(5, "order", "failed")
    page = browser.get("/actions/retry?all=1&match=workflow%3Dmail%26status%3Dfailed")
    assert "Retry 150 runs?" in page.text
    later = tables.run(
        workflow_name="mail", status="failed", created_at=datetime(2040, 1, 1, tzinfo=UTC)
    )
    answer = finished(browser, follow(browser, send(browser, forms(page)[0])))
    assert notice(answer) == "150 done."
    assert {tables.fetch(run)["status"] for run in wanted} == {"pending"}
    assert {tables.fetch(run)["status"] for run in (*others, later)} == {"failed"}


def test_a_filter_that_matches_nothing_is_answered(browser: TestClient) -> None:
    page = browser.get("/actions/cancel?all=1&match=workflow%3Dnone")
    assert "Cancel 0 runs?" in page.text
    answer = finished(browser, follow(browser, send(browser, forms(page)[0])))
    assert notice(answer) == "0 done."


def test_a_beginning_of_too_many_ids_is_refused_also_after_its_page(
    browser: TestClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        tables.parked(id=f"import-7-{number}")
    path = "/actions/cancel?all=1&match=q%3Dimport-7"
    form = forms(browser.get(path))[0]
    monkeypatch.setattr("owsuper.db.dashboard.run_lists.MOST_BEGINNINGS", 3)
    for answer in (browser.get(path), send(browser, form)):
        assert answer.status_code == 400
        assert "write more of the id" in answer.text
    assert tables.count("owsuper_audit") == 0


def test_too_many_selected_runs_are_refused(browser: TestClient) -> None:
    page = browser.get("/actions/cancel", params={"id": [f"run-{n}" for n in range(1001)]})
    assert page.status_code == 400
    assert "all that match a filter" in page.text


@pytest.mark.slow
def test_ten_thousand_runs_are_canceled_with_progress(
    browser: TestClient, insert: Insert, conn: psycopg.Connection, schema: str
) -> None:
    insert(10_050)
    form = forms(browser.get("/actions/cancel?all=1&match=workflow%3Dw"))[0]
    table = f'"{schema}".workflow_runs'
    last = f"SELECT FROM {table} ORDER BY created_at LIMIT 1 FOR UPDATE"
    with conn.transaction():
        conn.execute(last.encode())  # so that the action cannot end before it is looked at
        page = follow(browser, send(browser, form))
        assert "Under way" in page.text
        # The same form, sent again meanwhile, leads to the same page.
        assert str(follow(browser, send(browser, form)).url) == str(page.url)
    answer = finished(browser, page)
    assert notice(answer).replace("\N{NARROW NO-BREAK SPACE}", "") == "10050 done."
    statuses = conn.execute(f"SELECT status, count(*) FROM {table} GROUP BY 1".encode())
    assert statuses.fetchall() == [("canceled", 10_050)]
    parts = conn.execute(f'SELECT count(*) FROM "{schema}".owsuper_audit_outcomes'.encode())
    assert parts.fetchall() == [(102,)]


def test_child_runs_are_canceled_with_the_runs_of_a_list(
    browser: TestClient, tables: Tables
) -> None:
    parents = [tables.parked() for _ in range(3)]
    children = [tables.child(parent, worker_id=None) for parent in parents]
    grandchild = tables.child(children[0], worker_id=None)
    page = browser.get("/actions/cancel", params={"id": parents})
    answer = finished(browser, follow(browser, send(browser, forms(page)[0])))
    assert notice(answer) == "3 done."
    statuses = {tables.fetch(run)["status"] for run in (*parents, *children, grandchild)}
    assert statuses == {"canceled"}
