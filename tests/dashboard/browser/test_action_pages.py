"""The pages of actions can be read at both widths, dark and light."""

from __future__ import annotations

import json

from tests.dashboard.browser.conftest import Visit
from tests.dashboard.browser.world import World


def pages(world: World) -> list[str]:
    run = world.runs
    [worker, *_] = world.ow.list_workers()
    both = f"id={run['waiting']}&id={run['sleeping']}"
    return [
        f"/runs/{run['waiting']}",
        "/runs",
        "/waiting",
        "/workers",
        f"/actions/cancel?id={run['waiting']}",
        f"/actions/cancel?{both}",
        "/actions/cancel?all=1&match=status%3Dfailed",
        f"/actions/retry?id={run['failed']}",
        f"/actions/rerun?id={run['failed']}",
        "/actions/start",
        "/actions/start?workflow=order&version=2",
        "/actions/start?workflow=unknown",
        f"/actions/signal?signal=approve-expense-7&run={run['waiting']}",
        "/actions/signal",
        f"/actions/drain?worker={worker.id}",
        f"/workers/stacks?worker={worker.id}",
        "/actions/pause-schedule?schedule=nightly report",
        "/actions/backfill-schedule?schedule=nightly report",
        "/schedules",
        "/audit",
    ]


def test_every_page_of_an_action_fits_and_has_no_barriers(
    visit: Visit, world: World, acting: str, width: int
) -> None:
    watched = visit(base=acting, width=width)
    watched.open(f"/actions/retry?id={world.runs['failed']}")
    watched.page.get_by_role("button", name="Retry").click()
    watched.page.wait_for_url("**/audit/*")
    watched.page.locator(".notice.good").wait_for()
    world.wait_until(world.runs["failed"], "status = 'failed'")  # as other tests expect it
    answered = watched.page.url.removeprefix(acting)
    found = {}
    for path in [answered, *pages(world)]:
        watched.open(path)
        problems = watched.beyond_the_sides()
        for scheme in ("dark", "light"):
            watched.page.emulate_media(color_scheme=scheme)
            problems += [f"{scheme}: {barrier}" for barrier in watched.barriers()]
        if problems:
            found[path] = problems
        watched.shot()
    assert not found, json.dumps(found, indent=1, ensure_ascii=False)
