"""More workers than are on call for new runs. None of them polls."""

from __future__ import annotations

import signal

import pytest

from owsuper.supervisor.on_call import ENOUGH
from tests.acceptance.deployment import Deployment, Worker, wait_until_dead
from tests.acceptance.tables import eventually

OFF_CALL = 2
LEAVES = "leaves new runs to those on call"


@pytest.fixture
def workers(deployment: Deployment) -> list[Worker]:
    """Workers of one slot each. All but the last two are on call."""
    options = {"processes": 1, "concurrency": 1, "poll_interval": "1h", "log_level": "debug"}
    count = ENOUGH + OFF_CALL
    workers = [deployment.worker(wait=False, **options) for _ in range(count)]
    for worker in workers:
        worker.wait_for_log(rf"takes turns with other workers: {count - 1}\b")
    return workers


@pytest.mark.slow
@pytest.mark.once
def test_all_workers_take_runs_when_those_on_call_are_full_or_gone(
    deployment: Deployment, workers: list[Worker]
) -> None:
    off = wait_until_left(workers, OFF_CALL)
    on = [worker for worker in workers if worker not in off]

    # Each of them takes one run, though two of them hear only what is passed on.
    held = deployment.start("held", *[{}] * len(workers))
    steps = deployment.gate.take(len(held))
    assert len({each.pid for each in steps}) == len(workers)
    for each in steps:
        each.command("go")
    deployment.wait_until_ended(held)
    deployment.check(held)

    # Those off call are on call when all others are gone.
    for worker in on:
        worker.signal_all(signal.SIGKILL)
    for worker in on:
        wait_until_dead(worker.processes())
    more = []
    for _ in range(5):
        more += deployment.start("chain", {"steps": 1, "seconds": 0.0})
        deployment.wait_until_ended(more)
    executions = deployment.check(more)
    assert {each.pid for each in executions} <= {pid for each in off for pid in each.children()}
    for worker in off:
        worker.stop()


def wait_until_left(workers: list[Worker], count: int) -> list[Worker]:
    """Wait until so many of the workers are off call; return them."""

    def off() -> list[Worker]:
        return [worker for worker in workers if LEAVES in worker.log]

    eventually("some workers are off call", lambda: len(off()) == count)
    return off()
