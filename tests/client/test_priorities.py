"""Priorities of runs: what is stored, which run is due first, and what is refused."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, Step, Workflow
from owsuper.errors import ConfigurationError
from tests.client.conftest import Rows
from tests.client.sync_and_async import Call, sync_and_async


@pytest.fixture
def report(ow: OpenWorkflow) -> Workflow[int, int]:
    @ow.workflow
    def report(step: Step, input: int) -> int:
        return input

    return report


@pytest.fixture
def urgent(ow: OpenWorkflow) -> Workflow[int, int]:
    @ow.workflow(priority=50)
    def urgent(step: Step, input: int) -> int:
        return input

    return urgent


def stored(rows: Rows, run_id: str) -> tuple[Any, float]:
    """Return the priority in the row, and the minutes by which the run is due before its start."""
    row = rows.get(run_id)
    early = (row["created_at"] - row["available_at"]).total_seconds()
    return row["config"].get("owsuper", {}).get("priority"), round(early / 60, 1)


@sync_and_async
def test_each_level_makes_a_run_due_a_minute_earlier(
    report: Workflow[int, int], rows: Rows, call: Call
) -> None:
    assert stored(rows, call(report, "run", 1, priority=7).id) == (7, 7.0)
    assert stored(rows, call(report, "run", 1, priority=100).id) == (100, 100.0)


@sync_and_async
def test_a_run_without_a_priority_stores_nothing_about_it(
    report: Workflow[int, int], rows: Rows, call: Call
) -> None:
    for options in ({}, {"priority": 0}, {"priority": None}, {"idempotency_key": "k"}):
        run = call(report, "run", 1, **options)
        assert rows.get(run.id)["config"] == {}
        assert stored(rows, run.id) == (None, 0.0)
        assert call(run, "details").priority == 0


@sync_and_async
def test_a_workflow_has_a_default_that_a_start_may_change(
    ow: OpenWorkflow, urgent: Workflow[int, int], rows: Rows, call: Call
) -> None:
    assert stored(rows, call(urgent, "run", 1).id) == (50, 50.0)
    assert stored(rows, call(urgent, "run", 1, priority=3).id) == (3, 3.0)
    assert stored(rows, call(urgent, "run", 1, priority=0).id) == (None, 0.0)
    by_name = call(ow, "run_workflow", "urgent", 1)
    assert stored(rows, by_name.id) == (None, 0.0)  # the name says nothing of the default


@sync_and_async
def test_every_way_to_start_takes_it(
    ow: OpenWorkflow, report: Workflow[int, int], rows: Rows, call: Call
) -> None:
    runs = [
        *call(report, "run_many", [1, 2], priority=7),
        *call(ow, "run_many", "report", [1], priority=7),
        call(ow, "run_workflow", "report", 1, priority=7),
        call(report, "run", 1, priority=7, idempotency_key="k"),
        call(report, "run", 1, priority=9, idempotency_key="k"),
        call(report, "run", 1, priority=7, id="report-1"),
    ]
    assert [stored(rows, run.id) for run in runs] == [(7, 7.0)] * len(runs)
    assert len({run.id for run in runs}) == len(runs) - 1


def test_the_transaction_of_the_caller_takes_it(
    database_url: str, report: Workflow[int, int], rows: Rows
) -> None:
    with psycopg.connect(database_url) as connection:
        run = report.run(1, priority=7, connection=connection)
        keyed = report.run(1, priority=8, connection=connection, idempotency_key="k")
    assert stored(rows, run.id) == (7, 7.0)
    assert stored(rows, keyed.id) == (8, 8.0)


@sync_and_async
def test_a_run_that_begins_later_is_not_due_earlier(
    report: Workflow[int, int], rows: Rows, call: Call
) -> None:
    run = call(report, "run", 1, priority=7, available_at="1h")
    assert stored(rows, run.id) == (7, -60.0)


@sync_and_async
def test_details_show_it_and_when_the_run_could_begin(
    ow: OpenWorkflow, report: Workflow[int, int], call: Call
) -> None:
    run = call(report, "run", 1, priority=7)
    details = call(run, "details")
    assert (details.priority, details.available_at) == (7, details.created_at)
    assert [each.priority for each in call(ow, "list_runs").items] == [7]


@pytest.mark.parametrize("wrong", ["high", "700", -1, 1.5, None, [7]])
def test_what_sql_stored_in_its_place_counts_as_none(
    conn: psycopg.Connection, schema: str, report: Workflow[int, int], wrong: Any
) -> None:
    run = report.run(1, priority=7)
    conn.execute(
        f"""UPDATE "{schema}".workflow_runs
        SET config = jsonb_build_object('owsuper', jsonb_build_object('priority', $1::jsonb))""",
        (psycopg.types.json.Jsonb(wrong),),
    )
    assert run.details().priority == 0


@sync_and_async
@pytest.mark.parametrize("wrong", [-1, 101, True, 1.0, "7", [1]])
def test_what_is_no_priority_is_refused_before_anything_is_stored(
    ow: OpenWorkflow, report: Workflow[int, int], wrong: Any, call: Call
) -> None:
    for start in (
        lambda: call(report, "run", 1, priority=wrong),
        lambda: call(report, "run_many", [1], priority=wrong),
        lambda: call(ow, "run_workflow", "report", 1, priority=wrong),
        lambda: ow.workflow("other", priority=wrong)(lambda step: None),
    ):
        with pytest.raises(ConfigurationError, match=r"priority: .* whole number from 0 to 100"):
            start()
    assert not call(ow, "list_runs").items
