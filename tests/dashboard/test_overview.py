"""The overview and the screen of workers show what the tables hold."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from datetime import UTC, datetime

import psycopg
import pytest
from starlette.testclient import TestClient

from owsuper.db import connect
from owsuper.db.dashboard.overview import RecentRuns
from owsuper.db.presence import PresenceQueries
from tests.dashboard.conftest import Browse
from tests.db.announcements import announced, child, executing
from tests.db.rows import Tables, from_now, perform

WORKER = "shop.example.com:17:abc"


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


@pytest.fixture
def queries(session: psycopg.Connection, schema: str) -> PresenceQueries:
    """The statements of a supervisor that is connected."""
    made = PresenceQueries(schema, "default", WORKER)
    perform(session, made.register(30, "shop", 17))
    return made


def text_of(page: str) -> str:
    """The words of the main part, as they are read aloud."""
    main = page.partition("<main")[2].partition("</main>")[0].partition(">")[2]
    apart = re.sub(r"<[^>]*>", " ", re.sub(r"</?(a|b|bdi)\b[^>]*>", "", main))
    return " ".join(html.unescape(apart).split())


def test_an_empty_database_needs_no_look(browser: TestClient) -> None:
    page = browser.get("/")
    assert page.status_code == 200
    shown = text_of(page.text)
    assert "What needs a look Nothing: no run crashed for good" in shown
    assert "No run waits for a worker." in shown
    assert "No run of the last 24 hours has failed." in shown


def test_the_overview_counts_runs_now_and_of_the_last_hour_and_day(
    browser: TestClient, tables: Tables
) -> None:
    for _ in range(3):
        tables.run(status="completed", available_at=None)
    tables.run(status="succeeded", available_at=None)
    tables.run(status="completed", available_at=None, created_at=from_now(-3 * 3600))
    tables.run(status="completed", available_at=None, created_at=from_now(-30 * 24 * 3600))
    tables.run(status="sleeping")
    shown = text_of(browser.get("/").text)
    assert re.search(r"completed 6 4 in 1 h · 5 in 24 h", shown), shown
    assert re.search(r"running 1 1 in 1 h · 1 in 24 h", shown), shown


def test_the_overview_names_queues_and_who_has_no_worker(
    browser: TestClient, tables: Tables, session: psycopg.Connection, queries: PresenceQueries
) -> None:
    perform(session, announced(queries, workflows=[("mail", "2")]))
    for seconds in (-7200, -60):
        tables.pending(workflow_name="mail", version="2", available_at=from_now(seconds))
        tables.pending(workflow_name="invoice", available_at=from_now(seconds))
    tables.parked(workflow_name="mail", version="2", available_at=from_now(-90))
    tables.parked(workflow_name="later")
    shown = text_of(browser.get("/").text)
    assert re.search(r"mail 2 3 2h 0m", shown), shown
    assert re.search(r"invoice 2 2h 0m", shown), shown
    assert re.search(r"No worker: .* TypeScript .* invoice 2 due, the oldest for 2h 0m", shown)
    assert "mail 3 due" not in shown
    assert "later" not in shown


def test_the_overview_shows_failures_by_workflow_with_the_latest(
    browser: TestClient, tables: Tables
) -> None:
    for _ in range(2):
        tables.run(status="failed", workflow_name="invoice", created_at=from_now(-600))
    latest = tables.run(status="failed", workflow_name="invoice")
    tables.run(status="failed", workflow_name="old", created_at=from_now(-3 * 24 * 3600))
    page = browser.get("/").text
    assert re.search(r"invoice 3 \S+( \S+)? ago", text_of(page)), text_of(page)
    assert f'href="/runs/{latest}"' in page
    assert "old" not in text_of(page)


def test_the_overview_says_what_is_stuck_never_due_far_away_or_crashed(
    browser: TestClient, tables: Tables
) -> None:
    stuck = tables.run(workflow_name="stuck", available_at=from_now(-600))
    never = tables.parked(workflow_name="never", available_at=None)
    far = tables.parked(workflow_name="far", available_at=datetime(9000, 1, 1, tzinfo=UTC))
    tables.parked(workflow_name="soon")
    tables.parked(workflow_name="limited", available_at=datetime(9999, 1, 1, tzinfo=UTC))
    crashed = tables.run(status="failed", workflow_name="deadly", available_at=None)
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".owsuper_post_mortems (namespace_id, workflow_run_id,'
        " crash_id, run_created_at, counted, given_up, evidence)"
        f" SELECT 'default', id, '1', created_at, true, true, '{{}}'"
        f' FROM "{tables.schema}".workflow_runs WHERE id = $1'.encode(),
        [crashed],
    )
    shown = text_of(browser.get("/").text)
    assert f"Stuck: 1 run lost its worker, and no worker has taken it over. {stuck}" in shown
    assert re.search(rf"Never due: 1 run has no due time, .*? {never}", shown), shown
    assert f"Parked for more than a year: 1 run. {far}" in shown, shown
    assert re.search(rf"Crashed: 1 run of the last 7 days .*? {crashed} deadly", shown), shown
    assert "soon" not in shown


def test_counts_beyond_the_bound_are_estimates_that_are_said_to_be_such(
    browser: TestClient, browse: Browse, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("owsuper.db.dashboard.overview.MOST_NOW", 3)
    for _ in range(9):
        tables.run(status="completed", available_at=None)
    tables.run(status="failed", available_at=None)
    assert "completed > 3 " in text_of(browser.get("/").text)
    tables.conn.execute(f'ANALYZE "{tables.schema}".workflow_runs'.encode())
    shown = text_of(browse().get("/").text)
    assert "completed \N{ALMOST EQUAL TO} 9 " in shown, shown
    assert "failed 1 " in shown


def test_workers_are_shown_with_their_processes_and_what_they_do(
    browser: TestClient, session: psycopg.Connection, queries: PresenceQueries
) -> None:
    busy = child(2, executing("r1", "order", version="2", step="charge"), held=5)
    children = [child(1, reserved=True), busy]
    perform(session, announced(queries, workflows=[("order", "2")], children=children, slots=6))
    page = browser.get("/workers").text
    shown = text_of(page)
    assert "shop.example.com pid 17 serving" in shown
    assert re.search(r"Runs in progress 5 of 6 slots", shown), shown
    assert re.search(r"child 1 101 ready reserved 100 MB", shown), shown
    assert re.search(r"order 2 charge for \d+s · r1 and 4 more runs", shown), shown
    assert 'href="/runs/r1"' in page


def test_a_worker_that_is_gone_stands_first_and_is_a_matter_for_the_overview(
    browser: TestClient, database_url: str, schema: str, session: psycopg.Connection
) -> None:
    gone = PresenceQueries(schema, "default", "gone:5:abc")
    with connect.connect(database_url, application_name="owsuper test") as other:
        perform(other, gone.register(30, "gone", 5))
        perform(other, announced(gone, "gone", pid=5))
    here = PresenceQueries(schema, "default", WORKER)
    perform(session, here.register(30, "shop", 17))
    perform(session, announced(here))
    workers = text_of(browser.get("/workers").text)
    assert workers.index("gone pid 5 missing") < workers.index("shop.example.com pid 17")
    assert "Workers connected 1 on 1 host, 1 missing" in workers
    assert "Worker missing: gone, pid 5, silent for" in text_of(browser.get("/").text)


def test_without_workers_the_page_says_how_to_start_one(browser: TestClient) -> None:
    assert "No worker is connected in this namespace." in text_of(browser.get("/workers").text)


def test_the_last_stretches_lack_runs_only_if_what_was_read_ends_within_them() -> None:
    read = RecentRuns((0, 0, 3, 4), partial=True)
    assert read.last(2) == RecentRuns((3, 4), partial=True)
    assert read.last(1) == RecentRuns((4,), partial=False)
    assert read.joined(3) == RecentRuns((3, 4), partial=True)
