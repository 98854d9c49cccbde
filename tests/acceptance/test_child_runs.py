"""Child runs and signals, while the processes that execute them are killed."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress

import pytest

from tests.acceptance.deployment import Deployment, scaled, wait_until_dead
from tests.acceptance.parents import check_parents, start_parents

pytestmark = pytest.mark.slow


def test_without_failures_nothing_is_started_or_signaled_twice(deployment: Deployment) -> None:
    parents = start_parents(deployment, scaled(20))
    worker = deployment.worker()
    assert check_parents(deployment, parents) == 0
    worker.stop()
    assert "WARNING" not in worker.log


@pytest.mark.parametrize("concurrency", [1, 4])
def test_killed_child_processes_lose_and_duplicate_nothing(
    deployment: Deployment, concurrency: int, rng: random.Random
) -> None:
    kills = scaled(10)
    parents = start_parents(deployment, scaled(15))
    worker = deployment.worker(concurrency=concurrency, max_crashes=1000)
    for _ in range(kills):
        deployment.journal.wait_for_next(rng.randrange(2, 14))
        if children := worker.children():
            with suppress(ProcessLookupError):
                os.kill(rng.choice(children), signal.SIGKILL)
    assert check_parents(deployment, parents) <= kills * concurrency
    worker.stop()
    assert deployment.leased() == []


def test_killed_supervisors_lose_and_duplicate_nothing(
    deployment: Deployment, rng: random.Random
) -> None:
    parents = start_parents(deployment, scaled(15))
    for _ in range(scaled(3)):
        worker = deployment.worker(lease="3s")
        deployment.journal.wait_for_next(rng.randrange(5, 30))
        descendants = worker.program.descendants()
        worker.kill()
        wait_until_dead(descendants)
    successor = deployment.worker(lease="3s")
    assert check_parents(deployment, parents) == 0
    successor.stop()


def test_workers_killed_as_a_whole_lose_and_duplicate_nothing(
    deployment: Deployment, rng: random.Random
) -> None:
    parents, rounds = start_parents(deployment, scaled(15)), scaled(3)
    for _ in range(rounds):
        worker = deployment.worker(lease="2s")
        deployment.journal.wait_for_next(rng.randrange(5, 30))
        worker.signal_all(signal.SIGKILL)
    successor = deployment.worker()
    assert check_parents(deployment, parents) <= rounds * 8
    successor.stop()
