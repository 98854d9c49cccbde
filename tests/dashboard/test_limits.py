"""The screen Limits, and what the page of a run says about its limit."""

from __future__ import annotations

import html
import re

import psycopg
import pytest
from starlette.testclient import TestClient

from tests.dashboard.conftest import Browse
from tests.db.limits import Limits
from tests.db.rows import Tables, from_now


@pytest.fixture
def limits(conn: psycopg.Connection, schema: str) -> Limits:
    return Limits(Tables(conn, schema))


def test_limits_are_shown_with_what_waits_for_each_key(browser: TestClient, limits: Limits) -> None:
    assert "No workflow has limits" in browser.get("/limits").text
    limits.declare("places", 1, path=["t"])
    limits.rate(5, 60.0, name="mail", burst=3, workflows=("v",))
    runs = [
        limits.tables.pending(input={"t": key}, available_at=from_now(n - 9))
        for n, key in enumerate(["<i>", "<i>", "c"])
    ]
    limits.claim(10)
    page = browser.get("/limits").text
    assert "bursts of 3" in page
    assert "/limits?limit=places" in page
    one = browser.get("/limits", params={"limit": "places"}).text
    assert "&lt;i&gt;" in one
    assert "<i>" not in one
    shown = browser.get(f"/runs/{runs[1]}").text
    assert "when a limit lets it begin" in shown
    assert "it waits for the limit &#34;places&#34;" in shown


def test_keys_are_hidden_with_the_values_that_they_are_parts_of(
    browse: Browse, limits: Limits
) -> None:
    limits.declare("places", 1, path=["t"])
    runs = [limits.tables.pending(input={"t": "secret"}, available_at=from_now(-9)) for _ in "ab"]
    [running] = limits.claim(10)
    browser = browse(hide_values=True)
    one = browser.get("/limits", params={"limit": "places"}).text
    assert "secret" not in one
    assert "Hidden (--hide-values)" in one
    [waiting] = set(runs) - {running}
    shown = browser.get(f"/runs/{waiting}").text
    assert "it waits for the limit &#34;places&#34;" in shown
    assert "secret" not in shown


def test_many_keys_are_shown_page_by_page(browser: TestClient, limits: Limits) -> None:
    limits.declare("places", 1, path=["t"])
    for number in range(60):
        limits.tables.pending(input={"t": f" key {number:03} "})
    limits.claim(100)
    first = browser.get("/limits", params={"limit": "places"}).text
    assert "key 049" in first
    assert "key 050" not in first
    [following] = re.findall(r'rel="next" href="([^"]+)"', first)
    last = browser.get(html.unescape(following)).text
    assert ("key 049" in last, "key 050" in last, "key 059" in last) == (False, True, True)
    assert 'rel="next"' not in last


def test_a_limit_that_there_is_not_and_a_wrong_parameter_are_told(browser: TestClient) -> None:
    answer = browser.get("/limits", params={"limit": "nothing"})
    assert (answer.status_code, "No limit has the name" in answer.text) == (404, True)
    assert browser.get("/limits", params={"order": "x"}).status_code == 400
