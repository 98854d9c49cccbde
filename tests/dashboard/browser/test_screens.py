"""Every screen can be read: at both widths, dark and light, by keyboard, without JavaScript."""

from __future__ import annotations

import json
from typing import Any

from tests.dashboard.browser.conftest import Visit
from tests.dashboard.browser.world import World

SCREENS = ["/", "/runs", "/workers", "/workflows", "/schedules", "/limits", "/waiting"]
OF_ONE = ["/limits?limit=vans", "/schedules/nightly report"]

# What runs in the page before each press of Tab: the element with the focus, and whether it shows.
_FOCUS = """
() => {
  const node = document.activeElement;
  if (!node || node === document.body) return null;
  const style = getComputedStyle(node);
  const outlined = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0;
  const box = node.getBoundingClientRect();
  const all = [...document.querySelectorAll('*')];
  return {
    place: all.indexOf(node),
    shows: (outlined || style.boxShadow !== 'none') && box.width > 0 && box.height > 0,
    html: node.outerHTML.slice(0, 120),
  };
}
"""
_REACHABLE = """
() => [...document.querySelectorAll(
    'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]')]
  .filter((node) => node.checkVisibility({ visibilityProperty: true }) && !node.disabled)
  .map((node) => [...document.querySelectorAll('*')].indexOf(node))
"""


def pages(world: World) -> list[str]:
    """Every screen, that of one limit and schedule, and the page of a run of every state."""
    return [*SCREENS, *OF_ONE, *(f"/runs/{run}" for run in world.runs.values())]


def test_every_page_fits_and_has_no_barriers_dark_and_light(
    visit: Visit, world: World, width: int
) -> None:
    watched = visit(width=width)
    found = {}
    titles = set()
    for path in pages(world):
        watched.open(path)
        titles.add(watched.page.title())
        problems = watched.beyond_the_sides()
        for scheme in ("dark", "light"):
            watched.page.emulate_media(color_scheme=scheme)
            problems += [f"{scheme}: {barrier}" for barrier in watched.barriers()]
        if problems:
            found[path] = problems
        watched.shot(path.strip("/").replace("/", "-")[:16])
    assert not found, json.dumps(found, indent=1, ensure_ascii=False)
    assert len(titles) == len(pages(world)), "each page has a title of its own"


def test_the_colors_follow_the_system(visit: Visit) -> None:
    ink = "() => getComputedStyle(document.body).backgroundColor"
    light, dark = (visit(color_scheme=each).page.evaluate(ink) for each in ("light", "dark"))
    assert light != dark


def test_every_control_can_be_reached_by_tab_in_order_and_shows_the_focus(
    visit: Visit, world: World, width: int
) -> None:
    watched = visit(width=width)
    for path in [*SCREENS, f"/runs/{world.runs['completed']}"]:
        watched.open(path)
        expected = watched.page.evaluate(_REACHABLE)
        reached: list[int] = []
        while True:
            watched.page.keyboard.press("Tab")
            focus = watched.page.evaluate(_FOCUS)
            if focus is None or focus["place"] in reached:
                break
            assert focus["shows"], (path, focus)
            reached.append(focus["place"])
            if len(reached) > 60:  # a long list is like its beginning
                break
        assert reached == sorted(reached), path
        assert len(reached) > 60 or set(expected) <= set(reached), path


def test_the_first_tab_skips_the_navigation(visit: Visit, world: World) -> None:
    page = visit(f"/runs/{world.runs['completed']}").page
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.tagName") == "MAIN"
    page.keyboard.press("Tab")
    assert page.evaluate("() => document.activeElement.closest('main') !== null")


def test_every_page_says_the_same_without_javascript(visit: Visit, world: World) -> None:
    with_it, without = visit(), visit(java_script_enabled=False)
    for path in pages(world):
        texts = []
        for watched in (with_it, without):
            watched.open(path)
            texts.append(watched.page.locator("main h1, main h2, main th").all_inner_texts())
        assert texts[0] == texts[1], path
        assert texts[0], path


def test_the_navigation_leads_to_every_screen_and_says_where_one_is(
    visit: Visit, width: int
) -> None:
    page = visit(width=width).page
    links: list[Any] = page.locator("header nav a").all_inner_texts()
    for name in links:
        page.get_by_role("link", name=name, exact=True).first.click()
        page.locator("header nav [aria-current=page]", has_text=name).wait_for()
    assert len(links) >= len(SCREENS)


def test_markup_scripts_and_right_to_left_text_of_a_run_are_text(
    visit: Visit, world: World, width: int
) -> None:
    watched = visit(width=width)
    for path in [*SCREENS, f"/runs/{world.runs['hostile']}"]:
        watched.open(path)
        page = watched.page
        assert page.locator("img[src=x], script:not([src])").count() == 0, path
        assert "owned" not in page.title().split()
        isolated = page.locator(":text('gnp.live')").evaluate_all(
            "nodes => nodes.filter(n => !n.closest('bdi, pre, textarea, title, [dir=auto]')"
            " && getComputedStyle(n).unicodeBidi === 'normal').map(n => n.outerHTML.slice(0, 200))"
        )
        assert isolated == [], path


def test_a_value_of_ten_megabytes_is_folded_and_loaded_on_demand(
    visit: Visit, world: World, width: int
) -> None:
    watched = visit(f"/runs/{world.runs['large']}", width=width)
    assert len(watched.page.content()) < 1_000_000
