"""What a child counts for metrics: each attempt of a function, once, and never on a replay."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import RetryPolicy
from owsuper.child.counts import ChildCounts
from owsuper.metrics import catalogue
from owsuper.metrics.families import Snapshot, text
from tests.child.conftest import Engine
from tests.metrics.pages import Page

ATTEMPTS = "owsuper_step_attempts_total"
TWICE = RetryPolicy(maximum_attempts=2, initial_interval="1ms")


@pytest.fixture
def counts(engine: Engine) -> ChildCounts:
    engine.services.counts = ChildCounts()
    return engine.services.counts


def page(counts: ChildCounts) -> Page:
    return Page(text(catalogue.OF_WORKERS, Snapshot(counts.take())).decode())


def test_steps_of_one_name_are_one_and_are_not_counted_again_on_a_replay(
    engine: Engine, counts: ChildCounts
) -> None:
    def main(step: Any) -> None:
        for _ in range(3):
            step.run("charge", int)
        step.sleep("pause", "1h")
        step.run("a:b", int)

    engine.workflow(main)
    run_id = engine.start()
    engine.execute_once(run_id)
    first = page(counts)
    assert first.values(ATTEMPTS, "step") == {"charge": 3}
    assert first.values("owsuper_step_duration_seconds_count", "step") == {"charge": 3}
    engine.execute_once(run_id)
    assert page(counts).values(ATTEMPTS, "step") == {"a:b": 1}
    assert page(counts).values(ATTEMPTS, "step") == {}


@pytest.mark.parametrize("use", ["run_once", "run_for_reports"])
def test_each_use_of_the_database_is_counted(engine: Engine, counts: ChildCounts, use: str) -> None:
    engine.database._counts = counts
    getattr(engine.database, use)(lambda conn: conn.execute("SELECT 1"))
    assert page(counts)("owsuper_database_round_trips_total", process="child") == 1


def test_an_attempt_after_a_failed_one_is_a_retry(engine: Engine, counts: ChildCounts) -> None:
    calls = []

    def flaky() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("once")

    engine.workflow(lambda step: step.run("flaky", flaky, retry=TWICE))
    run_id = engine.start()
    while engine.row(run_id)["status"] != "completed":
        engine.execute_once(run_id)
    found = page(counts)
    assert found.values(ATTEMPTS, "outcome") == {"failed": 1, "completed": 1}
    assert found("owsuper_step_retries_total", workflow="main", step="flaky") == 1


def test_a_step_that_commits_with_a_transaction_is_counted(
    engine: Engine, counts: ChildCounts
) -> None:
    def insert(conn: Any) -> int:
        conn.execute("SELECT 1")
        return 1

    engine.workflow(lambda step: step.transaction("insert", insert))
    engine.execute_once(engine.start())
    assert page(counts).values(ATTEMPTS, "step") == {"insert": 1}


def test_steps_that_call_no_function_are_not_counted(engine: Engine, counts: ChildCounts) -> None:
    def main(step: Any) -> None:
        step.sleep("pause", "0s")
        step.send_signal("nobody")

    engine.workflow(main)
    engine.execute_once(engine.start())
    assert page(counts).values(ATTEMPTS, "step") == {}
