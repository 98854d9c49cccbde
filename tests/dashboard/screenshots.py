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

from tests.dashboard.browser import conftest
from tests.dashboard.browser import world as worlds
from tests.dashboard.browser.watched import launched
from tests.dashboard.browser.world import World
from tests.dashboard.pictures import with_few_colors
from tests.fixtures.postgres import connect, running_server
from tests.fixtures.processes import ROOT, Spawn, owsuper_command, spawning

DIRECTORY = conftest.HERE.parents[2] / "docs" / "images" / "dashboard"
LARGEST = 150_000  # bytes
SCHEMA = "openworkflow"
ORDERS = 120
DARK = {"run-parent"}

# The orders of a moment become those of an hour.
_DELAY = "(('x' || substr(md5({id}), 1, 6))::bit(24)::int % 3300) * interval '1 second'"
# Tracebacks show where the code is: not on whose machine.
_ELSEWHERE = """
(root) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode;
    text.data = text.data.replaceAll(root, "/srv/shop");
  }
}
"""
_SPREAD = """
UPDATE {{schema}}.{table} SET created_at = created_at - {delay}, updated_at = updated_at - {delay},
    started_at = started_at - {delay}, finished_at = finished_at - {delay}
WHERE {id} = ANY ($1)
"""


def pages(world: World) -> dict[str, str]:
    """What each picture shows."""
    run = world.runs
    return {
        "overview": "/",
        "runs": "/runs",
        "run": f"/runs/{run['completed']}",
        "run-failed": f"/runs/{run['failed']}",
        "run-parent": f"/runs/{run['parent']}",
        "start": "/actions/start?workflow=order&version=2",
        "signal": f"/actions/signal?signal=approve-expense-7&run={run['waiting']}",
        "cancel": f"/actions/cancel?id={run['parent']}",
        "audit": "/audit",
        "workers": "/workers",
        "workflows": "/workflows",
        "waiting": "/waiting",
        "schedules": "/schedules",
        "limits": "/limits?limit=vans",
    }


@contextmanager
def an_hour_of_work(spawn: Spawn) -> Iterator[World]:
    """Runs of every state, many orders, and the worker that serves them."""
    with (
        running_server() as url,
        connect(url) as conn,
        tempfile.TemporaryDirectory() as directory,
    ):
        world = World(url, SCHEMA, conn, Path(directory))
        with worlds.worker(world, spawn, worlds.SHOP):
            orders = [{"item": "bread", "quantity": n % 5 + 1} for n in range(ORDERS)]
            handles = world.ow.run_many("order", orders, version="2")
            for handle in handles:
                handle.result(timeout=60)
            spread(world, [handle.id for handle in handles])
            world.fill()
            yield world
            world.open_gates()
        world.ow.close()


def spread(world: World, runs: list[str]) -> None:
    for table, column in (("workflow_runs", "id"), ("step_attempts", "workflow_run_id")):
        delay = _DELAY.format(id=column)
        query = _SPREAD.format(table=table, id=column, delay=delay).format(schema=world.schema)
        world.conn.execute(query.encode(), [runs])


def main(directory: Path) -> int:
    executable = conftest.executable()
    if executable is None:
        print("no browser is installed: apt-get install chromium", file=sys.stderr)
        return 1
    directory.mkdir(parents=True, exist_ok=True)
    with spawning() as spawn, an_hour_of_work(spawn) as world, sync_playwright() as playwright:
        dashboard = spawn(
            *(*owsuper_command(), "dashboard", "--port", "0", "--allow-actions"),
            *("--module", worlds.SHOP),
            env=world.env,
            cwd=world.directory,
        )
        browser = launched(playwright, executable)
        cancel_one(browser, conftest.address(dashboard), world)
        draw(browser, conftest.address(dashboard), world, directory)
        browser.close()
    return 0


def cancel_one(browser: Browser, base: str, world: World) -> None:
    """Do something that the audit can show."""
    run = world.start("canceled", "subscription", None)
    page = browser.new_page()
    page.goto(f"{base}/actions/cancel?id={run}")
    page.get_by_role("button", name="Cancel").click()
    page.locator(".notice.good").wait_for()
    page.close()


def draw(browser: Browser, base: str, world: World, directory: Path) -> None:
    """Draw each page at each width, down to two windows' height at most."""
    for width, height in conftest.WIDTHS.items():
        for name, path in pages(world).items():
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if name in DARK else "light",
            )
            page = context.new_page()
            page.goto(base + path)
            page.wait_for_selector("#live[data-state=live]")
            page.evaluate(_ELSEWHERE, str(ROOT))
            whole = int(page.evaluate("document.documentElement.scrollHeight"))
            page.set_viewport_size({"width": width, "height": min(whole, 2 * height)})
            drawn = with_few_colors(page.screenshot(), browser.new_page())
            (directory / f"{name}-{width}.png").write_bytes(drawn)
            context.close()
            note = " (too large)" if len(drawn) > LARGEST else ""
            print(f"{name}-{width}.png: {len(drawn):,} bytes{note}")


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if sys.argv[1:] else DIRECTORY))
