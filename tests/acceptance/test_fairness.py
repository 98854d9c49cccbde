"""Fairness under a backlog: neither new runs nor begun runs make the others wait."""

from __future__ import annotations

import pytest

from tests.acceptance.deployment import Deployment, scaled

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("concurrency", [1, 4])
def test_runs_that_wake_up_pass_a_backlog_of_new_runs(
    deployment: Deployment, concurrency: int
) -> None:
    naps = deployment.start("nap", *[{"seconds": 0.1}] * 5)
    backlog = deployment.start("chain", *[{"steps": 1, "seconds": 0.002}] * scaled(1500))
    deployment.worker(processes=1, concurrency=concurrency)
    deployment.wait_until_ended([*naps, *backlog])
    executions = deployment.check([*naps, *backlog])
    woken = [each.at for each in executions if each.step == "after"]
    still_to_come = [each for each in executions if each.run in set(backlog)]
    left = sum(each.at > max(woken) for each in still_to_come)
    assert left > len(backlog) // 3, (
        f"the last woken run ran when only {left} runs of the backlog were left"
    )


def test_new_runs_pass_runs_that_are_always_due(deployment: Deployment) -> None:
    deployment.worker(processes=1, concurrency=2)
    always_due = deployment.start("always-due", *[{"times": scaled(80)}] * 10)
    deployment.journal.wait_for_more(50)
    new = deployment.start("chain", *[{"steps": 1}] * 20)
    deployment.wait_until_ended([*new, *always_due])
    executions = deployment.check([*new, *always_due])
    last = max(each.at for each in executions if each.run in set(new))
    assert any(each.at > last for each in executions if each.run in set(always_due))
