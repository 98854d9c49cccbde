"""Waits for signals that ended runs have left open, for example when they were canceled."""

from __future__ import annotations

import pytest

from owsuper import OpenWorkflow
from tests.db.conftest import Send
from tests.db.rows import Tables, from_now
from tests.fixtures.postgres import connect as plain_connect

ENDED = ["completed", "succeeded", "failed", "canceled"]


def ended(tables: Tables, status: str = "canceled") -> str:
    return tables.run(status=status, worker_id=None, available_at=None, finished_at=from_now(-9))


@pytest.mark.parametrize("status", ENDED)
def test_a_send_closes_them_and_reaches_the_open_runs_alone(
    status: str, send: Send, tables: Tables
) -> None:
    run, over = tables.parked(), ended(tables, status)
    tables.signal_wait(run)
    wait, other = tables.signal_wait(over), tables.signal_wait(over, "another signal")
    before = tables.fetch(over)
    assert send(None) == [run]
    assert tables.fetch(over) == before
    closed = tables.fetch(wait, "step_attempts")
    assert (closed["status"], closed["error"]["message"]) == (
        "failed",
        "The run ended before the wait",
    )
    assert closed["finished_at"] is not None
    assert closed["context"] == {"kind": "signal-wait", "signal": "go"}
    assert tables.fetch(other, "step_attempts")["status"] == "running"


def test_many_are_closed_a_few_at_each_send(
    client: OpenWorkflow, tables: Tables, schema: str
) -> None:
    many = 1_200
    tables.conn.execute(
        f'WITH run AS (INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name,'
        " status, config, attempts, created_at, updated_at) SELECT 'default', 'run ' || n, 'w',"
        " 'canceled', '{}', 1, now(), now() FROM generate_series(1, $1::int) AS n RETURNING id)"
        f' INSERT INTO "{schema}".step_attempts (namespace_id, id, workflow_run_id, step_name,'
        " kind, status, config, context, created_at, updated_at) SELECT 'default', 'of ' || id, id,"
        " 's', 'signal-wait', 'running', '{}', '{\"signal\": \"go\"}', now(), now()"
        " FROM run".encode(),
        [many],
    )
    left = []
    for _ in range(3):
        assert client.send_signal("go") == []
        left.append(len(tables.rows("step_attempts", "status = 'running'")))
    assert left == [700, 200, 0]


def test_a_failed_run_that_has_a_signal_to_read_keeps_it_for_a_retry(
    send: Send, tables: Tables, client: OpenWorkflow
) -> None:
    run = tables.run()
    wait = tables.signal_wait(run)
    assert send(None) == [run]
    tables.update("workflow_runs", run, status="failed", worker_id=None, available_at=None)
    assert send(None) == []
    assert tables.fetch(wait, "step_attempts")["status"] == "running"
    client.get_run(run).retry()
    assert tables.fetch(wait, "step_attempts")["status"] == "running"


def test_a_retry_after_that_waits_anew(send: Send, tables: Tables, client: OpenWorkflow) -> None:
    run = ended(tables, "failed")
    tables.signal_wait(run)
    assert send(None) == []
    client.get_run(run).retry()
    assert tables.steps_of(run) == []


@pytest.mark.parametrize("table", ["workflow_runs", "step_attempts"])
def test_a_send_waits_for_no_row_of_an_ended_run(
    table: str, send: Send, tables: Tables, database_url: str
) -> None:
    """A deletion of old runs locks a run, and then its steps."""
    run, over = tables.parked(), ended(tables)
    tables.signal_wait(run)
    wait = tables.signal_wait(over)
    with plain_connect(database_url) as other, other.transaction():
        row = over if table == "workflow_runs" else wait
        other.execute(
            f'SELECT FROM "{tables.schema}".{table} WHERE id = $1 FOR UPDATE'.encode(), [row]
        )
        assert send(None) == [run]
    assert tables.fetch(wait, "step_attempts")["status"] == "running"
    assert send("again") == []
    assert tables.fetch(wait, "step_attempts")["status"] == "failed"
