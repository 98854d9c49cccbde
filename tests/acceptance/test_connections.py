"""How many connections a worker has open, as the server counts them."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.acceptance.deployment import Deployment, scaled
from tests.acceptance.tables import eventually

pytestmark = pytest.mark.slow

SUPERVISOR = {"owsuper supervisor", "owsuper listener"}
SHAPE = {"steps": 6, "seconds": 0.02}


def connections(deployment: Deployment) -> Counter[str]:
    """The number of open connections by the name of the application."""
    rows = deployment.query(
        """
        SELECT application_name FROM pg_stat_activity
        WHERE application_name IN ('owsuper supervisor', 'owsuper listener')
            OR application_name LIKE 'owsuper child %'
        """
    )
    return Counter(name for (name,) in rows)


def peak(deployment: Deployment, ids: list[str]) -> Counter[str]:
    """The peak of each application's open connections until these runs have ended."""
    seen: Counter[str] = Counter()

    def observe() -> bool:
        nonlocal seen
        ended = deployment.ended(ids)()
        seen |= connections(deployment)
        return ended

    eventually("all runs ended", observe)
    return seen


def test_a_supervisor_has_two_connections_a_busy_child_at_most_two_and_an_idle_child_none(
    crashable_deployment: Deployment,
) -> None:
    deployment = crashable_deployment  # its own server, on which no other test has connections
    worker = deployment.worker(processes=2, concurrency=8, lease="3s")
    eventually("it is connected", lambda: connections(deployment).keys() == SUPERVISOR)
    ids = [
        *deployment.start("chain", *[SHAPE] * scaled(60)),
        *deployment.start("parallel", *[{"width": 4, "seconds": 0.08}] * scaled(10)),
        *deployment.start("nap", *[{"seconds": 0.3}] * scaled(30)),
    ]
    seen = peak(deployment, ids)
    assert {seen[name] for name in SUPERVISOR} == {1}
    children = {name: count for name, count in seen.items() if name not in SUPERVISOR}
    assert children.keys() == {"owsuper child 1", "owsuper child 2"}
    assert max(children.values()) <= 2

    eventually(
        "idle child processes have closed their connections",
        lambda: connections(deployment).keys() == SUPERVISOR,
    )
    [run] = deployment.start("held", {})
    held_step = deployment.gate.next()
    assert connections(deployment).total() <= 2 + 2
    held_step.command("go")
    deployment.wait_until_ended([run])  # with a new connection
    worker.stop()
    eventually("all are closed", lambda: connections(deployment).total() == 0)
    assert "WARNING" not in worker.log


def test_async_runs_share_the_two_connections_of_their_child(
    crashable_deployment: Deployment,
) -> None:
    deployment = crashable_deployment
    worker = deployment.worker("--no-listen", processes=1, concurrency=100, poll_interval="100ms")
    ids = [
        *deployment.start("chain-async", *[SHAPE] * scaled(100)),
        *deployment.start("nap-async", *[{"seconds": 0.3}] * scaled(100)),
    ]
    seen = peak(deployment, ids)
    assert seen.pop("owsuper supervisor") == 1
    assert seen.keys() == {"owsuper child 1"}
    assert seen["owsuper child 1"] <= 2
    worker.stop()
    assert "WARNING" not in worker.log
