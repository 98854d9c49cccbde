"""Canceling and retrying all runs that match a filter, sync and async."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper import ChangedRuns, OpenWorkflow
from owsuper.client import many_runs, operations
from owsuper.errors import ConfigurationError, DatabaseError, DatabaseUnreachable
from tests.client.sync_and_async import Call, sync_and_async
from tests.client.test_listing import at
from tests.db.rows import Tables


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def failed(tables: Tables, name: str, **columns: Any) -> str:
    ended = {"status": "failed", "worker_id": None, "available_at": None}
    return tables.run(id=name, **{**ended, **columns})


def statuses(tables: Tables) -> dict[str, str]:
    return {row["id"]: row["status"] for row in tables.rows("workflow_runs", "true")}


@sync_and_async
def test_failed_runs_that_match_are_retried(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    failed(tables, "1", created_at=at(1))
    failed(tables, "2", workflow_name="other", created_at=at(2))
    failed(tables, "3", created_at=at(3), deadline_at=at(4))
    failed(tables, "4", created_at=at(4), namespace_id="elsewhere")
    tables.run(id="5", status="completed", worker_id=None)
    done = call(ow, "retry_runs", workflow="w")
    assert (done.changed, done.refused, done.cursor) == (1, 1, None)
    assert list(done.reasons) == ["3"]
    assert "its deadline passed" in done.reasons["3"]
    assert statuses(tables) == {
        "1": "pending", "2": "failed", "3": "failed", "4": "failed", "5": "completed",
    }  # fmt: skip


@sync_and_async
def test_open_runs_that_match_are_canceled_with_their_children(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    tables.pending(id="pending")
    tables.parked(id="parked")
    tables.child("parked", id="child", workflow_name="of parked")
    tables.pending(id="other", workflow_name="other")
    tables.run(id="ended", status="completed", worker_id=None)
    done = call(ow, "cancel_runs", workflow="w", children=True)
    assert (done.changed, done.refused) == (2, 0)
    assert statuses(tables) == {
        "pending": "canceled", "parked": "canceled", "child": "canceled", "other": "pending",
        "ended": "completed",
    }  # fmt: skip
    assert call(ow, "cancel_runs", status="pending", all=True).changed == 1


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({"workflow": "v"}, "2"),
        ({"workflow": "undo:w"}, "6"),
        ({"version": "2"}, "3"),
        ({"since": at(4)}, "4 5"),
        ({"until": at(2)}, "1 6"),
        ({"attributes": {"tenant": "7"}}, "1 4"),
        ({"attributes": {"tenant": "7"}, "since": at(2)}, "4"),
        ({"parent": "parent"}, "5"),
        ({"crashed": True}, ""),
        ({"all": True}, "1 2 3 4 5 6"),
        ({"all": True, "status": "failed"}, "1 2 3 4 5 6"),
    ],
    ids=str,
)
def test_filters_are_those_of_lists(
    ow: OpenWorkflow, tables: Tables, filters: Any, expected: str
) -> None:
    tables.parked(id="parent", created_at=at(0))
    failed(tables, "1", created_at=at(1))
    failed(tables, "2", created_at=at(2), workflow_name="v")
    failed(tables, "3", created_at=at(3), version="2")
    failed(tables, "4", created_at=at(4))
    failed(tables, "6", created_at=at(0), workflow_name="undo:w")
    tables.child("parent", id="5", created_at=at(5), status="failed", worker_id=None)
    tables.describe("1", tenant="7")
    tables.describe("4", tenant="7")
    ow.retry_runs(**filters)
    retried = [name for name, status in statuses(tables).items() if status == "pending"]
    assert " ".join(sorted(retried)) == expected


def test_progress_is_reported_after_each_batch_and_a_cursor_goes_on(
    ow: OpenWorkflow, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_runs, "BATCH", 2)
    for number in range(5):
        failed(tables, str(number), created_at=at(number))
    seen: list[ChangedRuns] = []

    def stop_after_two(so_far: ChangedRuns) -> None:
        seen.append(so_far)
        if len(seen) == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ow.retry_runs(workflow="w", on_progress=stop_after_two)
    assert seen[0].changed == 2
    tables.update("workflow_runs", "4", status="failed")  # it is before the cursor
    done = ow.retry_runs(workflow="w", after=seen[0].cursor, on_progress=stop_after_two)
    assert [each.changed for each in seen] == [2, 2, 3]
    assert (done.changed, done.cursor) == (3, None)
    assert statuses(tables)["4"] == "failed"
    assert ow.retry_runs(workflow="w").changed == 1  # simply again


@sync_and_async
@pytest.mark.parametrize(
    "filters", [{"attributes": {"a": "1"}}, {"since": "1h"}, {"all": True}, {"status": "pending"}]
)
def test_canceling_again_leaves_the_undos_of_what_is_canceled_alone(
    ow: OpenWorkflow, tables: Tables, call: Call, filters: Any
) -> None:
    run = tables.pending(id="1", config={"owsuper": {"undo": True}})
    tables.describe(run, a="1")
    filters = {"all": True, **filters}
    assert call(ow, "cancel_runs", **filters).changed == 1
    undo = ow.get_run(run).details().undone_by
    assert undo is not None
    assert call(ow, "cancel_runs", **filters).changed == 0
    session = ow._database.session()
    assert many_runs.count(session, many_runs.cancelable(**filters)).counted == 0
    assert statuses(tables)[undo] == "pending"
    assert call(ow, "cancel_runs", workflow="undo:w").changed == 1


@sync_and_async
@pytest.mark.parametrize(
    ("method", "filters", "message"),
    [
        ("cancel_runs", {}, "all: all pending and running runs"),
        ("retry_runs", {"status": "failed"}, "all: all failed runs"),
        ("retry_runs", {"attributes": {}}, "all: all failed runs"),
        ("cancel_runs", {"until": "0s"}, "all: all pending and running runs"),
        ("cancel_runs", {"since": "1000y", "status": "running"}, "all: all running runs"),
        ("retry_runs", {"since": datetime(1, 1, 1, tzinfo=UTC)}, "all: all failed runs"),
        ("retry_runs", {"status": "completed"}, "status: must be failed, not 'completed'"),
        ("cancel_runs", {"status": "failed"}, "status: must be pending or running"),
        ("cancel_runs", {"workflow": ""}, "Invalid workflow name"),
        ("cancel_runs", {"since": at(0).replace(tzinfo=None)}, "since: .* has no time zone"),
        ("cancel_runs", {"since": timedelta(-1)}, "since: must be an aware time"),
        ("cancel_runs", {"attributes": {"a": 1}}, "must be text"),
        ("cancel_runs", {"parent": "\0"}, "run_id: "),
        ("cancel_runs", {"all": True, "after": "x"}, "after: 'x' is no cursor"),
    ],
)
def test_a_wrong_filter_changes_nothing(
    ow: OpenWorkflow, tables: Tables, call: Call, method: str, filters: Any, message: str
) -> None:
    failed(tables, "1")
    tables.pending(id="2")
    with pytest.raises(ConfigurationError, match=message):
        call(ow, method, **filters)
    assert statuses(tables) == {"1": "failed", "2": "pending"}


def test_an_outage_is_waited_out_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many_runs, "_PAUSE", 0.0)
    answers = iter([DatabaseUnreachable("away"), DatabaseUnreachable("away")])

    def work() -> str:
        for error in answers:
            raise error
        return "done"

    assert many_runs.until_database(work) == "done"
    with pytest.raises(DatabaseUnreachable):
        many_runs.until_database(lambda: (_ for _ in ()).throw(DatabaseUnreachable("gone")))


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DatabaseError("a row is locked")])
def test_what_breaks_a_batch_off_leaves_no_open_children_of_runs_that_do_not_match_again(
    ow: OpenWorkflow, tables: Tables, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    for number in range(3):
        run = tables.parked(id=str(number), created_at=at(number))
        tables.child(run, id=f"child of {number}", workflow_name="of w")
    cancel, canceled = operations.cancel, []

    def cancel_two(*arguments: Any, **options: Any) -> Any:
        if len(canceled) == 2:
            raise error
        canceled.append(cancel(*arguments, **options))
        return canceled[-1]

    with monkeypatch.context() as patch:
        patch.setattr(operations, "cancel", cancel_two)
        with pytest.raises(type(error)):
            ow.cancel_runs(workflow="w", children=True)
    now = statuses(tables)
    assert [now[run] for run in "012"] == ["running", "canceled", "canceled"]
    assert [now[f"child of {run}"] for run in "012"] == ["running", "canceled", "canceled"]
