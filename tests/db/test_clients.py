from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import pytest

from owsuper.db import connect
from owsuper.db.clients import ClientQueries, Operation
from owsuper.db.new_runs import NewRun
from owsuper.errors import RunNotCancelable, RunNotFound
from tests.db.rows import OTHER, Tables, from_now

T = TypeVar("T")
Perform = Callable[[Operation[T]], T]


@pytest.fixture
def perform(database_url: str) -> Iterator[Perform[Any]]:
    """Performs an operation."""
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield lambda operation: operation.run(conn)


@pytest.fixture
def queries(schema: str) -> ClientQueries:
    return ClientQueries(schema, "default")


# --- starting -------------------------------------------------------------------------------


def test_a_started_run_is_pending_and_due_at_once(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    run = perform(queries.start(NewRun(workflow_name="w", input_json=b'{"a": 1}')))
    assert UUID(run).version == 7
    row = tables.fetch(run)
    created, updated = row.pop("created_at"), row.pop("updated_at")
    assert row.pop("available_at") == updated
    assert created == updated.replace(microsecond=updated.microsecond // 1000 * 1000)
    assert {key: value for key, value in row.items() if value is not None} == {
        "namespace_id": "default",
        "id": run,
        "workflow_name": "w",
        "status": "pending",
        "config": {},
        "input": {"a": 1},
        "attempts": 0,
    }


def test_everything_that_is_given_is_stored(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    when, deadline = from_now(100), from_now(200)
    run = perform(
        queries.start(
            NewRun(
                workflow_name="naïve ☕",
                version="",
                input_json=b"null",
                idempotency_key="k",
                available_at=when,
                deadline_at=deadline,
                context={"traceContext": {}},
            )
        )
    )
    row = tables.fetch(run)
    assert (row["workflow_name"], row["version"], row["idempotency_key"]) == ("naïve ☕", "", "k")
    assert (row["available_at"], row["deadline_at"]) == (when, deadline)
    assert row["context"] == {"traceContext": {}}
    assert tables.rows("workflow_runs", "input IS NULL")


def test_a_repeated_start_starts_nothing_more(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    new = NewRun(workflow_name="w")
    assert perform(queries.start(new)) == perform(queries.start(new)) == new.id
    assert tables.count("workflow_runs") == 1


@pytest.mark.parametrize("count", [0, 1, 2, 4001])
def test_many_runs_are_started_in_order(
    perform: Perform[Any], queries: ClientQueries, tables: Tables, count: int
) -> None:
    new = [NewRun(workflow_name="w", input_json=f"{n}".encode()) for n in range(count)]
    assert perform(queries.start_many(new)) == [each.id for each in new]
    stored = {row["id"]: row["input"] for row in tables.rows("workflow_runs")}
    assert stored == {each.id: n for n, each in enumerate(new)}


def test_all_of_many_runs_are_started_or_none(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    new = [NewRun(workflow_name="w") for _ in range(3000)]
    new.append(NewRun(workflow_name="w", input_json=rb'"\u0000"'))
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        perform(queries.start_many(new))
    assert tables.count("workflow_runs") == 0
    assert perform(queries.start_many(new[:2])) == [new[0].id, new[1].id]


def test_large_inputs_are_spread_over_statements(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    large = b'"' + b"x" * 7_000_000 + b'"'
    new = [NewRun(workflow_name="w", input_json=large) for _ in range(5)]
    operation = queries.start_many(new)
    assert len(operation.calls) == 3
    assert perform(operation) == [each.id for each in new]
    assert tables.count("workflow_runs") == 5


def test_many_runs_take_no_idempotency_keys(queries: ClientQueries) -> None:
    with pytest.raises(ValueError, match="one by one"):
        queries.start_many([NewRun(workflow_name="w", idempotency_key="k")])


def test_starting_many_runs_is_fast(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    """The aim is 20,000 a second; the bound leaves room for a busy machine."""
    new = [NewRun(workflow_name="w", input_json=b'{"user_id": 7}') for _ in range(10_000)]
    began = time.perf_counter()
    perform(queries.start_many(new))
    assert time.perf_counter() - began < 10


# --- idempotency keys -----------------------------------------------------------------------


def test_a_key_finds_the_run_that_was_started_with_it(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    first = perform(queries.start(NewRun(workflow_name="w", idempotency_key="")))
    tables.update("workflow_runs", first, status="failed")
    again = NewRun(workflow_name="w", idempotency_key="", version="2", input_json=b"1")
    assert perform(queries.start(again)) == first
    assert tables.count("workflow_runs") == 1


def test_other_keys_workflows_and_namespaces_are_others(
    perform: Perform[Any], queries: ClientQueries, schema: str
) -> None:
    elsewhere = ClientQueries(schema, "elsewhere")
    runs = {
        perform(queries.start(NewRun(workflow_name="w", idempotency_key="k"))),
        perform(queries.start(NewRun(workflow_name="w", idempotency_key="K"))),
        perform(queries.start(NewRun(workflow_name="v", idempotency_key="k"))),
        perform(elsewhere.start(NewRun(workflow_name="w", idempotency_key="k"))),
    }
    assert len(runs) == 4


def test_a_key_is_forgotten_after_a_day(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    old = tables.pending(idempotency_key="k", created_at=from_now(-24 * 3600 - 5))
    assert perform(queries.start(NewRun(workflow_name="w", idempotency_key="k"))) != old
    tables.update("workflow_runs", old, created_at=from_now(-24 * 3600 + 60))
    assert perform(queries.start(NewRun(workflow_name="w", idempotency_key="k"))) == old


def test_the_oldest_run_of_a_key_is_the_one(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    moment = from_now(-60)
    for n in (2, 1, 3):
        tables.pending(id=f"{n}", idempotency_key="k", created_at=moment)
    tables.pending(id="0", idempotency_key="k", created_at=moment + timedelta(seconds=1))
    assert perform(queries.start(NewRun(workflow_name="w", idempotency_key="k"))) == "1"


def test_concurrent_starts_with_one_key_start_one_run(
    database_url: str, queries: ClientQueries, tables: Tables
) -> None:
    barrier = threading.Barrier(6)
    found: list[str] = []

    def start() -> None:
        with connect.connect(database_url, application_name="owsuper test") as conn:
            for n in range(20):
                barrier.wait()
                new = NewRun(workflow_name="w", idempotency_key=f"{n}")
                found.append(queries.start(new).run(conn))

    threads = [threading.Thread(target=start) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 120
    assert {row["id"] for row in tables.rows("workflow_runs")} == set(found)
    assert len(set(found)) == 20


# --- finding, canceling ---------------------------------------------------------------------


def test_a_run_is_found_in_full(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    run = tables.run(
        version="2",
        input=[1],
        output={"a": 1},
        error={"message": "m"},
        idempotency_key="k",
        deadline_at=from_now(9),
        finished_at=from_now(0),
        worker_id=OTHER,
    )
    found = perform(queries.get_run(run))
    row = tables.fetch(run)
    assert (found.input, found.output, found.error) == ("[1]", '{"a": 1}', '{"message": "m"}')
    others = {
        *("input", "output", "error", "began_at", "parent_run_id", "parent_step_name"),
        *("continued_from", "continued_as", "rerun_of", "rerun_as"),  # in the context
        *("undo_of", "undone_by", "priority", "attributes"),  # there, and elsewhere
    }
    for column in set(found.__slots__) - others:
        assert getattr(found, column) == row[column]
    assert (found.began_at, found.parent_run_id) == (row["started_at"], None)
    assert perform(queries.status(run)) == "running"


@pytest.mark.parametrize("what", ["get_run", "status", "cancel", "retry"])
def test_an_unknown_run_is_an_error_that_names_it(
    perform: Perform[Any], queries: ClientQueries, tables: Tables, what: str
) -> None:
    elsewhere = tables.run(namespace_id="elsewhere")
    with pytest.raises(RunNotFound, match=f"^Workflow run {elsewhere} does not exist$") as info:
        perform(getattr(queries, what)(elsewhere))
    assert info.value.run_id == elsewhere


def test_a_canceled_run_is_nobodys_and_keeps_what_it_has(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    run = tables.run(error={"message": "of an earlier attempt"})
    started_at = tables.fetch(run)["started_at"]
    perform(queries.cancel(run))
    row = tables.fetch(run)
    assert (row["status"], row["worker_id"], row["available_at"]) == ("canceled", None, None)
    assert row["finished_at"] == row["updated_at"]
    assert (row["started_at"], row["error"]) == (started_at, {"message": "of an earlier attempt"})
    perform(queries.cancel(run))
    assert tables.fetch(run) == row


def test_a_finished_run_cannot_be_canceled(
    perform: Perform[Any], queries: ClientQueries, tables: Tables
) -> None:
    run = tables.run(status="completed")
    before = tables.fetch(run)
    with pytest.raises(RunNotCancelable, match="with status completed"):
        perform(queries.cancel(run))
    assert tables.fetch(run) == before
