"""A worker that is stopped finishes its runs, releases the others, and leaves no process."""

from __future__ import annotations

import signal
import time

import pytest

from tests.acceptance.deployment import Deployment, scaled, wait_until_dead

pytestmark = pytest.mark.slow

DRAIN_SIGNALS = [signal.SIGTERM, signal.SIGINT]


@pytest.mark.parametrize("number", DRAIN_SIGNALS)
def test_a_signal_lets_runs_finish_and_claims_no_new_ones(
    deployment: Deployment, number: signal.Signals
) -> None:
    worker = deployment.worker(processes=2, concurrency=2)
    processes = worker.processes()
    busy = deployment.start("held", {}, {}) + deployment.start("held-async", {}, {})
    held_steps = deployment.gate.take(4)
    backlog = deployment.start("chain", *[{"steps": 1}] * 50)

    worker.program.signal(number)
    worker.wait_for_log("draining")
    for held_step in held_steps:
        held_step.command("go")
    assert worker.program.wait() == 0
    wait_until_dead(processes)

    deployment.check(busy)
    assert {(run.status, run.worker_id, run.attempts) for run in deployment.runs(backlog)} == {
        ("pending", None, 0)
    }


def test_draining_under_load_releases_every_claimed_run(deployment: Deployment) -> None:
    ids = deployment.start("chain", *[{"steps": 2, "seconds": 0.002}] * scaled(400))
    for number in DRAIN_SIGNALS:
        worker = deployment.worker()
        deployment.journal.wait_for_next(50)
        worker.stop(number)
        assert deployment.leased() == []
    # Prefetched runs were claimed, and are due again without having begun.
    deployment.worker()
    deployment.wait_until_ended(ids)
    deployment.check(ids)


@pytest.mark.parametrize("signals", [["SIGINT", "SIGINT"], ["SIGTERM", "SIGINT"], ["SIGQUIT"]])
def test_a_second_interrupt_or_quit_stops_at_once(
    deployment: Deployment, signals: list[str]
) -> None:
    worker = deployment.worker(processes=2, concurrency=1, graceful_timeout="1h")
    processes = worker.processes()
    ids = deployment.start("held", {}) + deployment.start("held-async", {})
    held_steps = deployment.gate.take(2)
    asked = time.monotonic()
    for number, name in enumerate(signals):
        if number:
            worker.wait_for_log("draining")
        worker.program.signal(signal.Signals[name])
    assert worker.program.wait() == 0
    assert time.monotonic() - asked < 30  # the steps would wait for ever
    wait_until_dead(processes)
    for held_step in held_steps:
        held_step.wait_until_gone()
    assert deployment.leased() == []
    assert deployment.crashes() == []  # no run is charged

    deployment.worker(processes=1)
    deployment.gate.answer(until=deployment.ended(ids))
    deployment.check(ids, repeats=2)


def test_runs_that_are_stopped_between_steps_keep_their_results(deployment: Deployment) -> None:
    worker = deployment.worker(processes=1, graceful_timeout="200ms")
    [long] = deployment.start("chain", {"steps": 60, "seconds": 0.05})
    deployment.journal.wait_for(lambda each: each.run == long, count=5)
    worker.stop()
    assert "stopping at the next step" in worker.log
    run = deployment.run(long)
    assert (run.status, run.worker_id) == ("running", None)
    deployment.worker(processes=1)
    deployment.wait_until_ended([long])
    deployment.check([long])


def test_the_graceful_timeout_bounds_the_stop(deployment: Deployment) -> None:
    worker = deployment.worker(processes=2, concurrency=1, graceful_timeout="500ms")
    ids = deployment.start("held", {}) + deployment.start("held-async", {})
    deployment.gate.take(2)
    asked = time.monotonic()
    worker.stop()
    took = time.monotonic() - asked
    assert 0.5 <= took < 30  # the steps would wait for ever
    assert deployment.leased() == []
    assert deployment.crashes() == []
    deployment.worker(processes=2)
    deployment.gate.answer(until=deployment.ended(ids))
    deployment.check(ids, repeats=2)


def test_an_idle_worker_stops_at_once(deployment: Deployment) -> None:
    worker = deployment.worker(graceful_timeout="1h")
    asked = time.monotonic()
    worker.stop()
    assert time.monotonic() - asked < 30
