"""Make the pictures of docs/dashboard.md: ``python -m tests.dashboard.screenshots [DIRECTORY]``.

A real worker executes what the pictures show, and Chromium (see ``tests/dashboard/browser``) draws
it. Times and ids differ from one execution to the next.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

from tests.dashboard.browser import conftest, world
from tests.dashboard.browser.watched import launched
from tests.dashboard.browser.world import World
from tests.fixtures.postgres import connect, running_server
from tests.fixtures.processes import Spawn, owsuper_command, spawning

DIRECTORY = conftest.HERE.parents[2] / "docs" / "images" / "dashboard"
LARGEST = 150_000  # bytes
SCHEMA = "openworkflow"
ORDERS = 60
DARK = {"run-dark"}


def pages(world: World) -> dict[str, str]:
    """What each picture shows."""
    run = world.runs
    return {
        "overview": "/",
        "runs": "/runs",
        "run": f"/runs/{run['completed']}",
        "run-running": f"/runs/{run['running']}",
        "run-failed": f"/runs/{run['failed']}",
        "run-crashed": f"/runs/{run['crashed']}",
        "run-dark": f"/runs/{run['parent']}",
        "workers": "/workers",
        "workflows": "/workflows",
        "waiting": "/waiting",
    }


@contextmanager
def a_day_of_work(spawn: Spawn) -> Iterator[World]:
    """Runs of every state, many orders, and the worker that serves them."""
    with (
        running_server() as url,
        connect(url) as conn,
        tempfile.TemporaryDirectory() as directory,
    ):
        made = World(url, SCHEMA, conn, Path(directory))
        with world.worker(made, spawn):
            made.fill()
            orders = [{"item": "bread", "quantity": n % 5 + 1} for n in range(ORDERS)]
            for handle in made.ow.run_many("order", orders, version="2"):
                handle.result(timeout=60)
            yield made
            made.open_gates()
        made.ow.close()


def main(directory: Path) -> int:
    executable = conftest.executable()
    if executable is None:
        print("no browser is installed: apt-get install chromium", file=sys.stderr)
        return 1
    directory.mkdir(parents=True, exist_ok=True)
    with spawning() as spawn, a_day_of_work(spawn) as world, sync_playwright() as playwright:
        dashboard = spawn(
            *(*owsuper_command(), "dashboard", "--port", "0", "--allow-actions"),
            *("--module", conftest.worlds.MODULE),
            env=world.env,
            cwd=world.directory,
        )
        browser = launched(playwright, executable)
        draw(browser, conftest.address(dashboard), world, directory)
        browser.close()
    return 0


def draw(browser: Browser, base: str, world: World, directory: Path) -> None:
    """Draw each page at each width; a page is drawn down to two windows' height."""
    for width, height in conftest.WIDTHS.items():
        for name, path in pages(world).items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if name in DARK else "light",
            )
            page = context.new_page()
            page.goto(base + path)
            whole = int(page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({"width": width, "height": min(whole, 2 * height)})
            picture = directory / f"{name}-{width}.png"
            page.screenshot(path=picture)
            context.close()
            size = picture.stat().st_size
            print(f"{picture.name}: {size:,} bytes{' (too large)' if size > LARGEST else ''}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY))
