"""Runs that other programs have written, with what Python can hardly hold; in both colours."""

from __future__ import annotations

import psycopg
import pytest

from owsuper import OpenWorkflow, RunStatus
from owsuper.cli import report
from owsuper.core.durations import FIRST, LAST
from tests.client.colours import Call, both_colours
from tests.db.rows import Tables


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@both_colours
def test_runs_and_steps_with_times_beyond_all_calendars_are_listed_and_told_of(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    late = tables.pending(created_at="infinity", available_at="infinity", deadline_at="infinity")
    early = tables.run(created_at="-infinity", started_at="0044-03-15 00:00Z BC", status="failed")
    attempt = tables.step(early, created_at="-infinity", finished_at="20000-01-01 UTC")
    page = call(ow, "list_runs", limit=1)
    assert [run.id for run in page.items] == [late]
    page = call(ow, "list_runs", limit=1, after=page.next_cursor)
    assert [run.id for run in page.items] == [early]
    assert page.next_cursor is None
    [listed] = call(ow, "list_step_attempts", early).items
    assert (listed.id, listed.created_at, listed.finished_at) == (attempt, FIRST, LAST)
    run = call(ow.get_run(late), "details")
    assert (run.created_at, run.available_at, run.deadline_at) == (LAST, LAST, None)
    assert report.listing([run], report.now())
    for at in (FIRST, report.now(), LAST):
        assert report.everything(call(ow.get_run(early), "details"), [listed], at)
        assert report.everything(run, [], at)


@both_colours
def test_a_run_that_is_never_due_is_canceled(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.pending(available_at="infinity")
    call(ow, "cancel_run", run)
    assert call(ow.get_run(run), "status") is RunStatus.CANCELED
