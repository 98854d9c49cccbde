"""Every action, as a person does it: asked for on a page, confirmed, and answered."""

from __future__ import annotations

from typing import Any

import pytest

from tests.client.conftest import eventually
from tests.dashboard.browser import world as worlds
from tests.dashboard.browser.conftest import Visit
from tests.dashboard.browser.world import World
from tests.fixtures.processes import Spawn

SCRIPTS = pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])


def press(page: Any, name: str) -> None:
    """Press the link or the button of this name."""
    page.get_by_role("link", name=name).or_(page.get_by_role("button", name=name)).first.click()


def is_answered(page: Any) -> None:
    """Wait for the page that tells what has become of an action."""
    page.wait_for_url("**/audit/*")
    page.locator(".notice.good").wait_for()


@SCRIPTS
def test_a_run_is_canceled_after_a_confirmation(
    visit: Visit, world: World, acting: str, width: int, script: bool
) -> None:
    run = world.start("to cancel", "subscription", None)
    watched = visit(f"/runs/{run}", base=acting, width=width, java_script_enabled=script)
    press(watched.page, "Cancel…")
    watched.page.get_by_role("heading", name="Cancel this run?").wait_for()
    if script:
        assert watched.beyond_the_sides() + watched.barriers() == []
    press(watched.page, "Cancel")
    is_answered(watched.page)
    world.wait_until(run, "status = 'canceled'")


def test_a_failed_run_is_retried(visit: Visit, world: World, acting: str) -> None:
    run = world.start("to retry", "refund", {"amount": 1})
    world.wait_until(run, "status = 'failed'")
    page = visit(f"/runs/{run}", base=acting).page
    press(page, "Retry…")
    press(page, "Retry")
    is_answered(page)
    set_aside = (
        "EXISTS (SELECT FROM {schema}.owsuper_retried_attempts AS attempt"
        " WHERE attempt.workflow_run_id = workflow_runs.id)"
    )
    world.wait_until(run, f"status = 'failed' AND {set_aside}")


def test_runs_are_selected_in_the_list_and_canceled(
    visit: Visit, world: World, acting: str, width: int
) -> None:
    runs = [world.start(f"selected {n}", "subscription", None) for n in range(2)]
    page = visit("/runs?workflow=subscription", base=acting, width=width).page
    for run in runs:
        page.locator(f"input[value='{run}']").check()
    press(page, "Cancel…")
    page.get_by_role("heading", name="Cancel 2 runs?").wait_for()
    press(page, "Cancel them")
    is_answered(page)
    for run in runs:
        world.wait_until(run, "status = 'canceled'")


@pytest.mark.parametrize(
    ("verb", "before", "after"), [("Cancel", "pending", "canceled"), ("Retry", "failed", "pending")]
)
def test_all_runs_that_match_the_filter_are_handled_and_no_others(
    visit: Visit, world: World, acting: str, verb: str, before: str, after: str
) -> None:
    """More than a page of the list has, and nobody serves them."""
    workflow = f"to-{verb}-all"
    insert = (
        "INSERT INTO {schema}.workflow_runs (namespace_id, id, workflow_name, status, config,"
        " attempts, available_at, created_at, updated_at)"
        " SELECT 'default', gen_random_uuid(), $1 || (n % 2), $2, '{{}}', 1,"
        " now() + interval '1 day', now(), now() FROM generate_series(1, 140) AS n RETURNING id"
    )
    world.fetch(insert, workflow, before)
    watched = visit(f"/runs?workflow={workflow}1&status={before}", base=acting)
    page = watched.page
    press(page, f"{verb} all…")
    page.get_by_role("heading", name=f"{verb} 70 runs?").wait_for()
    assert watched.beyond_the_sides() + watched.barriers() == []
    press(page, f"{verb} them")
    is_answered(page)
    assert "70 done." in page.locator(".notice.good").inner_text()
    count = (
        "SELECT workflow_name, status, count(*) FROM {schema}.workflow_runs"
        " WHERE workflow_name LIKE $1 || '%' GROUP BY 1, 2 ORDER BY 1"
    )
    expected = [(f"{workflow}0", before, 70), (f"{workflow}1", after, 70)]
    assert world.fetch(count, workflow) == expected


def test_a_worker_is_drained_after_a_confirmation(
    visit: Visit, world: World, acting: str, start: Spawn, width: int
) -> None:
    program = worlds.start_worker(world, start, worlds.ODD)
    eventually(  # before that, it does not say that it hears
        lambda: (program.pid, "serving") in [(w.pid, w.state) for w in world.ow.list_workers()]
    )
    watched = visit("/workers", base=acting, width=width)
    page = watched.page
    listed = page.locator("section.worker", has_text=f"pid {program.pid} ")
    listed.get_by_role("link", name="Drain…").click()
    page.get_by_role("heading", name="Drain this worker?").wait_for()
    assert str(program.pid) in page.locator("main dl").inner_text()
    press(page, "Drain")
    is_answered(page)
    assert program.wait() == 0
    watched.open("/workers")
    page.locator("section.worker").first.wait_for()
    listed.wait_for(state="detached")


