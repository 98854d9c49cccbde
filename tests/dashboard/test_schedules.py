"""The screen of schedules, and the actions on one."""

from __future__ import annotations

import html
import re

import psycopg
import pytest
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from owsuper.core.schedules import timetable
from owsuper.errors import ConfigurationError
from tests.dashboard.conftest import Browse
from tests.dashboard.forms import act, forms, send
from tests.db.rows import Tables


@pytest.fixture
def browser(browse: Browse) -> TestClient:
    """A browser with a dashboard that permits actions."""
    return browse(allow_actions=True)


def done(browser: TestClient, path: str, **fields: str) -> str:
    """Perform an action, and return what the page with its answer says."""
    answer = act(browser, path, **fields)
    found = re.search(r'<p class="notice[^>]*>(.*?)</p>', answer.text, re.S)
    assert found, answer.text
    return re.sub(r"<.*?>", "", found[1]).strip()


def test_without_schedules_the_page_says_how_to_make_one(browser: TestClient) -> None:
    assert "owsuper schedules create" in browser.get("/schedules").text


def test_schedules_are_listed_in_words_with_their_ticks(
    browser: TestClient, ow: OpenWorkflow
) -> None:
    ow.schedules.create("nightly/eu", "report", "0 3 * * *", timezone="Europe/Berlin", input=[7])
    ow.schedules.create("paused", "report", every="15m", paused=True)
    listed = browser.get("/schedules").text
    assert "At 03:00 every day (Europe/Berlin)" in listed
    assert "Every 15 minutes" in listed
    assert 'class="status paused"' in listed
    run = ow.schedules.trigger("nightly/eu").id
    page = browser.get("/schedules/nightly/eu").text
    assert "Next ticks" in page
    assert "triggered" in page
    assert f"/runs/{run}" in page
    assert "[7]" in page
    assert browser.get("/schedules/none").status_code == 404


def test_many_schedules_are_shown_page_by_page(
    browser: TestClient, conn: psycopg.Connection, schema: str
) -> None:
    conn.execute(
        f'INSERT INTO "{schema}".owsuper_schedules (namespace_id, name, workflow_name,'
        " every_seconds, timezone, jitter_seconds, catch_up, catch_up_limit, overlap, takes_tick)"
        " SELECT 'default', 's ' || to_char(n, 'FM000'), 'report', 3600, 'UTC', 0, 'last', 100,"
        " 'allow', true FROM generate_series(0, 59) AS n".encode()
    )
    first = browser.get("/schedules").text
    assert "s 049" in first
    assert "s 050" not in first
    [following] = re.findall(r'rel="next" href="([^"]+)"', first)
    last = browser.get(html.unescape(following)).text
    assert ("s 050" in last, "s 059" in last, "s 049</a>" in last) == (True, True, False)
    assert 'rel="next"' not in last
    assert "First" in last
    assert "No schedule comes after" in browser.get("/schedules?after=t").text
    assert browser.get("/schedules?order=x").status_code == 400


def test_values_that_are_hidden_are_hidden_here_too(browse: Browse, ow: OpenWorkflow) -> None:
    ow.schedules.create("nightly", "report", "0 3 * * *", input={"secret": 4711})
    page = browse(hide_values=True).get("/schedules/nightly").text
    assert "4711" not in page


def test_a_host_without_the_zone_says_so(
    browser: TestClient, ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    ow.schedules.create("nightly", "report", "0 3 * * *", timezone="Europe/Berlin")

    def zone(name: str) -> None:
        raise ConfigurationError(f"timezone: this host knows no time zone {name!r}")

    monkeypatch.setattr(timetable, "zone", zone)
    page = browser.get("/schedules/nightly")
    assert page.status_code == 200
    assert "this host knows no time zone" in page.text


def test_pause_resume_and_trigger(browser: TestClient, ow: OpenWorkflow, tables: Tables) -> None:
    ow.schedules.create("nightly", "report", "0 3 * * *")
    query = "schedule=nightly"
    assert done(browser, f"/actions/pause-schedule?{query}") == "The schedule is paused."
    assert ow.schedules.get("nightly").state == "paused"
    assert "fires again" in done(browser, f"/actions/resume-schedule?{query}")
    assert ow.schedules.get("nightly").state == "active"
    assert done(browser, f"/actions/trigger-schedule?{query}") == "The run is started."
    assert [each["workflow_name"] for each in tables.rows("workflow_runs")] == ["report"]
    actions = {each["action"] for each in tables.rows("owsuper_audit")}
    assert actions == {"pause-schedule", "resume-schedule", "trigger-schedule"}
    assert "nightly" in browser.get("/audit").text


def test_backfill_takes_times_in_utc(browser: TestClient, ow: OpenWorkflow, tables: Tables) -> None:
    ow.schedules.create("nightly", "report", "0 3 * * *")
    path = "/actions/backfill-schedule?schedule=nightly"
    wrong = send(browser, forms(browser.get(path))[-1], since="yesterday", until="today")
    assert wrong.status_code == 422
    assert "Write both times as 2026-03-01 12:00" in wrong.text
    times = {"since": "2025-05-14 00:00", "until": "2025-05-17 00:00"}
    assert done(browser, path, **times) == "Runs started: 3."
    assert "All ticks of that time have runs" in done(browser, path, **times)
    assert "is in the future" in done(browser, path, since="2025-05-14", until="2099-01-01")
    assert tables.count("workflow_runs") == 3


@pytest.mark.parametrize("kind", ["pause", "resume", "trigger", "backfill"])
def test_a_read_only_dashboard_changes_no_schedule(
    kind: str, browse: Browse, ow: OpenWorkflow
) -> None:
    ow.schedules.create("nightly", "report", "0 3 * * *")
    browser = browse()
    token = re.search(r'name="token" value="([^"]+)"', browser.get("/schedules").text)
    assert token
    path = f"/actions/{kind}-schedule"
    data = {"token": token[1], "schedule": "nightly"}
    for answer in (browser.get(f"{path}?schedule=nightly"), browser.post(path, data=data)):
        assert answer.status_code == 403
    assert f"{path}?" not in browser.get("/schedules").text


def test_an_action_on_a_schedule_that_is_gone_is_refused(browser: TestClient) -> None:
    assert browser.get("/actions/pause-schedule?schedule=none").status_code == 404
