"""Attributes of runs: given at the start, read with the run, and lists filtered by them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper import OpenWorkflow, Step, Workflow
from owsuper.db.new_runs import NewRun
from owsuper.errors import ConfigurationError
from tests.client.conftest import Rows
from tests.client.sync_and_async import Call, sync_and_async
from tests.client.test_joining import Joined, joined  # noqa: F401 - a fixture
from tests.client.test_listing import at, ids
from tests.db.rows import Tables

SEVEN = {"tenant": "7"}


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def workflow(ow: OpenWorkflow) -> Workflow[Any, Any]:
    @ow.workflow
    def work(step: Step, input: Any) -> None: ...

    return work


def attributes(ow: OpenWorkflow, run_id: str) -> dict[str, str]:
    return ow.get_run(run_id).details().attributes


# --- starting --------------------------------------------------------------------------------


@sync_and_async
def test_a_run_has_the_attributes_that_it_is_started_with(
    ow: OpenWorkflow, workflow: Workflow[Any, Any], call: Call
) -> None:
    handle = call(workflow, "run", 1, attributes={"tenant": "7", "ort": "Köln 100%", "empty": ""})
    assert call(handle, "details").attributes == {"tenant": "7", "ort": "Köln 100%", "empty": ""}
    by_name = call(ow, "run_workflow", "elsewhere", 1, attributes=SEVEN)
    assert attributes(ow, by_name.id) == SEVEN
    assert attributes(ow, call(workflow, "run", 1).id) == {}


@sync_and_async
def test_many_runs_have_the_same_attributes(
    ow: OpenWorkflow, workflow: Workflow[Any, Any], call: Call
) -> None:
    handles = call(workflow, "run_many", range(3), attributes=SEVEN)
    assert [attributes(ow, each.id) for each in handles] == [SEVEN] * 3


def test_runs_that_share_a_commit_keep_their_attributes_apart(
    ow: OpenWorkflow, workflow: Workflow[Any, Any]
) -> None:
    wanted: list[dict[str, str] | None] = [{"n": str(n)} if n % 2 else None for n in range(40)]
    with ThreadPoolExecutor(8) as threads:
        handles = list(threads.map(lambda each: workflow.run(1, attributes=each), wanted))
    assert [attributes(ow, each.id) for each in handles] == [each or {} for each in wanted]


@sync_and_async
def test_a_run_that_exists_keeps_its_attributes(
    ow: OpenWorkflow, workflow: Workflow[Any, Any], call: Call
) -> None:
    key = uuid4().hex
    first = call(workflow, "run", 1, idempotency_key=key, attributes=SEVEN)
    again = call(workflow, "run", 1, idempotency_key=key, attributes={"tenant": "8"})
    assert again.id == first.id
    chosen = call(workflow, "run", 1, id="order-7", attributes=SEVEN)
    call(workflow, "run", 1, id="order-7", attributes={"tenant": "8", "more": "1"})
    assert attributes(ow, first.id) == attributes(ow, chosen.id) == SEVEN


def test_attributes_are_stored_in_the_transaction_of_the_caller(
    ow: OpenWorkflow,
    joined: Joined,  # noqa: F811 - the fixture
    rows: Rows,
    schema: str,
) -> None:
    handle = joined.call(ow, "run_workflow", "w", 1, attributes={"tenant": "7 %s $1"})
    many = joined.call(ow, "run_many", "w", [1, 2], attributes=SEVEN)
    keyed = joined.call(ow, "run_workflow", "w", 1, idempotency_key="k", attributes=SEVEN)
    assert joined.fetch(f'SELECT count(*) FROM "{schema}".owsuper_run_attributes') == 4
    joined.commit()
    assert attributes(ow, handle.id) == {"tenant": "7 %s $1"}
    assert [attributes(ow, each.id) for each in [*many, keyed]] == [SEVEN] * 3
    joined.call(ow, "run_workflow", "w", 1, attributes=SEVEN)
    joined.rollback()
    assert rows.count() == 4


def test_a_run_without_attributes_is_started_by_the_same_statement_as_ever(
    ow: OpenWorkflow, workflow: Workflow[Any, Any]
) -> None:
    workflow.run(1)
    queries = ow._database.session().queries
    [(plain, _)] = queries.start(NewRun(workflow_name="w")).calls
    [(described, _)] = queries.start(NewRun(workflow_name="w", attributes=SEVEN)).calls
    assert "attributes" not in plain.text
    assert "attributes" in described.text


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ([("tenant", "7")], "attributes: must be a mapping of names to texts"),
        ({"tenant": 7}, r"attributes\['tenant'\]: the value 7 must be text, such as '7'"),
        ({7: "tenant"}, "attributes: the name 7 must be text"),
        ({"": "x"}, "attributes: the name '' must have 1 to 64 characters"),
        ({"n" * 65: "x"}, "must have 1 to 64 characters"),
        ({"n": "x" * 257}, "the value has 257 characters. Use at most 256"),
        ({"n": "\0"}, r"U\+0000"),
        ({"n\ud800": "x"}, "lone surrogate"),
        ({"n": None}, r"attributes\['n'\]: the value None must be text"),
        ({str(n): "x" for n in range(51)}, "at most 50 attributes are allowed, not 51"),
    ],
)
@sync_and_async
def test_attributes_that_are_none_are_refused_before_anything_is_stored(
    workflow: Workflow[Any, Any], rows: Rows, call: Call, wrong: Any, message: str
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(workflow, "run", 1, attributes=wrong)
    with pytest.raises(ConfigurationError, match=message):
        call(workflow, "run_many", [1], attributes=wrong)
    with pytest.raises(ConfigurationError, match=message):
        call(workflow.starter, "list_runs", attributes=wrong)
    assert rows.count() == 0


def test_the_longest_attributes_of_any_language_are_stored(
    ow: OpenWorkflow, workflow: Workflow[Any, Any]
) -> None:
    longest = {"\U0001f600" * 64: "".join(chr(0x1F300 + n) for n in range(256))}
    run = workflow.run(1, id="i" * 200, attributes=longest)
    assert run.details().attributes == longest
    assert ids(ow.list_runs(attributes=longest)) == [run.id]


# --- what repeats a run ----------------------------------------------------------------------


@sync_and_async
def test_a_rerun_has_the_attributes_of_the_run(
    ow: OpenWorkflow, workflow: Workflow[Any, Any], call: Call
) -> None:
    run = workflow.run(1, attributes=SEVEN)
    run.cancel()
    assert attributes(ow, call(run, "rerun").id) == SEVEN
    assert attributes(ow, call(run, "rerun", input=2).id) == SEVEN


def test_a_retry_keeps_the_attributes(ow: OpenWorkflow, tables: Tables) -> None:
    tables.run(id="failed", status="failed")
    tables.describe("failed", tenant="7")
    ow.get_run("failed").retry()
    assert attributes(ow, "failed") == SEVEN


def test_a_run_that_is_deleted_loses_its_attributes(
    workflow: Workflow[Any, Any], conn: psycopg.Connection, schema: str
) -> None:
    stored = f'SELECT workflow_run_id FROM "{schema}".owsuper_run_attributes'
    kept = workflow.run(1, attributes=SEVEN)
    workflow.run(1, attributes=SEVEN)
    conn.execute(f'DELETE FROM "{schema}".workflow_runs WHERE id <> $1', (kept.id,))
    assert conn.execute(stored).fetchall() == [(kept.id,)]
    conn.execute(f'TRUNCATE "{schema}".workflow_runs CASCADE')
    assert conn.execute(stored).fetchall() == []


# --- lists -----------------------------------------------------------------------------------


@sync_and_async
def test_lists_are_filtered_by_attributes_and_paged(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    for number in range(7):
        tables.run(id=f"run {number}", created_at=at(number // 2))
        tables.describe(f"run {number}", tenant="7", parity="odd" if number % 2 else "even")
    tables.run(id="other")
    tables.describe("other", tenant="8", parity="odd")
    page = call(ow, "list_runs", attributes=SEVEN, limit=3)
    assert ids(page) == ["run 6", "run 5", "run 4"]
    older = call(ow, "list_runs", attributes=SEVEN, limit=3, after=page.next_cursor)
    assert ids(older) == ["run 3", "run 2", "run 1"]
    newer = call(ow, "list_runs", attributes=SEVEN, limit=3, before=older.previous_cursor)
    assert ids(newer) == ids(page)
    both = {"tenant": "7", "parity": "odd"}
    assert ids(call(ow, "list_runs", attributes=both)) == ["run 5", "run 3", "run 1"]
    assert ids(call(ow, "list_runs", attributes={"tenant": "7", "x": "1"})) == []
    assert page.items[0].attributes == {"tenant": "7", "parity": "even"}


def test_attributes_go_with_all_other_filters(ow: OpenWorkflow, tables: Tables) -> None:
    def run(name: str, **columns: Any) -> None:
        tables.run(id=name, created_at=at(len(found)), **columns)
        tables.describe(name, tenant="7")
        found.append(name)

    found: list[str] = []
    run("failed", status="failed")
    run("of x", workflow_name="x")
    run("with key", idempotency_key="k")
    run("parent")
    tables.child("parent", id="child", created_at=at(4))
    tables.describe("child", tenant="7")
    tables.run(id="else", status="failed", workflow_name="x", idempotency_key="k")
    for name, value, only in (
        ("status", "failed", "failed"),
        ("workflow", "x", "of x"),
        ("key", "k", "with key"),
        ("parent", "parent", "child"),
    ):
        filters: Any = {name: value}
        assert ids(ow.list_runs(attributes=SEVEN, **filters)) == [only]
        assert ids(ow.list_runs(attributes={"tenant": "8"}, **filters)) == []
    assert ids(ow.list_runs(attributes=SEVEN, since=at(1), until=at(3))) == ["with key", "of x"]
    assert ids(ow.list_runs(attributes=SEVEN, crashed=True)) == []
