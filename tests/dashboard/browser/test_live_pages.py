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
