"""Putting failed runs back, sync and async: what is kept, what begins anew, what is refused."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from owsuper import OpenWorkflow, RunNotFound, StoredError
from owsuper.db import connect
from owsuper.errors import ConfigurationError, RunNotCancelable, RunNotRetryable
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables, from_now
from tests.fixtures.processes import Spawn
from tests.fixtures.proxy import Proxy

WAITING = (
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    " AND application_name LIKE 'owsuper: client %'"
)
ERROR = {"name": "CardError", "message": "declined"}
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def failed(tables: Tables, **columns: Any) -> str:
    """Add a failed run; return its id."""
    end = {"status": "failed", "worker_id": None, "available_at": None, "started_at": None}
    return tables.run(**{**end, "error": ERROR, "finished_at": from_now(-1), **columns})


# --- what it does ----------------------------------------------------------------------------


@sync_and_async
def test_a_retried_run_is_pending_and_due_at_once(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = failed(tables, attempts=3, input={"n": 1}, idempotency_key="k")
    before = tables.fetch(run)
    assert call(ow.get_run(run), "retry") is None
    row = tables.fetch(run)
    assert (row["status"], row["worker_id"]) == ("pending", None)
    assert row["available_at"] == row["updated_at"]
    assert row["started_at"] is row["finished_at"] is None
    kept = before.keys() - {"status", "available_at", "finished_at", "updated_at"}
    assert {name: row[name] for name in kept} == {name: before[name] for name in kept}
    assert row["error"] == ERROR  # as with any retry; it goes when the run completes


@sync_and_async
def test_a_handle_retries_its_run(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = failed(tables)
    assert call(ow.get_run(run), "retry") is None
    assert call(ow.get_run(run), "status") == "pending"


@sync_and_async
def test_finished_steps_and_open_waits_are_kept_and_failed_ones_begin_anew(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, other = failed(tables), failed(tables)
    kept = {
        tables.step(run, status="completed", output=1),
        tables.step(run, status="succeeded"),
        tables.step(run, kind="sleep", status="running", context={"kind": "sleep"}),
        tables.step(run, kind="workflow", status="running"),
        tables.step(run, status="running"),
    }
    for kind in ("function", "function", "workflow", "signal-wait", "signal-send"):
        tables.step(run, kind=kind, status="failed", error=ERROR)
    others = tables.step(other, status="failed", error=ERROR)
    call(ow.get_run(run), "retry")
    assert {row["id"] for row in tables.steps_of(run)} == kept
    assert [row["id"] for row in tables.steps_of(other)] == [others]


@sync_and_async
def test_failed_attempts_are_still_listed_with_the_time_of_the_retry(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = failed(tables)
    columns = {"error": ERROR, "created_at": from_now(-9), "finished_at": from_now(-8)}
    context = {"kind": "signal-wait", "signal": "go", "timeoutAt": None}
    tables.step(run, id="f1", status="failed", **columns)
    tables.step(run, id="f2", status="failed", kind="signal-wait", context=context, **columns)
    tables.step(run, id="done", status="completed", output=7, created_at=from_now(-7))
    before = call(ow, "list_step_attempts", run).items
    call(ow.get_run(run), "retry")
    tables.step(run, id="f3", status="failed", created_at=from_now(0))
    after = {each.id: each for each in call(ow, "list_step_attempts", run).items}
    assert list(after) == ["f1", "f2", "done", "f3"]
    assert [each.retried_at for each in before] == [None, None, None]
    retried_at = after["f1"].retried_at
    assert retried_at is not None
    assert after["f1"] == replace(before[0], retried_at=retried_at)
    assert after["f2"] == replace(before[1], retried_at=retried_at)
    assert after["done"] == before[2]
    assert after["f3"].retried_at is None
    first = call(ow, "list_step_attempts", run, limit=1)
    rest = call(ow, "list_step_attempts", run, after=first.next_cursor)
    assert [each.id for each in (*first.items, *rest.items)] == ["f1", "f2", "done", "f3"]


@sync_and_async
def test_each_retry_is_listed_with_the_failure_before_it(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, other = failed(tables, finished_at=from_now(-60)), failed(tables)
    assert call(ow, "list_retries", run) == []
    call(ow.get_run(run), "retry")
    again = {"message": "declined again"}
    tables.update("workflow_runs", run, status="failed", error=Jsonb(again), finished_at=NOON)
    call(ow.get_run(run), "retry")
    first, second = call(ow, "list_retries", run)
    assert (first.error, second.error) == tuple(map(StoredError.from_json, (ERROR, again)))
    assert first.failed_at < first.retried_at <= second.retried_at
    assert second.failed_at == NOON
    assert call(ow, "list_retries", other) == []
    with pytest.raises(RunNotFound):
        call(ow, "list_retries", "unknown")


def test_a_refused_retry_sets_nothing_aside(ow: OpenWorkflow, tables: Tables) -> None:
    run = tables.run()
    tables.step(run, status="failed", error=ERROR)
    with pytest.raises(RunNotRetryable):
        ow.get_run(run).retry()
    assert ow.list_step_attempts(run).items[0].retried_at is None
    assert ow.list_retries(run) == []


@sync_and_async
def test_failures_and_crashes_of_the_workflow_are_counted_anew(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, other = failed(tables), tables.run()
    for each in (run, other):
        tables.conn.execute(
            f'INSERT INTO "{tables.schema}".owsuper_failures (namespace_id, workflow_run_id)'
            " VALUES ('default', $1)".encode(),
            [each],
        )
        tables.conn.execute(
            f'INSERT INTO "{tables.schema}".owsuper_crashes'
            " (namespace_id, workflow_run_id, crash_id, alone, evidence)"
            " VALUES ('default', $1, 'c', true, '{}')".encode(),
            [each],
        )
    call(ow.get_run(run), "retry")
    for table in ("owsuper_failures", "owsuper_crashes"):
        assert [row["workflow_run_id"] for row in tables.rows(table)] == [other]


@sync_and_async
def test_a_failed_child_run_is_unlinked_and_its_parent_is_not_changed(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = failed(tables)
    child = tables.child(run, status="failed")
    [step] = tables.steps_of(run)
    tables.update("step_attempts", step["id"], status="failed")
    call(ow.get_run(run), "retry")
    assert tables.fetch(child)["parent_step_attempt_id"] is None
    assert tables.fetch(child)["status"] == "failed"

    parent = failed(tables)
    child = tables.child(parent, status="failed")
    before = tables.fetch(parent), tables.steps_of(parent)
    call(ow.get_run(child), "retry")
    assert (tables.fetch(parent), tables.steps_of(parent)) == before
    assert tables.fetch(child)["parent_step_attempt_id"] == before[1][0]["id"]


FLOWS = """
from pathlib import Path
from owsuper import OpenWorkflow, RetryPolicy, RunFailed, Step

