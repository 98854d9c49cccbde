"""Due runs are claimed at once: by notifications, by timers, and otherwise by polling."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.acceptance.deployment import Deployment
from tests.acceptance.tables import Tables

pytestmark = pytest.mark.slow

# So long that only notifications and timers can wake the worker.
NO_POLLING = "1h"
AT_MOST = 30.0  # seconds
# Due times follow the wall clock. The tests measure with the monotonic clock, which differs when
# the wall clock is adjusted.
CLOCK_TOLERANCE = 0.01  # seconds


def test_a_run_inserted_by_sql_is_claimed_by_notification(deployment: Deployment) -> None:
    deployment.worker(poll_interval=NO_POLLING)
    for _ in range(20):
        deployment.wait_until_begun(deployment.start("chain", {"steps": 1}), timeout=AT_MOST)
    ids = deployment.start("chain", *[{"steps": 2}] * 50)
    deployment.wait_until_ended(ids, timeout=AT_MOST)
    deployment.check(ids)


def test_runs_that_are_inserted_at_the_same_time_are_all_claimed(deployment: Deployment) -> None:
    """Most of these transactions do not notify, because another one does at that moment."""
    deployment.worker(poll_interval=NO_POLLING)

    def insert(count: int) -> list[str]:
        with Tables(deployment.url, deployment.schema) as tables:
            return [run for _ in range(count) for run in tables.start("chain", {"steps": 1})]

    with ThreadPoolExecutor(8) as clients:
        ids = [run for each in clients.map(insert, [50] * 8) for run in each]
    deployment.wait_until_ended(ids, timeout=AT_MOST)
    deployment.check(ids)


def test_without_notifications_runs_are_found_by_polling(deployment: Deployment) -> None:
    worker = deployment.worker("--no-listen", poll_interval="50ms")
    ids = deployment.start("chain", {"steps": 2}) + deployment.start("nap", {"seconds": 0.1})
    deployment.wait_until_ended(ids, timeout=AT_MOST)
    deployment.check(ids)
    worker.stop()


def test_scheduled_runs_begin_when_they_are_due_and_not_before(deployment: Deployment) -> None:
    deployment.worker(poll_interval=NO_POLLING)
    began = time.monotonic()
    later = deployment.start("chain", {"steps": 1}, due_in=1.5)
    sooner = deployment.start("chain", {"steps": 1}, due_in=0.5)
    deployment.wait_until_ended([*sooner, *later], timeout=AT_MOST)
    at = {each.run: each.at - began for each in deployment.check([*sooner, *later])}
    assert at[sooner[0]] >= 0.5 - CLOCK_TOLERANCE
    assert at[later[0]] >= 1.5 - CLOCK_TOLERANCE


def test_runs_that_were_scheduled_before_the_worker_started_begin_on_time(
    deployment: Deployment,
) -> None:
    began = time.monotonic()
    ids = deployment.start("chain", {"steps": 1}, due_in=3)
    deployment.worker(poll_interval=NO_POLLING)
    deployment.wait_until_ended(ids, timeout=AT_MOST)
    [execution] = deployment.check(ids)
    assert execution.at - began >= 3 - CLOCK_TOLERANCE


@pytest.mark.parametrize("workflow", ["nap", "nap-async"])
def test_sleeps_end_on_time_without_polling(deployment: Deployment, workflow: str) -> None:
    deployment.worker(poll_interval=NO_POLLING)
    ids = deployment.start(workflow, *[{"seconds": 1}] * 10)
    deployment.wait_until_ended(ids, timeout=AT_MOST)
    executions = deployment.check(ids)
    for run in ids:
        before, after = sorted(each.at for each in executions if each.run == run)
        assert after - before >= 1 - CLOCK_TOLERANCE


def test_a_retry_comes_when_it_is_due_without_polling(deployment: Deployment) -> None:
    deployment.worker(poll_interval=NO_POLLING)
    ids = deployment.start("held", {"retry_after": "500ms"}) + deployment.start(
        "held-async", {"retry_after": "500ms"}
    )
    for held_step in deployment.gate.take(2):
        held_step.command("fail")
    for held_step in (deployment.gate.next(AT_MOST), deployment.gate.next(AT_MOST)):
        held_step.command("go")
    deployment.wait_until_ended(ids)
    deployment.check(ids, repeats=2)
    held = [each for each in deployment.journal.executions() if each.step == "held"]
    for run in ids:
        first, second = (each.at for each in held if each.run == run)
        assert second - first >= 0.5 - CLOCK_TOLERANCE
