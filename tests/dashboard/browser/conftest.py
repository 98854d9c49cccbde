"""Chromium, driven by Playwright, before a dashboard on runs of every state.

Chromium is the first that there is of ``OWSUPER_TEST_CHROMIUM`` and Debian's command; nothing is
downloaded. ``OWSUPER_TEST_SCREENSHOTS`` names a directory in which the pictures of all tests are
kept; without it each test keeps its own in its temporary directory.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest

from tests.dashboard.browser import world as worlds
from tests.dashboard.browser.world import World
from tests.fixtures.postgres import connect
from tests.fixtures.processes import Program, Spawn, owsuper_command, spawning
from tests.fixtures.schemas import Schemas

HERE = Path(__file__).parent
WIDTHS = {1280: 800, 390: 844}
COMMANDS = ("chromium", "chromium-browser", "google-chrome")
ADDRESS = r"(http://127\.0\.0\.1:\d+)"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.slow)


def executable() -> str | None:
    given = os.environ.get("OWSUPER_TEST_CHROMIUM")
    return given or next(filter(None, map(shutil.which, COMMANDS)), None)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a browser that tests can drive."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("Playwright is not installed: pip install playwright (needs greenlet)")
    found = executable()
    if found is None:
        pytest.skip("no browser is installed: apt-get install chromium")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Any]:
    """One browser for the tests of a file.

    Its driver runs an event loop in this thread, where no other test could run one. So it ends
    before the tests of the next file, which may be one without a browser.
    """
    from playwright.sync_api import sync_playwright

    from tests.dashboard.browser.watched import launched

    with sync_playwright() as playwright:
        browser = launched(playwright, chromium)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def start(chromium: str) -> Iterator[Spawn]:
    """``spawning`` for all tests of this process, after it is known that there is a browser."""
    with spawning() as spawn:
        yield spawn


@pytest.fixture(scope="session")
def world(
    start: Spawn, database_url: str, schemas: Schemas, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Runs of every state, and the worker that executes them."""
    with schemas.one() as schema, connect(database_url) as conn:
        world = World(database_url, schema, conn, tmp_path_factory.mktemp("world"))
        with worlds.worker(world, start, worlds.SHOP, worlds.ODD):
            world.fill()
            world.provoke()
            yield world
            world.open_gates()
        world.ow.close()


class Serve(Protocol):
    """Starts ``owsuper dashboard`` with these options."""

    def __call__(
        self, *options: str, url: str | None = None, port: int = 0, secret: str | None = None
    ) -> AbstractContextManager[str]: ...


@pytest.fixture(scope="session")
def serve(start: Spawn, world: World) -> Serve:
    """Start a dashboard of ``world``; yields its address."""

    @contextmanager
    def serve(
        *options: str, url: str | None = None, port: int = 0, secret: str | None = None
    ) -> Iterator[str]:
        changed = {"OWSUPER_DATABASE_URL": url, "OWSUPER_DASHBOARD_SECRET": secret}
        program = start(
            *owsuper_command(),
            *("dashboard", "--port", str(port), *options),
            env={**world.env, **{name: value for name, value in changed.items() if value}},
            cwd=world.directory,
        )
        try:
            yield address(program)
        finally:
            program.end()

    return serve


def address(program: Program) -> str:
    """Wait until the dashboard says where it is."""
    return program.stderr.wait_for(ADDRESS).group(1)


@pytest.fixture(scope="session")
def reading(serve: Serve) -> Iterator[str]:
    """The address of a dashboard without actions."""
    with serve() as base:
        yield base


@pytest.fixture(scope="session")
def acting(serve: Serve) -> Iterator[str]:
    """The address of a dashboard with actions, which knows the workflows."""
    with serve("--allow-actions", "--module", worlds.SHOP) as base:
        yield base


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    """Where the pictures of this test are kept."""
    directory = Path(os.environ.get("OWSUPER_TEST_SCREENSHOTS") or tmp_path / "screenshots")
    directory.mkdir(parents=True, exist_ok=True)
    return directory


Visit = Callable[..., Any]


@pytest.fixture
def visit(
    browser: Any, reading: str, shots: Path, request: pytest.FixtureRequest
) -> Iterator[Visit]:
    """Open pages, each in a context of its own. What goes wrong in one fails the test.

    ``width`` is 1280 or 390; other options are those of a context of Playwright. At the end of
    the test, a picture of each page is kept.
    """
    from tests.dashboard.browser.watched import Watched

    opened = []
    name = re.sub(r"\W+", "-", request.node.name).strip("-")

    with ExitStack() as stack:

        def visit(
            path: str = "/", *, base: str = reading, width: int = 1280, **options: Any
        ) -> Watched:
            context = browser.new_context(
                viewport={"width": width, "height": WIDTHS[width]}, **options
            )
            stack.callback(context.close)
            context.set_default_timeout(30_000)
            watched = Watched(context.new_page(), base, shots, f"{name}-{len(opened)}")
            opened.append(watched)
            watched.open(path)
            return watched

        yield visit
        for watched in opened:
            watched.shot("end")
        assert [problem for watched in opened for problem in watched.problems] == []


@pytest.fixture(params=WIDTHS, ids=lambda width: f"{width}px")
def width(request: pytest.FixtureRequest) -> int:
    """Both widths at which every page must be readable."""
    return int(request.param)