ow = OpenWorkflow()
twice = RetryPolicy(initial_interval="10ms", maximum_attempts=2)

def note(name: str) -> str:
    with Path("calls").open("a") as calls:
        calls.write(name + " ")
    return name

def charge() -> str:
    note("charge")
    if not Path("card").exists():
        raise ConnectionError("declined")
    return "paid"

@ow.workflow
def order(step: Step) -> str:
    step.run("reserve", note, "reserve")
    return step.run("charge", charge, retry=twice)

@ow.workflow(retry=twice)
def brittle(step: Step) -> str:
    note("body")
    if not Path("card").exists():
        raise ValueError("brittle")
    return "held"

if __name__ == "__main__":
    with ow.new_worker(processes=1):
        for workflow in (order, brittle):
            Path("card").unlink(missing_ok=True)
            handle = workflow.run()
            for _ in range(2):
                try:
                    handle.result(30)
                except RunFailed as failed:
                    print(failed.error.message, Path("calls").read_text())
                handle.retry()
            Path("card").touch()
            print(handle.result(30), Path("calls").read_text())
            Path("calls").unlink()
"""


@pytest.mark.slow
def test_a_retried_run_goes_on_where_it_failed_with_all_its_retries(
    spawn: Spawn, database_url: str, schema: str, tmp_path: Path
) -> None:
    (tmp_path / "flows.py").write_text(FLOWS)
    env = {"OWSUPER_DATABASE_URL": database_url, "OWSUPER_SCHEMA": schema}
    program = spawn(sys.executable, "flows.py", env=env, cwd=tmp_path)
    assert program.wait(60) == 0, program.stderr.text
    program.stdout.join()
    lines = [line.split() for line in program.stdout.text.splitlines()]
    assert lines[0] == ["declined", "reserve", "charge", "charge"]
    assert lines[1] == ["declined", "reserve", *["charge"] * 4]
    assert (lines[2][0], lines[2].count("reserve")) == ("paid", 1)
    assert lines[3] == ["brittle", "body", "body"]
    assert lines[4] == ["brittle", *["body"] * 4]
    assert lines[5][0] == "held"


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "status", ["pending", "running", "sleeping", "completed", "succeeded", "canceled"]
)
@sync_and_async
def test_only_a_failed_run_can_be_retried(
    ow: OpenWorkflow, tables: Tables, call: Call, status: str
) -> None:
    run = tables.run(status=status)
    tables.step(run, status="failed")
    before = tables.fetch(run), tables.steps_of(run)
    with pytest.raises(RunNotRetryable) as info:
        call(ow.get_run(run), "retry")
    assert str(info.value) == (
        f"Cannot retry workflow run {run} with status {status}: only a failed run can be retried"
    )
    assert (info.value.run_id, info.value.status) == (run, status)
    assert (tables.fetch(run), tables.steps_of(run)) == before


@sync_and_async
def test_a_run_past_its_deadline_cannot_be_retried(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = failed(tables, deadline_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    tables.step(run, status="failed")
    before = tables.fetch(run), tables.steps_of(run)
    with pytest.raises(RunNotRetryable) as info:
        call(ow.get_run(run), "retry")
    assert str(info.value) == (
        f"Cannot retry workflow run {run} with status failed: its deadline passed at 2026-01-02"
        " 03:04:05 UTC, so it would fail again at once. Start a new run."
    )
    assert (tables.fetch(run), tables.steps_of(run)) == before


@sync_and_async
def test_a_run_before_its_deadline_can_be_retried(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = failed(tables, deadline_at=from_now(60))
    call(ow.get_run(run), "retry")
    assert tables.fetch(run)["status"] == "pending"


@sync_and_async
def test_an_unknown_run_is_not_found(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    elsewhere = failed(tables, namespace_id="other")
    for run_id in ("unknown", elsewhere):
        for method in ("retry", "cancel"):
            with pytest.raises(RunNotFound, match=f"^Workflow run {run_id} does not exist$"):
                call(ow.get_run(run_id), method)
    assert tables.fetch(elsewhere)["status"] == "failed"


@sync_and_async
def test_an_id_that_is_no_text_is_refused(ow: OpenWorkflow, call: Call) -> None:
    wrong: Any = 7
    for method in ("retry", "cancel"):
        with pytest.raises(ConfigurationError, match=r"^run_id: 7 must be text"):
            call(ow.get_run(wrong), method)


@sync_and_async
def test_the_second_of_two_retries_is_refused(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = failed(tables)
    call(ow.get_run(run), "retry")
    with pytest.raises(RunNotRetryable, match="with status pending"):
        call(ow.get_run(run), "retry")


# --- canceling by id -------------------------------------------------------------------------


@sync_and_async
def test_a_run_is_canceled_by_its_id(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = tables.run()
    assert call(ow.get_run(run), "cancel") is None
    assert tables.fetch(run)["status"] == "canceled"
    done = tables.run(status="completed")
    with pytest.raises(RunNotCancelable, match="with status completed"):
        call(ow.get_run(done), "cancel")


# --- at the same time, and through outages ---------------------------------------------------


def test_a_retry_that_waits_for_the_run_to_fail_sees_what_failed(
    ow: OpenWorkflow, tables: Tables, database_url: str
) -> None:
    """Another transaction is ending the run and its step when the retry is sent."""
    run = tables.run()
    with connect.connect(database_url, application_name="owsuper test") as other:
        other.execute("BEGIN")
        Tables(other, tables.schema).update("workflow_runs", run, status="failed")
        Tables(other, tables.schema).step(run, status="failed")
        retrying = threading.Thread(target=ow.get_run(run).retry)
        retrying.start()
        eventually(lambda: tables.conn.execute(WAITING.encode()).fetchone() == (1,))
        other.execute("COMMIT")
    retrying.join()
    assert tables.fetch(run)["status"] == "pending"
    assert tables.steps_of(run) == []


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
@sync_and_async
def test_a_retry_whose_answer_was_lost_is_done(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    tables: Tables,
    call: Call,
    lose: Callable[[Proxy], None],
) -> None:
    run = failed(tables)
    call(through_proxy.get_run(run), "status")
    lose(proxy)
    call(through_proxy.get_run(run), "retry")
    proxy.wait_for_drop()
    assert tables.fetch(run)["status"] == "pending"
