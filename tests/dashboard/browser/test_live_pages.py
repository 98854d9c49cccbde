"""Pages that change while somebody looks at them, without a reload."""

from __future__ import annotations

import re
from typing import Any

from tests.dashboard.browser.conftest import Visit
from tests.dashboard.browser.world import World

LIVE = '#live[data-state="live"]'


def mark(page: Any) -> None:
    """Leave a mark that a reload would remove."""
    page.wait_for_selector(LIVE)
    page.evaluate("window.mark = 'here'")


def is_marked(page: Any) -> bool:
    return bool(page.evaluate("window.mark === 'here'"))


def test_the_running_step_grows_and_the_end_of_the_run_is_shown(visit: Visit, world: World) -> None:
    gate = world.gate()
    run_id = world.start("baking", "bake", str(gate))
    world.wait_until(run_id, "worker_id IS NOT NULL")
    page = visit(f"/runs/{run_id}").page
    mark(page)
    page.wait_for_selector("#attempts tr:has-text('oven') .running")
    took = page.locator("#attempts tr:has-text('oven') [data-label='took']")
    before = took.inner_text()
    page.wait_for_function(
        "before => document.querySelector('#attempts')?.innerText.includes('so far')"
        " && !document.querySelector('#attempts').innerText.includes(before)",
        arg=before,
    )
    assert page.locator("svg .growing").count() > 0
    gate.touch()
    page.wait_for_selector("#run-header .status.completed")
    page.wait_for_function("!document.querySelector('svg .growing')")
    assert is_marked(page)


def test_what_the_reader_has_opened_and_typed_stays(
    visit: Visit, acting: str, world: World
) -> None:
    page = visit("/runs", base=acting).page
    mark(page)
    page.get_by_text("More filters").click()
    workflow = page.get_by_label("Workflow", exact=True)
    workflow.fill("bak")
    new = world.start("newcomer", "nobody-has-this", {"n": 2})
    page.wait_for_selector(f"#list input[value='{new}']", state="attached")
    assert workflow.input_value() == "bak"
    assert page.evaluate("document.activeElement.name") == "workflow"
    assert page.locator("details[open]").count() == 1
    assert is_marked(page)


def test_a_large_value_is_loaded_when_it_is_opened_and_stays_open(
    visit: Visit, world: World
) -> None:
    page = visit(f"/runs/{world.runs['large']}").page
    mark(page)
    value = page.locator("#values details:has-text('output')")
    value.locator("summary").click()
    value.locator("pre").wait_for()
    assert "The beginning" in value.inner_text()
    with page.expect_response(re.compile(f"/runs/{world.runs['large']}$")):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        world.conn.execute(
            f'UPDATE "{world.schema}".workflow_runs SET attempts = attempts + 1'
            " WHERE id = $1".encode(),
            [world.runs["large"]],
        )
    assert value.locator("pre").is_visible()
    assert is_marked(page)


def test_progress_and_log_lines_are_shown_while_the_run_makes_them(
    visit: Visit, world: World, width: int
) -> None:
    gate = world.gate()
    run_id = world.start(f"counting {width}", "count-rows", str(gate))
    watched = visit(f"/runs/{run_id}", width=width)
    page = watched.page
    mark(page)
    page.wait_for_selector("#run-header progress[value='3.0'][max='10.0']")
    assert "3 of 10 the third <b>row</b>" in page.locator("#run-header").inner_text()
    line = page.locator("#logs li.level-warning")
    line.wait_for()
    assert "count (1) row 3 has no <i>name</i>" in " ".join(line.inner_text().split())
    assert watched.beyond_the_sides() + watched.barriers() == []
    gate.touch()
    page.wait_for_selector("#run-header progress[value='10.0']")
    page.wait_for_selector("#run-header .status.completed")
    assert is_marked(page)
    page.locator("#logs").get_by_role("link", name="error").click()
    page.get_by_text("No line of this level is stored.").wait_for()
    page.locator("#logs").get_by_role("link", name="all", exact=True).click()
    line.wait_for()


def test_a_page_in_a_hidden_tab_has_no_line_and_is_up_to_date_when_it_is_seen(
    visit: Visit, world: World
) -> None:
    watched = visit("/runs")
    page = watched.page
    mark(page)
    with page.expect_event("requestfailed", lambda request: "/live?" in request.url):
        show(page, hidden=True)
    new = world.start("unseen", "nobody-has-this", {"n": 3})
    show(page, hidden=False)
    page.wait_for_selector(f"#list a[href$='/runs/{new}']")
    assert is_marked(page)


def show(page: Any, *, hidden: bool) -> None:
    """Do what a browser does when a tab is hidden, or seen again."""
    page.evaluate(
        "hidden => {"
        " Object.defineProperty(document, 'hidden', { value: hidden, configurable: true });"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )
