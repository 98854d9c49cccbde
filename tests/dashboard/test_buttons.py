"""Every page leads to the actions on what it shows, unless the dashboard is read-only."""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

from tests.dashboard.conftest import Browse
from tests.dashboard.forms import forms, send
from tests.db.rows import Tables


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    return browse(allow_actions=True)


def links(browser: TestClient, path: str) -> list[str]:
    """The addresses of actions on a page, each of which is a page itself."""
    page = browser.get(path)
    assert page.status_code == 200, page.text
    found = [
        each.replace("&amp;", "&") for each in re.findall(r'href="(/actions/[^"]*)"', page.text)
    ]
    for each in found:
        assert browser.get(each).status_code == 200, each
    return found


def test_the_page_of_a_run_leads_to_what_can_be_done(browser: TestClient, tables: Tables) -> None:
    waiting = tables.parked()
    tables.signal_wait(waiting, "go & stop")
    assert links(browser, f"/runs/{waiting}") == [
        f"/actions/signal?signal=go+%26+stop&run={waiting}",
        f"/actions/cancel?id={waiting}",
    ]
    ended = {"worker_id": None, "available_at": None}
    failed = tables.run(status="failed", **ended)
    assert links(browser, f"/runs/{failed}") == [
        f"/actions/retry?id={failed}",
        f"/actions/rerun?id={failed}",
    ]
    completed = tables.run(status="completed", **ended)
    assert links(browser, f"/runs/{completed}") == [
        f"/actions/retry?id={completed}",
        f"/actions/rerun?id={completed}",
    ]


def test_runs_of_a_list_are_selected_and_all_that_match(
    browser: TestClient, tables: Tables
) -> None:
    runs = {tables.parked(workflow_name="mail") for _ in range(2)}
    found = links(browser, "/runs?workflow=mail&status=running")
    assert "/actions/start" in found
    match = "status%3Drunning%26workflow%3Dmail"
    assert {each for each in found if match in each or "workflow%3Dmail%26status" in each} == {
        each for each in found if each != "/actions/start"
    }
    page = browser.get("/runs?workflow=mail")
    assert set(re.findall(r'name="id" value="([^"]+)" form="selected"', page.text)) == runs
    [form] = [each for each in forms(page) if each.action == "/actions/cancel"]
    for button, verb in enumerate(("Cancel", "Retry")):
        assert f"{verb} 2 runs?" in send(browser, form, button, id=sorted(runs)).text


def test_the_inbox_leads_to_the_answer(browser: TestClient, tables: Tables) -> None:
    run = tables.parked()
    tables.signal_wait(run, "go")
    assert f"/actions/signal?signal=go&run={run}" in links(browser, "/waiting")


@pytest.mark.parametrize("path", ["/", "/runs", "/waiting", "/workflows", "/workers", "/audit"])
def test_a_read_only_dashboard_has_no_such_link(path: str, browse: Browse, tables: Tables) -> None:
    run = tables.parked()
    tables.signal_wait(run, "go")
    browser = browse()
    assert "/actions/" not in browser.get(path).text
    assert "/actions/" not in browser.get(f"/runs/{run}").text
