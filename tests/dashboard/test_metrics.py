"""The page of the dashboard that Prometheus reads."""

from __future__ import annotations

import sys

import psycopg
import pytest
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from tests.dashboard.conftest import Browse
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.metrics.pages import Page


def test_the_page_has_what_the_database_knows(
    browser: TestClient, ow: OpenWorkflow, conn: psycopg.Connection, schema: str
) -> None:
    Limits(Tables(conn, schema)).declare("places")

    @ow.workflow
    def order(step: object) -> None: ...

    for _ in range(3):
        order.run()
    answer = browser.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    page = Page(answer.text)
    assert page("owsuper_queue_due_runs", workflow="order") == 3
    assert page("owsuper_queue_oldest_due_seconds", workflow="order") > 0
    assert page("owsuper_unfinished_runs", status="pending") == 3
    assert page.values("owsuper_limit_waiting_runs", "limit") == {"places": 0}


def test_who_may_not_see_the_dashboard_may_not_read_its_metrics(browse: Browse) -> None:
    answer = browse(user=lambda request: None).get("/metrics")
    assert answer.status_code in (302, 303, 401, 403)
    assert "owsuper_" not in answer.text


def test_without_the_library_the_page_says_how_to_install_it(
    browser: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("owsuper.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    answer = browser.get("/metrics")
    assert answer.status_code == 404
    assert "owsuper[metrics]" in answer.text
