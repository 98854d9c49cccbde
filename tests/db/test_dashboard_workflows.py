"""The dashboard's numbers of workflows: runs by status, failure rates, durations, steps."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from owsuper.db.dashboard import workflows
from owsuper.db.dashboard.workflows import StepStatistics, WorkflowLists
from tests.db.rows import Tables

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def lists(schema: str) -> WorkflowLists:
    return WorkflowLists(schema, "default")


def minutes(number: int) -> datetime:
    return NOON + timedelta(minutes=number)


def test_names_of_workflows_are_read_in_order_page_by_page(
    conn: psycopg.Connection, lists: WorkflowLists, tables: Tables
) -> None:
    assert lists.names(10).run(conn) == []
    for name in ("b", "a", "c", "b"):
        tables.run(workflow_name=name)
    tables.run(workflow_name="d", namespace_id="other")
    assert lists.names(10).run(conn) == ["a", "b", "c"]
    assert lists.names(2).run(conn) == ["a", "b"]
    assert lists.names(2, after="b").run(conn) == ["c"]
    assert lists.names(5, after="a", known=("bb", "a", "b", "d")).run(conn) == ["b", "bb", "c", "d"]


def test_statistics_count_runs_and_measure_the_completed_ones(
    conn: psycopg.Connection, lists: WorkflowLists, tables: Tables
) -> None:
    for status in ("completed", "succeeded", "failed", "failed", "sleeping", "pending"):
        tables.run(status=status, created_at=minutes(-5))
    for seconds in (1, 2, 3):
        started = minutes(1)
        tables.run(
            status="completed",
            version=str(seconds % 2) if seconds > 1 else None,
            created_at=minutes(1),
            started_at=started,
            finished_at=started + timedelta(seconds=seconds),
        )
    tables.run(status="failed", created_at=minutes(1))
    found = lists.statistics(["w", "missing"], NOON).run(conn)
    of = found["w"]
    assert {name: count for name, count in of.runs.items() if count} == {
        "completed": 5, "failed": 3, "running": 1, "pending": 1,
    }  # fmt: skip
    assert {name: count for name, count in of.lately.items() if count} == {
        "completed": 3,
        "failed": 1,
    }
    assert (of.failure_rate, of.since) == (0.25, NOON)
    assert (of.durations.runs, of.durations.p50) == (3, 2.0)
    assert of.durations.p95
    assert of.durations.p99
    assert 2.8 < of.durations.p95 < of.durations.p99 < 3
    assert set(of.versions) == {None, "0", "1"}
    missing = found["missing"]
    assert (sum(missing.runs.values()), missing.failure_rate, missing.durations.p50) == (
        0,
        None,
        None,
    )


def test_a_run_that_was_tried_again_took_from_its_first_attempt(
    conn: psycopg.Connection, lists: WorkflowLists, tables: Tables
) -> None:
    times = {"created_at": minutes(1), "started_at": minutes(9), "finished_at": minutes(10)}
    run = tables.run(status="completed", attempts=2, **times)
    tables.step(run, status="failed", created_at=minutes(2), started_at=minutes(2))
    tables.step(run, status="completed", created_at=minutes(9), started_at=minutes(9))
    assert lists.statistics(["w"], NOON).run(conn)["w"].durations.p50 == 8 * 60
    rerun = tables.run(workflow_name="rerun", status="completed", attempts=2, **times)
    tables.step(rerun, status="completed", created_at=minutes(-60), started_at=minutes(-60))
    assert lists.statistics(["rerun"], NOON).run(conn)["rerun"].durations.p50 == 9 * 60
    neither = {**times, "started_at": None}
    tables.run(workflow_name="other", status="completed", attempts=2, **neither)
    assert lists.statistics(["other"], NOON).run(conn)["other"].durations.p50 == 9 * 60


def test_a_failure_rate_counts_all_statuses_from_the_same_time(
    conn: psycopg.Connection,
    lists: WorkflowLists,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflows, "MOST_COUNTED", 3)
    for number in range(8):  # one of four fails
        status = "failed" if number % 4 == 0 else "completed"
        tables.run(status=status, created_at=minutes(number))
    of = lists.statistics(["w"], NOON).run(conn)["w"]
    assert of.runs["completed"] == 4
    assert of.since == minutes(3)
    assert (of.lately["completed"], of.lately["failed"]) == (4, 1)


def test_steps_are_grouped_by_name_the_slowest_first(
    conn: psycopg.Connection, lists: WorkflowLists, tables: Tables
) -> None:
    run = tables.run(status="completed", created_at=minutes(1))
    for name, status, seconds in (
        ("charge", "failed", 1), ("charge", "completed", 3), ("charge:1", "completed", 2),
        ("ship", "completed", 9),
    ):  # fmt: skip
        tables.step(run, step_name=name, status=status, started_at=NOON,
                    finished_at=NOON + timedelta(seconds=seconds))  # fmt: skip
    tables.step(tables.run(created_at=minutes(1)), step_name="open")
    tables.step(tables.run(status="completed", created_at=minutes(-1)), step_name="old")
    ship, charge = lists.steps("w", NOON).run(conn)
    assert ship == StepStatistics("ship", "function", 1, 0, 9.0, 9.0, 9.0)
    assert (charge.name, charge.attempts, charge.failed, charge.longest) == ("charge", 3, 1, 3.0)
    assert (charge.p50, round(charge.failure_rate, 2)) == (2.0, 0.33)


def test_the_steps_are_those_of_the_newest_runs(
    conn: psycopg.Connection,
    lists: WorkflowLists,
    tables: Tables,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(workflows, "MOST_RUNS", 2)
    for number in range(4):
        status = "failed" if number == 3 else "completed"
        run = tables.run(status=status, created_at=minutes(number))
        tables.step(run, step_name=f"step of {number}", status="completed")
    found = lists.steps("w", NOON).run(conn)
    assert {step.name for step in found} == {"step of 2", "step of 3"}
