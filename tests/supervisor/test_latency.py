"""A worker that is far away from its database."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.fixtures.proxy import Proxy
from tests.supervisor.worker import Begin

FARAWAY = 0.06  # seconds, one way: from one continent to another


@pytest.mark.slow
def test_no_run_ends_before_its_steps(begin: Begin, proxy: Proxy, conn: psycopg.Connection) -> None:
    worker = begin(url=proxy.url)
    proxy.delay(FARAWAY)
    runs = [worker.start("record", text=str(number)) for number in range(3)]
    for run in runs:
        worker.await_outcome(run)
        (times,) = conn.execute(
            f"""SELECT r.created_at, r.started_at, s.created_at, s.started_at, s.finished_at,
                    r.finished_at
                FROM "{worker.schema}".workflow_runs AS r
                JOIN "{worker.schema}".step_attempts AS s ON s.workflow_run_id = r.id
                WHERE r.id = $1""",
            [run],
        ).fetchall()
        created, began, step_created, *rest = times
        assert [created, began, *rest] == sorted([created, began, *rest])
        assert began - timedelta(milliseconds=1) < step_created <= rest[0]  # whole milliseconds


@pytest.mark.slow
def test_no_deadline_passes_early(begin: Begin, proxy: Proxy) -> None:
    worker = begin(url=proxy.url)
    proxy.delay(FARAWAY)
    deadline = datetime.now(UTC) + timedelta(seconds=5)
    run = worker.start("wait_for_ever", deadline_at=deadline)
    worker.await_effect("waiting")
    worker.await_outcome(run, "(failed|lost)")  # by the child or by the supervisor
    finished = worker.get(run).finished_at
    assert finished is not None
    assert finished >= deadline
