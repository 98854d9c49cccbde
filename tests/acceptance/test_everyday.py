"""Nothing goes wrong: every run completes, and every step runs once."""

from __future__ import annotations

import pytest

from tests.acceptance.world import World, scaled


@pytest.mark.parametrize("concurrency", [1, 8])
def test_hundreds_of_runs_of_both_colours_execute_every_step_once(
    world: World, concurrency: int
) -> None:
    count = scaled(100)
    ids = [
        *world.start("chain", *[{"steps": 3}] * count),
        *world.start("chain-async", *[{"steps": 3}] * count),
        *world.start("fan", *[{"width": 4}] * (count // 4)),
        *world.start("fan-async", *[{"width": 4}] * (count // 4)),
    ]
    worker = world.worker(concurrency=concurrency)
    world.wait_until_ended(ids)
    executions = world.check(ids)
    assert len(executions) == 2 * 3 * count + 2 * 5 * (count // 4)
    assert {each.pid for each in executions} == set(worker.children())
    worker.stop()
    assert "ERROR" not in worker.log
    assert "WARNING" not in worker.log


def test_two_workers_share_one_queue_and_execute_every_run_once(world: World) -> None:
    one, two = (world.worker(processes=1, wait=False) for _ in range(2))
    one.wait_until_ready()
    two.wait_until_ready()
    ids = world.start("chain", *[{"steps": 3, "seconds": 0.005}] * scaled(200))
    world.wait_until_ended(ids)
    by = [each.pid for each in world.check(ids)]
    for worker in (one, two):
        [child] = worker.children()
        assert by.count(child) > len(by) // 10
        worker.stop()
        assert "ERROR" not in worker.log
