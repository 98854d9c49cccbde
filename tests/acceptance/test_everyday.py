"""Without any failure, every run completes and every step runs once."""

from __future__ import annotations

import pytest

from tests.acceptance.deployment import Deployment, scaled


@pytest.mark.parametrize("concurrency", [1, 8])
def test_hundreds_of_runs_sync_and_async_execute_every_step_once(
    deployment: Deployment, concurrency: int
) -> None:
    count = scaled(100)
    ids = [
        *deployment.start("chain", *[{"steps": 3}] * count),
        *deployment.start("chain-async", *[{"steps": 3}] * count),
        *deployment.start("parallel", *[{"width": 4}] * (count // 4)),
        *deployment.start("parallel-async", *[{"width": 4}] * (count // 4)),
    ]
    worker = deployment.worker(concurrency=concurrency)
    deployment.wait_until_ended(ids)
    executions = deployment.check(ids)
    assert len(executions) == 2 * 3 * count + 2 * 5 * (count // 4)
    assert {each.pid for each in executions} == set(worker.children())
    worker.stop()
    assert "ERROR" not in worker.log
    assert "WARNING" not in worker.log


def test_two_workers_share_one_queue_and_execute_every_run_once(deployment: Deployment) -> None:
    first, second = (deployment.worker(processes=1, wait=False) for _ in range(2))
    first.wait_until_ready()
    second.wait_until_ready()
    ids = deployment.start("held", *[{}] * 8)  # which take all slots of both
    ids += deployment.start("chain", *[{"steps": 3, "seconds": 0.005}] * scaled(200))
    for step in deployment.gate.take(8):
        step.command("go")
    deployment.wait_until_ended(ids)
    by = {each.pid for each in deployment.check(ids)}
    assert by == {*first.children(), *second.children()}
    for worker in (first, second):
        worker.stop()
        assert "ERROR" not in worker.log
