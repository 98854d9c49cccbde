"""Who may see a dashboard, and where it stands, in a browser."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.dashboard.browser import conftest, mounted
from tests.dashboard.browser.conftest import Serve, Visit
from tests.dashboard.browser.world import World
from tests.fixtures.processes import Spawn, owsuper_command


@pytest.fixture(scope="module")
def guarded(serve: Serve, world: World) -> Iterator[str]:
    """A dashboard that Ada may see, whose password is "correct horse"."""
    file = world.directory / "users"
    command = [*owsuper_command(), "dashboard", "--auth", str(file), "--add-user", "ada"]
    subprocess.run(command, input="correct horse\n", text=True, check=True, capture_output=True)
    with serve("--auth", str(file)) as base:
        yield base


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
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill("correct horse")
    page.keyboard.press("Enter")
    page.wait_for_url("**/runs?status=failed")
    assert page.get_by_role("heading", level=1).inner_text() == "Runs"
    assert "ada" in page.locator("header").inner_text()
    page.get_by_role("button", name="Log out").click()
    page.wait_for_url("**/login")
    watched.open("/runs")
    assert page.get_by_role("heading", level=1).inner_text() == "Log in"


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
