"""Pages change as their runs do, and come back by themselves after an outage."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from tests.dashboard.browser.conftest import Serve, Visit
from tests.dashboard.browser.world import World
from tests.fixtures.ports import free_port
from tests.fixtures.proxy import Proxy

LIVE = "#live[data-state=live]"


def mark(page: Any) -> None:
    """Remember in the page that it was not loaded again."""
    page.wait_for_selector(LIVE)
    page.evaluate("() => { window.mark = 1 }")


def is_marked(page: Any) -> bool:
    return bool(page.evaluate("() => window.mark === 1"))


def test_a_run_appears_in_the_list_without_a_reload(visit: Visit, world: World) -> None:
    page = visit("/runs").page
    mark(page)
    run = world.start("appears", "subscription", None)
    page.wait_for_selector(f"main a[href$='/runs/{run}']")
    assert is_marked(page)


def test_a_list_keeps_focus_and_what_is_selected_when_a_run_appears(
    visit: Visit, world: World, acting: str
) -> None:
    page = visit("/runs", base=acting).page
    mark(page)
    box = page.locator("main tbody input[type=checkbox]").first
    chosen = box.get_attribute("value")
    box.check()
    box.focus()
    run = world.start("above", "subscription", None)
    page.wait_for_selector(f"main a[href$='/runs/{run}']")
    assert page.locator("main tbody input:checked").get_attribute("value") == chosen
    assert page.evaluate("() => document.activeElement.value") == chosen


def test_the_page_of_a_run_follows_it_to_its_end(visit: Visit, world: World) -> None:
    gate = world.gate()
    run = world.start("followed", "bake", str(gate))
    page = visit(f"/runs/{run}").page
    page.wait_for_selector("#attempts >> text=oven")
    mark(page)
    width = "() => document.querySelector('#timeline .growing').getBoundingClientRect().width"
    page.wait_for_selector("#timeline .growing")
    assert page.evaluate(width) > 0
    gate.touch()
    page.wait_for_selector("h1 .status:text('completed')")
    assert page.locator("#timeline .growing").count() == 0
    assert is_marked(page)


def test_a_badge_says_that_the_line_is_down_and_the_page_is_polled(
    visit: Visit, world: World
) -> None:
    gate = world.gate()
    run = world.start("polled", "bake", str(gate))
    watched = visit("/workers")
    page = watched.page
    with watched.forgiving():
        page.route("**/live?*", lambda route: route.abort())
        watched.open(f"/runs/{run}")
        page.wait_for_selector("#live[data-state=polling]")
        page.evaluate("() => { window.mark = 1 }")
        gate.touch()
        page.wait_for_selector("h1 .status:text('completed')")
        page.unroute("**/live?*")
        page.wait_for_selector(LIVE, timeout=60_000)
    assert is_marked(page)


def test_a_page_that_failed_once_is_live_again_though_the_line_was_never_down(
    visit: Visit, world: World
) -> None:
    watched = visit("/runs")
    page = watched.page
    mark(page)
    with watched.forgiving():
        page.route("**/runs", lambda route: route.fulfill(status=503))
        world.start("failed once", "subscription", None)
        page.wait_for_selector("#live[data-state=offline]")
        page.unroute("**/runs")
        page.wait_for_selector(LIVE, timeout=60_000)
    assert is_marked(page)


def test_a_page_comes_back_after_a_restart_of_the_dashboard(
    visit: Visit, serve: Serve, world: World
) -> None:
    port = free_port()
    with ExitStack() as first:
        base = first.enter_context(serve(port=port))
        watched = visit(f"/runs/{world.runs['sleeping']}", base=base)
        mark(watched.page)
        with watched.forgiving():
            first.close()
            watched.page.wait_for_selector("#live[data-state=offline]")
            with serve(port=port):
                watched.page.wait_for_selector(LIVE, timeout=60_000)
                assert is_marked(watched.page)
                watched.leave()


def test_a_page_comes_back_after_an_outage_of_the_database(
    visit: Visit, serve: Serve, world: World, proxy: Proxy
) -> None:
    with serve(url=proxy.url) as base:
        path = f"/runs/{world.runs['sleeping']}"
        open_before, opened_meanwhile = visit(path, base=base), visit("/workers", base=base)
        mark(open_before.page)
        with open_before.forgiving(), opened_meanwhile.forgiving():
            proxy.cut()
            open_before.page.wait_for_selector("#live[data-state=offline]")
            opened_meanwhile.open("/workers")
            text = "The database does not answer"
            opened_meanwhile.page.get_by_role("heading", name=text).wait_for()
            opened_meanwhile.shot("outage")
            proxy.restore()
            open_before.page.wait_for_selector(LIVE, timeout=60_000)
            opened_meanwhile.page.get_by_role("heading", name="Workers").wait_for()
        assert is_marked(open_before.page)
        open_before.leave()
        opened_meanwhile.leave()
