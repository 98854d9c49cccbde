"""Who may see a dashboard, and where it stands, in a browser."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from itsdangerous import TimestampSigner

from owsuper.dashboard.sessions import Sessions
from tests.dashboard.browser import conftest, mounted
from tests.dashboard.browser.conftest import Serve, Visit
from tests.dashboard.browser.world import World
from tests.fixtures.processes import Spawn, owsuper_command

SECRET = "a secret that the test knows, too"
SECRETS = {
    "completed": ("bread", "shelf", "paid", "the bank does not answer"),
    "failed": ("no payment of 40", "look_up", "amount = input"),
    "crashed": ("cat.png",),
    "typescript": ("fetch failed", "index.ts"),
}
"""Values and errors of runs, some of which a page would show."""


@pytest.fixture(scope="module")
def guarded(serve: Serve, world: World) -> Iterator[str]:
    """A dashboard that Ada may see, whose password is "correct horse"."""
    file = world.directory / "users"
    command = [*owsuper_command(), "dashboard", "--auth", str(file), "--add-user", "ada"]
    subprocess.run(command, input="correct horse\n", text=True, check=True, capture_output=True)
    with serve("--auth", str(file), secret=SECRET) as base:
        yield base


@pytest.fixture(scope="module")
def hiding(serve: Serve) -> Iterator[str]:
    """A dashboard that hides values."""
    with serve("--hide-values") as base:
        yield base


def log_in(page: Any) -> None:
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("correct horse")
    page.keyboard.press("Enter")


def grow_old(page: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sign the session of the browser again, as if that had been a day ago."""
    context = page.context
    sessions = Sessions(SECRET)
    [cookie] = [each for each in context.cookies() if each["name"] == sessions.cookie]
    session, _ = sessions.read(cookie["value"])
    assert session is not None
    with monkeypatch.context() as earlier:
        yesterday = int(time.time()) - 24 * 3600
        earlier.setattr(TimestampSigner, "get_timestamp", lambda _: yesterday)
        context.add_cookies([{**cookie, "value": sessions.write(session)}])


@pytest.fixture(scope="module")
def below(start: Spawn, world: World) -> str:
    """The dashboard in an application of a user, below a path with a space."""
    program = start(sys.executable, "-m", mounted.__name__, env=world.env, cwd=world.directory)
    return conftest.address(program) + quote(mounted.PREFIX)


def test_who_logs_in_sees_the_page_that_was_asked_for_and_can_log_out(
    visit: Visit, guarded: str, width: int
) -> None:
    watched = visit("/runs?status=failed", base=guarded, width=width)
    page = watched.page
    assert watched.beyond_the_sides() == []
    assert watched.barriers() == []
    log_in(page)
    page.wait_for_url("**/runs?status=failed")
    assert page.get_by_role("heading", level=1).inner_text() == "Runs"
    assert "ada" in page.locator("header").inner_text()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    watched.open("/runs")
    assert page.get_by_role("heading", level=1).inner_text() == "Log in"


def test_a_page_says_that_its_session_has_expired_and_the_login_leads_back_to_it(
    visit: Visit, guarded: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/runs/{world.runs['sleeping']}?level=error"
    watched = visit(path, base=guarded)
    page = watched.page
    log_in(page)
    page.wait_for_selector("#live[data-state=live]")
    grow_old(page, monkeypatch)
    update = "UPDATE {schema}.workflow_runs SET attempts = attempts + 1 WHERE id = $1 RETURNING id"
    world.fetch(update, world.runs["sleeping"])
    badge = page.locator("#live[data-state=expired]")
    badge.wait_for()
    assert badge.inner_text() == "log in again"
    page.reload()
    page.get_by_role("alert").get_by_text("Your session has ended. Log in again.").wait_for()
    log_in(page)
    page.wait_for_url(guarded + path)
    page.wait_for_selector("#live[data-state=live]")


def test_who_logs_out_in_one_tab_is_told_in_the_others(visit: Visit, guarded: str) -> None:
    watched = visit("/workers", base=guarded)
    page = watched.page
    log_in(page)
    page.wait_for_selector("#live[data-state=live]")
    other = page.context.new_page()
    other.goto(guarded)
    with watched.forgiving("401"):  # the line is not opened again
        other.get_by_role("button", name="Log out").click()
        other.wait_for_url("**/login")
        page.wait_for_selector("#live[data-state=expired]")


def test_a_dashboard_that_hides_values_shows_none_on_any_page(
    visit: Visit, hiding: str, world: World
) -> None:
    watched = visit("/", base=hiding)
    page = watched.page
    runs = world.runs
    shown = ["/runs", "/runs?status=failed", "/waiting", "/workflows?workflow=order"]
    for path in [*shown, *(f"/runs/{runs[name]}" for name in SECRETS)]:
        watched.open(path)
        found = [text for texts in SECRETS.values() for text in texts if text in page.content()]
        assert found == [], path
    assert "values hidden" in page.locator("footer").inner_text()
    watched.open(f"/runs/{runs['failed']}")
    assert "message hidden" in page.locator("#run-error").inner_text()
    with page.expect_download() as download:
        page.get_by_role("link", name="All as JSON").click()
    document = json.loads(download.value.path().read_text())
    assert document["run"]["input"] == document["run"]["error"] == "hidden"
    with watched.forgiving("403"):
        watched.open(f"/runs/{runs['completed']}/values/input")
    assert "This dashboard hides values" in page.locator("main").inner_text()


def test_a_wrong_password_is_said_to_be_wrong(visit: Visit, guarded: str) -> None:
    watched = visit("/", base=guarded, java_script_enabled=False)
    page = watched.page
    page.get_by_label("Name").fill("eve")
    page.get_by_label("Password").fill("guess")
    with watched.forgiving("401"):
        page.get_by_role("button", name="Log in").click()
        page.get_by_text("Name or password is wrong").wait_for()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
def test_the_colors_that_were_chosen_stay(visit: Visit, script: bool) -> None:
    watched = visit("/runs", color_scheme="light", java_script_enabled=script)
    page = watched.page
    page.get_by_role("button", name="Colors: Dark").click()
    page.locator("html[data-theme=dark]").wait_for()
    assert page.url.endswith("/runs")
    watched.open("/workers")
    assert page.locator("html").get_attribute("data-theme") == "dark"


def test_it_works_below_a_path_of_another_application(visit: Visit, below: str) -> None:
    watched = visit("/", base=below)
    page = watched.page
    for name in page.locator("header nav a").all_inner_texts():
        page.get_by_role("link", name=name, exact=True).first.click()
        page.locator("header nav [aria-current=page]", has_text=name).wait_for()
        assert page.url.startswith(below)
    page.get_by_role("button", name="Colors: Dark").click()
    page.locator("html[data-theme=dark]").wait_for()
    assert page.url.startswith(below)
