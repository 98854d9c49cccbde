"""docs/dashboard.md: its commands and applications work, and its table has all settings."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from owsuper import OpenWorkflow
from owsuper.cli.dashboard_settings import DASHBOARD_TYPES
from owsuper.settings import option_name, variable_name
from tests.docs.conftest import Sandbox
from tests.docs.documents import Document

PAGE = Document("docs/dashboard.md")


@pytest.fixture
def ow(database_url: str, schema: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OpenWorkflow]:
    """That of ``app.workflows``."""
    client = OpenWorkflow(database_url, schema=schema)
    module = ModuleType("app.workflows")
    monkeypatch.setattr(module, "ow", client, raising=False)
    monkeypatch.setitem(sys.modules, "app", ModuleType("app"))
    monkeypatch.setitem(sys.modules, "app.workflows", module)
    yield client
    client.close()


@pytest.mark.slow
@PAGE.covers("start")
def test_the_command_starts(connected: Sandbox) -> None:
    [command] = [line for line in PAGE["start"].splitlines() if line.startswith("owsuper")]
    program = connected.start("exec " + command.replace("8080", "0"))
    program.stderr.wait_for(r"dashboard at http://127\.0\.0\.1:\d+/ \(read-only\)")
    program.terminate()
    assert program.wait() == 0


@pytest.mark.slow
@PAGE.covers("password")
def test_users_are_added_and_the_dashboard_is_open_to_others(connected: Sandbox) -> None:
    add, serve = PAGE["password"].strip().splitlines()
    program = connected.start(f"echo correct horse | {add}; exec {serve} --port 0")
    program.stderr.wait_for(r"dashboard at http://0\.0\.0\.0:\d+/")
    program.terminate()
    assert program.wait() == 0


@PAGE.covers("fastapi")
def test_the_login_of_an_application_guards_it(ow: OpenWorkflow) -> None:
    names: dict[str, Any] = {}
    exec(PAGE["fastapi"], names)
    app = names["app"]
    app.add_middleware(SessionMiddleware, secret_key="x")
    app.add_route("/login", log_in)
    with TestClient(app) as browser:
        assert browser.get("/workflows/waiting").status_code == 403
        browser.get("/login")
        page = browser.get("/workflows/waiting")
        assert page.status_code == 200
        assert "ada" in page.text


async def log_in(request: Request) -> PlainTextResponse:
    request.session["user"] = "ada"
    return PlainTextResponse("in")


@PAGE.covers("django")
def test_it_stands_beside_a_site_of_django(
    ow: OpenWorkflow, monkeypatch: pytest.MonkeyPatch
) -> None:
    asgi = pytest.importorskip("django.core.asgi")

    async def site(scope: object, receive: object, send: object) -> None: ...

    # The whole site is tested in tests/dashboard; here no settings of Django may remain.
    monkeypatch.setattr(asgi, "get_asgi_application", lambda: site)
    names: dict[str, Any] = {}
    exec(PAGE["django"], names)
    browser = TestClient(
        names["application"],
        client=("127.0.0.1", 1),
        base_url="http://localhost",
    )
    assert browser.get("/workflows/waiting").status_code == 200


def test_the_table_has_all_settings() -> None:
    listed = set(re.findall(r"`(OWSUPER_DASHBOARD_\w+)` \|", PAGE.text))
    assert listed == {variable_name(f"dashboard_{name}") for name in DASHBOARD_TYPES}
    for name in DASHBOARD_TYPES:
        if name != "secret":
            option = option_name(name)
            assert f"| `--{option}` |" in PAGE.text or f"| `--[no-]{option}` |" in PAGE.text


def test_every_block_of_the_page_is_executed() -> None:
    assert PAGE.unexecuted() == []
