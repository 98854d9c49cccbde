"""Several workers that take turns, while some of them do not answer. None of them polls."""

from __future__ import annotations

import signal

from tests.acceptance.deployment import Deployment, Worker

ALONE = {"steps": 1, "seconds": 0.0}


def workers_in_turn(deployment: Deployment, count: int) -> list[Worker]:
    """Workers of one slot each, which know each other."""
    options = {"processes": 1, "concurrency": 1, "poll_interval": "1h", "log_level": "debug"}
    workers = [deployment.worker(wait=False, **options) for _ in range(count)]
    for worker in workers:
        worker.wait_for_log(rf"takes turns with other workers: {count - 1}\b")
    return workers


def run_one_after_the_other(deployment: Deployment, count: int) -> list[str]:
    ids = []
    for _ in range(count):
        ids += deployment.start("chain", ALONE)
        deployment.wait_until_ended(ids[-1:])
    return ids


def test_idle_workers_share_the_runs(deployment: Deployment) -> None:
    workers = workers_in_turn(deployment, 2)
    ids = run_one_after_the_other(deployment, 40)
    executions = deployment.check(ids)
    for worker in workers:
        children = worker.children()
        assert any(each.pid in children for each in executions)
        worker.stop()


def test_runs_of_a_worker_whose_supervisor_hangs_start_on_another(deployment: Deployment) -> None:
    hung, other = workers_in_turn(deployment, 2)
    hung.program.signal(signal.SIGSTOP)
    ids = run_one_after_the_other(deployment, 20)
    executions = deployment.check(ids)
    assert {each.pid for each in executions} == set(other.children())
    hung.program.signal(signal.SIGCONT)
    hung.stop()
    other.stop()


def test_runs_of_a_worker_without_a_free_slot_start_on_another(deployment: Deployment) -> None:
    workers = workers_in_turn(deployment, 2)
    held = deployment.start("held", {})
    step = deployment.gate.next()
    ids = run_one_after_the_other(deployment, 20)
    [busy] = [worker for worker in workers if step.pid in worker.children()]
    busy.wait_for_log("tells other workers that more runs are due")
    step.command("go")
    deployment.wait_until_ended(held)
    deployment.check(ids + held)
    for worker in workers:
        worker.stop()


def test_a_worker_that_was_killed_is_made_up_for_at_once_and_then_forgotten(
    deployment: Deployment,
) -> None:
    killed, other = workers_in_turn(deployment, 2)
    killed.signal_all(signal.SIGKILL)
    deployment.check(run_one_after_the_other(deployment, 20))
    other.wait_for_log(r"takes turns with other workers: 0")
    other.stop()