def test_a_run_is_started_by_a_form_that_follows_its_type(
    visit: Visit, world: World, acting: str, width: int
) -> None:
    watched = visit("/actions/start?workflow=order&version=2", base=acting, width=width)
    page = watched.page
    assert watched.beyond_the_sides() + watched.barriers() == []
    assert "owsuper 2 " not in page.locator("footer").inner_text()
    form = page.get_by_role("form", name="Input by fields")
    form.get_by_label("item").fill("cake <b>")
    form.get_by_label("quantity").fill("many")
    with watched.forgiving("400", "422"):
        form.get_by_role("button", name="Start").click()
        page.get_by_role("alert").first.wait_for()
    assert page.get_by_label("item").first.input_value() == "cake <b>"
    page.get_by_label("quantity").first.fill("3")
    page.get_by_role("form", name="Input by fields").get_by_role("button", name="Start").click()
    is_answered(page)
    run = page.locator("main .choices-list a").inner_text()
    [(stored,)] = world.fetch("SELECT input FROM {schema}.workflow_runs WHERE id = $1", run)
    assert (stored["item"], stored["quantity"]) == ("cake <b>", 3)


@pytest.mark.once
def test_a_schedule_is_paused_resumed_triggered_and_backfilled(
    visit: Visit, world: World, acting: str
) -> None:
    name = "to change"
    world.ow.schedules.create(name, "nobody-serves-this", "0 3 * * *", timezone="Europe/Berlin")
    watched = visit("/schedules", base=acting, width=390)
    page = watched.page

    def perform(verb: str, button: str, **times: str) -> str:
        watched.open("/schedules")
        page.locator("main tr", has_text=name).get_by_role("link", name=f"{verb}…").click()
        page.get_by_role("heading", name=f"{verb.removesuffix(' a run')}").wait_for()
        for label, time in times.items():
            page.get_by_label(label).fill(time)
        page.get_by_role("button", name=button).click()
        is_answered(page)
        answer: str = page.locator(".notice.good").inner_text()
        return answer

    perform("Pause", "Pause it")
    assert world.ow.schedules.get(name).state == "paused"
    perform("Resume", "Resume it")
    assert world.ow.schedules.get(name).state == "active"
    perform("Start a run", "Start a run of it")
    done = perform("Backfill", "Backfill", Since="2025-03-29 00:00", Until="2025-04-01 00:00")
    assert done == "Runs started: 3."
    outcomes = [each.outcome for each in world.ow.schedules.ticks(name)]
    assert sorted(outcomes) == ["backfilled"] * 3 + ["triggered"]


@SCRIPTS
def test_a_wait_is_answered_from_the_inbox(
    visit: Visit, world: World, acting: str, script: bool
) -> None:
    signal = f"approve-{script}"
    run = world.start("asks", "approval", str(script))
    world.wait_until(run, "worker_id IS NULL AND available_at > now() + interval '1 minute'")
    page = visit("/waiting", base=acting, java_script_enabled=script).page
    page.locator("main tr", has_text=run[:13]).filter(has_text=signal).get_by_role(
        "link", name="Answer…"
    ).click()
    form = page.get_by_role("form", name="Data by fields")
    form.get_by_label("approved").select_option("true")
    form.get_by_label("by").fill("Ada")
    form.get_by_role("button", name="Send").click()
    is_answered(page)
    world.wait_until(run, "status = 'completed' AND output = 'true'")


def test_a_run_is_started_again_with_its_input(visit: Visit, world: World, acting: str) -> None:
    page = visit(f"/runs/{world.runs['completed']}", base=acting).page
    press(page, "Start again…")
    press(page, "Start again")
    is_answered(page)
    run = page.locator("main .choices-list a").first.get_attribute("title")
    assert run is not None
    world.wait_until(run, "status = 'completed'")


def test_the_stacks_of_a_child_are_shown(visit: Visit, world: World, acting: str) -> None:
    watched = visit("/workers", base=acting)
    press(watched.page, "Stacks")
    watched.page.get_by_text("shop.py").first.wait_for()
    assert watched.beyond_the_sides() == []


def test_what_was_done_stands_in_the_audit(visit: Visit, world: World, acting: str) -> None:
    run = world.start("audited", "subscription", None)
    watched = visit(f"/actions/cancel?id={run}", base=acting)
    press(watched.page, "Cancel")
    is_answered(watched.page)
    watched.open("/audit")
    watched.page.locator("main tr", has_text=run[:8]).first.wait_for()


def test_a_read_only_dashboard_has_no_buttons(visit: Visit, world: World) -> None:
    watched = visit(f"/runs/{world.runs['sleeping']}")
    assert watched.page.locator("main form[method=post], main a[href*='/actions/']").count() == 0
