"""Runs of other programs with times and JSON that Python cannot hold, sync and async."""

from __future__ import annotations

import psycopg
import pytest

from owsuper import OpenWorkflow, RunFailed, RunStatus, Unreadable
from owsuper.cli import formatting, listing, show
from owsuper.cli.formatting import Layout
from owsuper.cli.output import document_of, to_json
from owsuper.core.durations import MAX_TIME, MIN_TIME
from owsuper.errors import InvalidData
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@sync_and_async
def test_runs_and_steps_with_times_out_of_range_are_listed_and_shown(
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
    assert (listed.id, listed.created_at, listed.finished_at) == (attempt, MIN_TIME, MAX_TIME)
    run = call(ow.get_run(late), "details")
    assert (run.created_at, run.available_at, run.deadline_at) == (MAX_TIME, MAX_TIME, None)
    assert listing.listing([run], formatting.now(), Layout(80))
    for at in (MIN_TIME, formatting.now(), MAX_TIME):
        assert show.details(call(ow.get_run(early), "details"), [listed], [], at)
        assert show.details(run, [], [], at, Layout(80))


@sync_and_async
def test_a_run_that_is_never_due_is_canceled(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.pending(available_at="infinity")
    call(ow.get_run(run), "cancel")
    assert call(ow.get_run(run), "status") is RunStatus.CANCELED


# --- JSON -------------------------------------------------------------------------------------

HUGE = """'{"number": 1e400}'::jsonb"""
DEEP = "(repeat('[', 2000) || repeat(']', 2000))::jsonb"
unreadable = pytest.mark.parametrize(
    ("value", "why"), [(HUGE, "number is infinity"), (DEEP, "limit")]
)


def put(tables: Tables, table: str, row_id: str, value: str, *columns: str) -> None:
    """Write the SQL expression ``value`` to these columns."""
    sets = ", ".join(f"{column} = {value}" for column in columns)
    tables.conn.execute(
        f'UPDATE "{tables.schema}".{table} SET {sets} WHERE id = $1'.encode(), [row_id]
    )


@sync_and_async
@unreadable
def test_unreadable_json_hides_no_other_runs(
    ow: OpenWorkflow, tables: Tables, call: Call, value: str, why: str
) -> None:
    odd, good = tables.run(id="odd", status="failed"), tables.run(id="good", input={"a": 1})
    put(tables, "workflow_runs", odd, value, "input", "output", "error")
    step = tables.step(odd, step_name="charge")
    put(tables, "step_attempts", step, value, "context", "output", "error")
    listed = {run.id: run for run in call(ow, "list_runs").items}
    assert listed[good].input == {"a": 1}
    run = call(ow.get_run(odd), "details")
    assert run == listed[odd]
    for column in ("input", "output"):
        found = getattr(run, column)
        assert isinstance(found, Unreadable)
        assert found.unreadable.startswith(f"{column}: cannot be read: ")
        assert why in found.unreadable
    assert run.error.message.startswith("error: cannot be read: ")
    [attempt] = call(ow, "list_step_attempts", odd).items
    assert isinstance(attempt.context, Unreadable)
    assert attempt.output.unreadable.startswith("output: cannot be")
    text = "\n".join(show.details(run, [attempt], [], formatting.now()))
    assert '{"unreadable":"input: cannot be read: ' in text
    assert why in to_json(document_of(run))


@sync_and_async
@unreadable
def test_an_unreadable_result_raises_an_error_that_names_it(
    ow: OpenWorkflow, tables: Tables, call: Call, value: str, why: str
) -> None:
    run = tables.run(id="odd", workflow_name="order", status="completed")
    put(tables, "workflow_runs", run, value, "output")
    with pytest.raises(InvalidData, match=rf'result of workflow "order" \(run odd\): .*{why}'):
        call(ow.get_run(run), "result")
    tables.update("workflow_runs", run, status="failed")
    put(tables, "workflow_runs", run, value, "error")
    with pytest.raises(RunFailed, match=rf"Workflow order failed: error: cannot be read: .*{why}"):
        call(ow.get_run(run), "result")
