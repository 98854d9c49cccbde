"""Waiting for a run that nobody claims: what is said, and when."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.client.unclaimed import NoticingWaits
from owsuper.db import connect
from owsuper.db.presence import PresenceQueries
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.announcements import announced
from tests.db.rows import Tables, from_now, perform

Said = Callable[..., list[str]]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def said(conn: psycopg.Connection, schema: str, caplog: pytest.LogCaptureFixture) -> Said:
    """Read the state of runs as a client that waits for them; what is logged."""
    waits = NoticingWaits(schema, "default")

    def read(*run_ids: str) -> list[str]:
        caplog.clear()
        for run_id in run_ids:
            waits.read(conn, [run_id])
        return _messages(caplog)

    return read


def _messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name == "owsuper.client"]


def test_a_run_that_nobody_claims_is_named_with_what_the_connected_workers_serve(
    tables: Tables, said: Said, schema: str, database_url: str
) -> None:
    run = tables.pending(workflow_name="nope", version="3", available_at=from_now(-60))
    busy = tables.pending(workflow_name="order", version="2", available_at=from_now(-60))
    with connect.connect(database_url, application_name="owsuper test") as session:
        gone = PresenceQueries(schema, "default", "shop:16:gone")
        perform(session, gone.register(30, "shop", 16))
        session.execute(b"SELECT pg_advisory_unlock_all()")  # as when its session ends
        here = PresenceQueries(schema, "default", "shop:17:here")
        perform(session, here.register(30, "shop", 17))
        perform(session, announced(here, "shop", [("order", "2"), ("mail", None)]))
        perform(session, PresenceQueries(schema, "other", "shop:18:x").register(30, "shop", 18))
        message, of_busy = said(run, busy)
    begin = rf"nobody has claimed run {run} of nope \(version 3\) in the \d+s since it was due\. "
    assert re.match(begin, message)
    served = "Workers of this namespace: shop:17 serves order (version 2), mail."
    assert f". {served} Check that a worker with this workflow and version runs" in message
    assert of_busy.endswith(f"{served} Perhaps all workers of the workflow are busy.")


def test_without_presence_it_is_named_with_what_workers_have_executed(
    tables: Tables, said: Said, database_url: str
) -> None:
    tables.run(workflow_name="order", version="2", worker_id="shop:17:x", updated_at=from_now(-30))
    done = {"status": "completed", "worker_id": "shop:18:y:z", "available_at": None}
    tables.run(workflow_name="mail", updated_at=from_now(-3), **done)
    tables.run(workflow_name="elsewhere", namespace_id="other")
    run = tables.pending(workflow_name="nope", version="3", available_at=from_now(-60))
    with connect.connect(database_url, application_name="owsuper supervisor"):
        [message] = said(run)
    begin = rf"nobody has claimed run {run} of nope \(version 3\) in the \d+s since it was due\. "
    assert re.match(begin, message)
    assert re.search(r"Workers connected to this database: [1-9]\d*\.", message)
    served = (
        r"mail \(worker shop:18, \d+s ago\), order \(version 2\) \(worker shop:17, \d+s ago\)\."
    )
    assert re.search(f"Last executed in this namespace: {served}", message)
    assert message.endswith("a worker with this workflow and version runs in this namespace.")


def test_a_workflow_whose_workers_are_busy_is_told_from_one_without_workers(
    tables: Tables, said: Said, database_url: str
) -> None:
    tables.run(workflow_name="order")
    run = tables.pending(workflow_name="order", available_at=from_now(-60))
    with connect.connect(database_url, application_name="owsuper supervisor"):
        [message] = said(run)
    assert message.endswith("Perhaps all workers of the workflow are busy.")


def test_there_is_one_message_for_all_runs_of_a_workflow(tables: Tables, said: Said) -> None:
    due = from_now(-60)
    runs = [tables.pending(workflow_name="nope", available_at=due) for _ in range(5)]
    runs += [tables.pending(workflow_name="nope", version="2", available_at=due)]
    messages = said(*runs)
    assert [re.findall("(?<= of )nope.*(?= in the)", each) for each in messages] == [
        ["nope"],
        ["nope (version 2)"],
    ]
    assert "Last executed in this namespace: nothing." in messages[0]


def test_nothing_is_said_of_a_run_that_is_owned_or_not_due(tables: Tables, said: Said) -> None:
    runs = [
        tables.pending(available_at=from_now(60)),
        tables.parked(),
        tables.run(available_at=from_now(-60)),
    ]
    assert said(*runs) == []


@sync_and_async
def test_it_is_said_while_waiting(
    ow: OpenWorkflow, tables: Tables, call: Call, caplog: pytest.LogCaptureFixture
) -> None:
    run = tables.pending(workflow_name="nope", available_at=from_now(-4))
    with ThreadPoolExecutor() as executor:
        result = executor.submit(call, ow.get_run(run), "result", 60)
        eventually(lambda: bool(_messages(caplog)))
        tables.update("workflow_runs", run, status="completed", available_at=None)
        assert result.result(60) is None
    assert f"nobody has claimed run {run} of nope in the " in _messages(caplog)[0]
