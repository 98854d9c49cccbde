"""A run with a priority is stored with a due time in the past: a minute earlier for each level."""

from __future__ import annotations

from tests.supervisor.worker import Begin


def test_a_worker_finds_each_run_with_a_priority_long_before_the_poll(begin: Begin) -> None:
    worker = begin("--poll-interval=1h")
    for number in range(8):
        worker.await_outcome(worker.start("record", text=f"now {number}"))
        worker.await_outcome(worker.start("record", text=f"early {number}", due_in=-300.0))
    assert len(worker.effects()) == 16
