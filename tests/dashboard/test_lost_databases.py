"""The database goes away at the worst moment of an action: it is performed once all the same."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from tests.dashboard.conftest import Browse
from tests.dashboard.forms import finished, follow, forms, send
from tests.db.rows import Tables
from tests.fixtures.proxy import Proxy


@pytest.fixture
def ow(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    """A client behind a network that the test breaks."""
    client = OpenWorkflow(proxy.url, schema=schema)
    yield client
    client.close()


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    return browse(allow_actions=True)


LOSSES = [
    (half, statement)
    for half in ("request", "answer")
    for statement in (b"owsuper_audit (", b"owsuper_audit_outcomes", b".workflow_signals (")
]


@pytest.mark.parametrize(("half", "statement"), LOSSES)
def test_a_connection_that_breaks_sends_no_signal_twice(
    half: str, statement: bytes, browser: TestClient, tables: Tables, proxy: Proxy
) -> None:
    run = tables.parked()
    tables.signal_wait(run, "go")
    form = forms(browser.get(f"/actions/signal?signal=go&run={run}"))[0]
    lose = proxy.lose_answer if half == "answer" else proxy.lose_request
    lose(statement)
    answer = follow(browser, send(browser, form, json="7"))
    proxy.wait_for_drop()
    assert "The signal was sent." in answer.text
    assert [each["data"] for each in tables.rows("workflow_signals")] == [7]
    assert tables.count("owsuper_audit") == 1
    assert tables.count("owsuper_audit_outcomes") == 1


def test_without_a_database_nothing_is_done_and_the_form_can_be_sent_again(
    browser: TestClient, tables: Tables, proxy: Proxy
) -> None:
    run = tables.parked()
    form = forms(browser.get(f"/actions/cancel?id={run}"))[0]
    proxy.cut()
    answer = send(browser, form)
    assert answer.status_code == 503
    assert "nothing was done" in answer.text
    assert tables.fetch(run)["status"] == "running"
    proxy.restore()
    assert "The run is canceled." in follow(browser, send(browser, form)).text


@pytest.mark.parametrize("path", ["/actions/start?workflow=w", "/actions/signal?signal=go"])
def test_an_action_without_an_answer_is_asked_for_again_and_performed_once(
    path: str,
    browser: TestClient,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
    proxy: Proxy,
) -> None:
    """The dashboard ends after it has acted, and before it has written the answer."""
    tables.signal_wait(tables.parked(workflow_name="other"), "go")
    form = forms(browser.get(path))[0]
    sent = send(browser, form, json="7")
    tables.conn.execute(f'DELETE FROM "{tables.schema}".owsuper_audit_outcomes'.encode())
    monkeypatch.setattr("owsuper.dashboard.pages.audit._FRESH", 0.0)
    page = follow(browser, sent)
    assert "No answer was recorded" in page.text
    again = re.search(r'<a href="([^"]+)">Ask again</a>', page.text)
    assert again
    form = forms(browser.get(again[1].replace("&amp;", "&")))[0]
    assert form.value("json") == "7"
    assert "Ask again" not in follow(browser, send(browser, form)).text
    assert len(tables.rows("workflow_runs", "workflow_name = 'w'")) == ("start" in path)
    assert len(tables.rows("workflow_signals")) == ("signal" in path)
    assert tables.count("owsuper_audit") == 2


@pytest.mark.slow
@pytest.mark.parametrize("all_that_match", [False, True])
def test_an_action_on_many_runs_waits_for_the_database_and_goes_on(
    all_that_match: bool, browser: TestClient, tables: Tables, proxy: Proxy
) -> None:
    runs = [tables.parked(workflow_name="mail") for _ in range(250)]
    query: dict[str, Any] = {"id": runs}
    if all_that_match:
        query = {"all": "1", "match": "workflow=mail"}
    form = forms(browser.get("/actions/cancel", params=query))[0]
    answer = send(browser, form)
    proxy.cut()
    assert browser.get(answer.headers["location"]).status_code == 503  # it comes back by itself
    proxy.restore()
    page = finished(browser, follow(browser, answer))
    assert "250 done." in page.text
    assert {tables.fetch(run)["status"] for run in runs} == {"canceled"}
