"""Listing workers: what each announces, by the database's clock."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import psycopg
import pytest

from owsuper import OpenWorkflow, WorkerState
from owsuper.db import connect, presence
from owsuper.db.presence import PresenceQueries
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.announcements import announced, child, executing
from tests.db.rows import Tables, perform

WORKER = "shop:17:abc"


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


@pytest.fixture
def queries(session: psycopg.Connection, schema: str) -> PresenceQueries:
    """The statements of a supervisor that is connected."""
    made = PresenceQueries(schema, "default", WORKER)
    perform(session, made.register(30, "shop boot pid:[1]", 17))
    return made


@sync_and_async
def test_a_worker_is_listed_with_its_processes_and_what_they_do(
    ow: OpenWorkflow, session: psycopg.Connection, queries: PresenceQueries, call: Call
) -> None:
    busy = child(2, executing("r1", "order", version="2", step="charge"), held=5)
    perform(
        session,
        announced(queries, workflows=[("order", "2")], children=[child(1, reserved=True), busy]),
    )
    [worker] = call(ow, "list_workers")
    assert (worker.id, worker.host, worker.pid) == (WORKER, "shop", 17)
    assert (worker.state, worker.here) == (WorkerState.SERVING, True)
    assert (worker.slots, worker.free, worker.rss_bytes) == (2, 1, 40 * 1024 * 1024)
    assert worker.serves("order", "2")
    assert not worker.serves("order", None)
    idle, executes = worker.processes
    assert (idle.number, idle.pid, idle.reserved, idle.runs) == (1, 101, True, ())
    assert (executes.held, executes.rss_bytes) == (5, 100 * 1024 * 1024)
    [run] = executes.runs
    assert (run.run_id, run.workflow_name, run.version, run.steps) == ("r1", "order", "2", "charge")
    # The supervisor's clock reads 1000 at the announcement, 990 at the start of the run.
    assert worker.announced_at - run.since == timedelta(seconds=10)
    assert worker.announced_at - idle.since == timedelta(seconds=60)


def test_a_worker_that_has_announced_nothing_yet_starts(
    ow: OpenWorkflow, queries: PresenceQueries
) -> None:
    [worker] = ow.list_workers()
    assert (worker.state, worker.workflows, worker.processes) == (WorkerState.STARTING, (), ())
    assert worker.announced_at is None


def test_a_worker_without_a_session_is_missing(
    ow: OpenWorkflow, session: psycopg.Connection, queries: PresenceQueries
) -> None:
    perform(session, announced(queries))
    session.execute(b"SELECT pg_advisory_unlock_all()")  # as when its session ends
    [worker] = ow.list_workers()
    assert (worker.state, worker.here) == (WorkerState.MISSING, False)


def test_workers_of_other_namespaces_are_not_listed(
    ow: OpenWorkflow, session: psycopg.Connection, schema: str, tables: Tables
) -> None:
    perform(session, announced(PresenceQueries(schema, "other", WORKER), pooled=True))
    assert tables.count("owsuper_supervisors") == 1
    assert ow.list_workers() == []


@pytest.mark.parametrize(
    "status",
    [
        '{"state": "hibernating", "at": 5.0}',
        '{"state": "serving", "children": [{"name": "one"}]}',
        '{"state": "serving", "suspects": 3}',
        '["serving"]',
    ],
)
def test_what_another_version_announces_hides_no_worker(
    ow: OpenWorkflow, queries: PresenceQueries, session: psycopg.Connection, tables: Tables,
    status: str,
) -> None:  # fmt: skip
    perform(session, announced(queries, workflows=[("order", "2")]))
    tables.update("owsuper_supervisors", WORKER, status=status)
    [worker] = ow.list_workers()
    assert (worker.id, worker.state, worker.here) == (WORKER, WorkerState.UNKNOWN, True)
    assert worker.serves("order", "2")
    assert worker.processes == ()


def test_a_worker_that_says_only_what_it_serves_is_of_an_earlier_version(
    ow: OpenWorkflow, queries: PresenceQueries, tables: Tables
) -> None:
    tables.update("owsuper_supervisors", WORKER, workflows='[["order", null]]')
    [worker] = ow.list_workers()
    assert (worker.state, worker.workflows) == (WorkerState.UNKNOWN, (("order", None),))


@pytest.mark.parametrize("workflows", ['[["order"]]', '{"order": 1}', '"order"', "[[1, []]]"])
def test_workflows_that_cannot_be_read_are_none(
    ow: OpenWorkflow, queries: PresenceQueries, session: psycopg.Connection, tables: Tables,
    schema: str, workflows: str,
) -> None:  # fmt: skip
    perform(session, announced(queries))
    tables.update("owsuper_supervisors", WORKER, workflows=workflows)
    assert [worker.state for worker in ow.list_workers()] == [WorkerState.SERVING]
    others = perform(session, PresenceQueries(schema, "default", "me").others())
    assert [each.answers for each in presence.parse_others(others)] == [frozenset()]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)
