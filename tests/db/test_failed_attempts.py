"""Steps that timed out in a process that had to be killed: what is written, and what stands."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest

from owsuper.core.model import Complete, StepStatus, WriteSet
from owsuper.core.time_outs import time_out_error
from owsuper.db import connect
from owsuper.db.claims import ClaimQueries, FailedAttempt, parse_workers
from owsuper.db.runs import RunStore
from tests.db.rows import ME, OTHER, Tables, from_now, perform_in_the_end, step_write

ERROR = time_out_error("s", 30, killed=True, stack="here").to_json()


@pytest.fixture
def queries(schema: str) -> ClaimQueries:
    return ClaimQueries(schema, "default")


@pytest.fixture
def store(schema: str) -> RunStore:
    return RunStore(schema, "default")


def attempt(run: str, attempt_id: str = "attempt", *, step: str = "s") -> FailedAttempt:
    return FailedAttempt(run, ME, attempt_id, step, from_now(-31), ERROR)


def fail(conn: psycopg.Connection, queries: ClaimQueries, *attempts: FailedAttempt) -> set[str]:
    return parse_workers(perform_in_the_end(conn, queries.fail_attempts(attempts)))


@pytest.mark.parametrize("shown", [True, False], ids=["running row", "no row yet"])
def test_the_attempt_has_failed_and_the_run_is_due_without_a_crash(
    conn: psycopg.Connection, queries: ClaimQueries, tables: Tables, shown: bool
) -> None:
    run = tables.run()
    if shown:
        tables.step(run, id="attempt")
    assert fail(conn, queries, attempt(run)) == {ME}
    [row] = tables.steps_of(run)
    assert (row["id"], row["step_name"], row["kind"]) == ("attempt", "s", "function")
    assert (row["status"], row["error"]) == ("failed", ERROR)
    assert row["started_at"] < row["finished_at"]
    after = tables.fetch(run)
    assert (after["status"], after["worker_id"], after["error"]) == ("running", None, None)
    assert after["available_at"] <= from_now(0)
    assert tables.count("owsuper_crashes") == 0


def test_all_steps_of_a_run_that_timed_out_together_are_recorded(
    conn: psycopg.Connection, queries: ClaimQueries, tables: Tables
) -> None:
    run = tables.run()
    attempts = [attempt(run, f"attempt {n}", step=f"s:{n}") for n in range(3)]
    assert fail(conn, queries, *attempts) == {ME}
    assert {row["step_name"] for row in tables.steps_of(run)} == {"s:0", "s:1", "s:2"}


def test_a_result_that_was_committed_before_stands(
    conn: psycopg.Connection, queries: ClaimQueries, store: RunStore, tables: Tables
) -> None:
    run = tables.run()
    assert ME in store.commit(conn, [WriteSet(run, ME, (step_write(attempt_id="attempt"),))])
    assert fail(conn, queries, attempt(run)) == {ME}
    [row] = tables.steps_of(run)
    assert (row["status"], row["output"]) == ("completed", {"v": 1})
    assert tables.fetch(run)["worker_id"] is None


@pytest.mark.parametrize(
    "owner", [{"worker_id": OTHER}, {"status": "completed"}, {"status": "canceled"}], ids=str
)
def test_nothing_is_written_once_the_claim_is_over(
    conn: psycopg.Connection, queries: ClaimQueries, tables: Tables, owner: dict[str, Any]
) -> None:
    run = tables.run(**owner)
    before = tables.fetch(run)
    assert fail(conn, queries, attempt(run)) == set()
    assert tables.steps_of(run) == []
    assert tables.fetch(run) == before


def test_it_may_be_repeated(
    conn: psycopg.Connection, queries: ClaimQueries, tables: Tables
) -> None:
    run = tables.run()
    assert fail(conn, queries, attempt(run)) == {ME}
    before = tables.steps_of(run)
    assert fail(conn, queries, attempt(run)) == set()
    assert tables.steps_of(run) == before


def test_a_result_that_arrives_after_it_is_not_written(
    conn: psycopg.Connection, queries: ClaimQueries, store: RunStore, tables: Tables
) -> None:
    run = tables.run()
    fail(conn, queries, attempt(run))
    steps = (step_write(attempt_id="attempt"),)
    assert ME not in store.commit(conn, [WriteSet(run, ME, steps, Complete(b"1"))])
    [row] = tables.steps_of(run)
    assert row["status"] == "failed"
    assert tables.fetch(run)["status"] == "running"


def test_of_a_result_in_flight_and_the_time_out_exactly_one_is_stored(
    database_url: str,
    conn: psycopg.Connection,
    queries: ClaimQueries,
    store: RunStore,
    tables: Tables,
) -> None:
    """The process sent its result and was killed; both statements are executed at once."""
    seen = set()
    with (
        connect.connect(database_url, application_name="owsuper child") as child,
        connect.connect(database_url, application_name="owsuper supervisor") as supervisor,
    ):
        for n in range(60):
            run = tables.run(worker_id=ME)
            steps = (step_write(attempt_id=f"attempt {n}"),)
            both = threading.Barrier(2)

            def commit(run: str = run, steps: Any = steps, both: Any = both) -> None:
                both.wait()
                store.commit(child, [WriteSet(run, ME, steps)])

            committing = threading.Thread(target=commit)
            committing.start()
            both.wait()
            released = fail(supervisor, queries, attempt(run, f"attempt {n}"))
            committing.join()
            assert released == {ME}
            [row] = tables.steps_of(run)
            seen.add(row["status"])
            if row["status"] == StepStatus.COMPLETED:
                assert (row["output"], row["error"]) == ({"v": 1}, None)
            else:
                assert (row["output"], row["error"]) == (None, ERROR)
            tables.update("workflow_runs", run, status="canceled")
    assert seen <= {"completed", "failed"}
