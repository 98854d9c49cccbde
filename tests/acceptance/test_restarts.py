"""Runs that continue after their worker has stopped."""

from __future__ import annotations

import pytest

from tests.acceptance.deployment import Deployment


@pytest.mark.slow
def test_parallel_steps_and_retries_continue_in_the_next_worker(
    deployment: Deployment,
) -> None:
    worker = deployment.worker(graceful_timeout="200ms")
    fans = deployment.start("held-parallel", {"width": 3}, {"width": 3})
    for held_step in deployment.gate.take(6):
        if held_step.step != "branch-0":
            held_step.command("go")
    # In each run, two of three parallel steps are committed; the third is interrupted.
    deployment.wait_until_recorded(fans, 4)
    worker.stop()
    assert deployment.leased() == []

    worker = deployment.worker(graceful_timeout="200ms")
    interrupted = deployment.gate.take(2)
    assert {(each.run, each.step) for each in interrupted} == {(run, "branch-0") for run in fans}
    for held_step in interrupted:
        held_step.command("fail")
    deployment.wait_until_parked(fans)
    worker.stop()

    worker = deployment.worker()
    for held_step in deployment.gate.take(2):
        held_step.command("go")
    deployment.wait_until_ended(fans)
    executions = deployment.check(fans, repeats=4)
    assert len({each.pid for each in executions}) >= 3


@pytest.mark.slow
def test_a_sleep_keeps_its_end_when_its_worker_is_replaced(deployment: Deployment) -> None:
    worker = deployment.worker(processes=1)
    naps = deployment.start("nap", {"seconds": 4}) + deployment.start("nap-async", {"seconds": 4})
    deployment.wait_until_parked(naps)
    sleeps = """
        SELECT id, context ->> 'resumeAt' FROM {schema}.step_attempts
        WHERE kind = 'sleep' AND workflow_run_id = ANY ($1) ORDER BY id
    """
    begun = deployment.query(sleeps, naps)
    worker.stop()
    deployment.worker(processes=1, poll_interval="1h")
    deployment.wait_until_ended(naps)
    assert deployment.query(sleeps, naps) == begun  # no sleep began again or was postponed
    assert len(begun) == len(naps)
    executions = deployment.check(naps)
    for run in naps:
        before, after = sorted(each.at for each in executions if each.run == run)
        assert after - before >= 3.99  # the two clocks may differ a little
