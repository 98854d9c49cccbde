"""Finding runs, sync and async: by time, key and parent, and by the beginning of an id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow, Page, RunNotFound, RunParent, Step
from owsuper.errors import ConfigurationError
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables, from_now

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def ids(page: Page[Any]) -> list[str]:
    return [item.id for item in page.items]


# --- by time -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "others", [{}, {"status": "completed"}, {"workflow": "w"}, {"key": "k"}], ids=str
)
@sync_and_async
def test_runs_are_listed_from_a_time_on_and_before_another(
    ow: OpenWorkflow, tables: Tables, call: Call, others: dict[str, str]
) -> None:
    for number in range(5):
        tables.run(id=f"r{number}", created_at=at(number), status="completed", idempotency_key="k")
    assert ids(call(ow, "list_runs", since=at(3), **others)) == ["r4", "r3"]
    assert ids(call(ow, "list_runs", until=at(2), **others)) == ["r1", "r0"]
    assert ids(call(ow, "list_runs", since=at(1), until=at(3), **others)) == ["r2", "r1"]
    assert ids(call(ow, "list_runs", since=at(3), until=at(3), **others)) == []


@sync_and_async
def test_a_time_may_be_a_duration_before_now(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    for age in (10, 100, 1000):
        tables.run(id=f"{age}", created_at=from_now(-60 * age))
    assert ids(call(ow, "list_runs", since="60m")) == ["10"]
    assert ids(call(ow, "list_runs", until=timedelta(hours=1), since="1d")) == ["100", "1000"]
    assert ids(call(ow, "list_runs", since="9000y")) == ["10", "100", "1000"]
    assert ids(call(ow, "list_runs", until="9000y")) == []


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"status": "failed"},
        {"workflow": "w"},
        {"key": "k"},
        {"key": "k", "workflow": "w"},
        {"parent": "p"},
        {"parent": "p", "workflow": "w", "status": "failed", "key": "k"},
    ],
    ids=str,
)
@pytest.mark.parametrize("limit", [1, 2, 5])
@sync_and_async
def test_cursors_lead_through_the_runs_of_all_filters_and_back(
    ow: OpenWorkflow, tables: Tables, call: Call, filters: dict[str, str], limit: int
) -> None:
    tables.run(id="p", created_at=at(-9))
    for name, seconds in {"x": 0, "a": 1, "b": 2, "d": 2, "c": 2, "e": 3, "y": 4}.items():
        end = {"status": "failed", "idempotency_key": "k"}
        tables.child("p", id=name, created_at=at(seconds), **end)
    chosen = {**filters, "since": at(1), "until": at(4)}
    pages = [call(ow, "list_runs", limit=limit, **chosen)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(call(ow, "list_runs", limit=limit, after=cursor, **chosen))
    assert [name for page in pages for name in ids(page)] == ["e", "d", "c", "b", "a"]
    for newer, older in pairwise(pages):
        back = call(ow, "list_runs", limit=limit, before=older.previous_cursor, **chosen)
        assert (ids(back), back.next_cursor) == (ids(newer), newer.next_cursor)


# --- by key and by parent --------------------------------------------------------------------


@sync_and_async
def test_a_key_is_found_among_all_workflows(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    for name in ("a", "b", "c"):
        tables.run(id=f"{name} k", workflow_name=name, idempotency_key="k")
        tables.run(id=f"{name} l", workflow_name=name, idempotency_key="l", status="failed")
        tables.run(id=f"{name} none", workflow_name=name)
    tables.run(id="elsewhere", idempotency_key="k", namespace_id="other")
    assert sorted(ids(call(ow, "list_runs", key="k"))) == ["a k", "b k", "c k"]
    assert ids(call(ow, "list_runs", key="l", workflow="b", status="failed")) == ["b l"]
    assert ids(call(ow, "list_runs", key="l", workflow="b", status="completed")) == []
    assert ids(call(ow, "list_runs", key="m")) == []


@sync_and_async
def test_a_parent_lists_its_child_runs_alone(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    tables.run(id="parent")
    tables.child("parent", id="a", created_at=at(1), workflow_name="mail")
    tables.child("parent", id="b", created_at=at(2), status="failed")
    tables.child("a", id="grandchild")
    tables.child(tables.run(), id="other")
    assert ids(call(ow, "list_runs", parent="parent")) == ["b", "a"]
    assert ids(call(ow, "list_runs", parent="parent", status="failed")) == ["b"]
    assert ids(call(ow, "list_runs", parent="parent", workflow="mail")) == ["a"]
    assert ids(call(ow, "list_runs", parent="unknown")) == []


@sync_and_async
def test_a_child_run_names_its_parent_and_the_step_there(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    parent = tables.run(id="parent")
    step = tables.step(parent, kind="workflow", step_name="send:1")
    tables.child_of_step(step, id="child")
    expected = RunParent(run_id="parent", step_name="send:1")
    assert call(ow.get_run("child"), "details").parent == expected
    assert call(ow.get_run("parent"), "details").parent is None
    listed = {run.id: run.parent for run in call(ow, "list_runs").items}
    assert listed == {"child": expected, "parent": None}


@sync_and_async
def test_a_child_run_of_an_attempt_that_was_retried_keeps_its_parent(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    end = {"status": "failed", "worker_id": None, "available_at": None}
    tables.run(id="parent", **end)
    step = tables.step("parent", kind="workflow", step_name="send", status="failed")
    tables.child_of_step(step, id="child", **end)
    call(ow.get_run("parent"), "retry")
    assert tables.fetch("child")["parent_step_attempt_id"] is None
    parent = RunParent(run_id="parent", step_name="send")
    assert call(ow.get_run("child"), "details").parent == parent
    assert ids(call(ow, "list_runs", parent="parent")) == ["child"]


@sync_and_async
def test_a_run_began_with_its_first_claim_or_its_first_step(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    tables.pending(id="new")
    tables.run(id="claimed", started_at=at(5))
    tables.run(id="retried", started_at=at(5), created_at=at(0))
    tables.run(id="failed", started_at=None, status="failed", created_at=at(0))
    for run in ("retried", "failed"):
        tables.step(run, started_at=at(1), created_at=at(1))
        tables.step(run, started_at=at(3), created_at=at(3))
    began = {run.id: run.began_at for run in call(ow, "list_runs").items}
    assert began == {"new": None, "claimed": at(5), "retried": at(1), "failed": at(1)}


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"since": NOON.replace(tzinfo=None)}, "^since: .* has no time zone"),
        (
            {"until": "-1h"},
            "^until: must be an aware time, or how long ago, such as '1h', not '-1h",
        ),
        ({"since": "noon"}, "^Invalid duration format"),
        ({"key": 7}, "^idempotency_key: 7 must be text"),
        ({"parent": 7}, "^run_id: 7 must be text"),
    ],
)
@sync_and_async
def test_filters_that_cannot_be_used_are_refused_without_asking_the_database(
    call: Call, asked: dict[str, Any], complaint: str
) -> None:
    unreachable = OpenWorkflow("postgresql://127.0.0.1:1/none")
    with pytest.raises(ConfigurationError, match=complaint):
        call(unreachable, "list_runs", **asked)


# --- by the key alone ------------------------------------------------------------------------


@sync_and_async
def test_a_handle_is_found_by_the_key_of_its_run(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    @ow.workflow("typed")
    def typed(step: Step) -> dict[str, datetime]:
        return {}

    end = {"status": "completed", "available_at": None, "output": {"at": "2026-01-02T12:00:00Z"}}
    old = tables.run(workflow_name="typed", idempotency_key="k", created_at=at(0), **end)
    new = tables.run(workflow_name="typed", idempotency_key="k", created_at=at(1), **end)
    tables.run(workflow_name="other", idempotency_key="k", created_at=at(2))
    handle = call(ow, "get_run", typed, key="k")
    assert (handle.id, handle.workflow_name) == (new, "typed")
    assert handle.result(5) == {"at": NOON}  # as the workflow declares it
    by_name = call(ow, "get_run", "typed", key="k")
    assert (by_name.id, by_name.result(5)) == (new, {"at": "2026-01-02T12:00:00Z"})
    assert old != new


@sync_and_async
def test_a_key_that_no_run_has_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    with pytest.raises(RunNotFound, match=r"^Workflow w has no run with the idempotency key 'k'$"):
        call(ow, "get_run", "w", key="k")
    with pytest.raises(ConfigurationError, match=r"^Invalid workflow name ''"):
        call(ow, "get_run", "", key="k")
    with pytest.raises(ConfigurationError, match=r"^idempotency_key: "):
        call(ow, "get_run", "w", key="k" * 1001)


def test_a_workflow_without_a_key_finds_no_run(ow: OpenWorkflow) -> None:
    @ow.workflow
    def greet(step: Step) -> None: ...

    with pytest.raises(ConfigurationError, match=r"^get_run: pass the run_id= or the key= of"):
        ow.get_run(greet)


def test_a_run_found_by_its_workflow_and_id_has_a_result_of_the_declared_type(
    ow: OpenWorkflow, tables: Tables
) -> None:
    @ow.workflow
    def count(step: Step) -> timedelta:
        raise NotImplementedError

    tables.run(id="r1", workflow_name="count", status="completed", output="PT5S")
    assert ow.get_run(count, run_id="r1").result() == timedelta(seconds=5)
    assert ow.get_run("r1").result() == "PT5S"
    for wrong in ({"run_id": "a\0"}, {"run_id": "r1", "key": "k"}):
        with pytest.raises(ConfigurationError):
            ow.get_run(count, **wrong)
    with pytest.raises(ConfigurationError, match="run_id= goes with a workflow"):
        ow.get_run("count", run_id="r1")  # type: ignore[call-overload]


# --- by the beginning of an id -----------------------------------------------------------------


@sync_and_async
def test_ids_are_found_by_their_beginning(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    for run in ("6f1c2ab0-12", "6f1c2ab0-13", "6f1c2aff-00", "7", "6f1c2ab0-12-longer"):
        tables.run(id=run)
    tables.run(id="6f1c2ab0-14", namespace_id="other")
    assert sorted(call(ow, "find_run_ids", "6f1c2ab0-1")) == [
        "6f1c2ab0-12",
        "6f1c2ab0-12-longer",
        "6f1c2ab0-13",
    ]
    assert call(ow, "find_run_ids", "6f1c2af") == ["6f1c2aff-00"]
    assert call(ow, "find_run_ids", "6f1c2ab0-12") == ["6f1c2ab0-12"]  # the whole id
    assert call(ow, "find_run_ids", "8") == call(ow, "find_run_ids", "6f1c2ac") == []
    assert len(call(ow, "find_run_ids", "6", limit=2)) == 2
    assert len(call(ow, "find_run_ids", "")) == 5


@pytest.fixture
def danish(conn: psycopg.Connection, schema: str) -> None:
    """Ids in the order of a language that takes two letters for one: "aa" comes after "z"."""
    try:
        conn.execute(
            f"CREATE COLLATION \"{schema}\".danish (provider = icu, locale = 'da')".encode()
        )
    except psycopg.Error:
        pytest.skip("this server was built without ICU")
    # The trigger's condition names the column, which could not be changed otherwise.
    conn.execute(f'DROP TRIGGER owsuper_result ON "{schema}".workflow_runs'.encode())
    conn.execute(
        f'ALTER TABLE "{schema}".workflow_runs'
        f' ALTER id TYPE text COLLATE "{schema}".danish'.encode()
    )


@pytest.mark.parametrize("beginning", ["6a", "6aa", "6aab", "a", "aa", "6a-", "6a-a"])
def test_the_order_of_a_language_hides_no_id(
    ow: OpenWorkflow, tables: Tables, danish: None, beginning: str
) -> None:
    run_ids = [f"{head}{uuid4()}" for head in ("6aab", "6ab", "6a", "aab", "ab", "6a-aa", "6a-b")]
    for run in run_ids:
        tables.run(id=run)
    found = ow.find_run_ids(beginning)
    assert sorted(found) == sorted(each for each in run_ids if each.startswith(beginning))
