"""A worker claims runs and executes them."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from owsuper.supervisor.claim_policy import RECHECK_DELAYS
from tests.supervisor.worker import Begin


def test_a_run_is_executed_and_the_worker_stops_cleanly(begin: Begin) -> None:
    worker = begin()
    run = worker.start("record", text="hello")
    worker.await_outcome(run)
    row = worker.get(run)
    assert (row.status, row.attempts) == ("completed", 1)
    assert int(row.output or 0) in worker.children()
    assert worker.effects() == ["hello"]
    assert worker.stop() == 0
    assert worker.program.descendants() == []


def test_a_notification_starts_a_run_long_before_the_poll(begin: Begin) -> None:
    worker = begin("--poll-interval=1h")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.effects() == ["hello"]


def test_a_worker_is_notified_of_a_cancellation_long_before_the_lease_ends(
    begin: Begin,
) -> None:
    worker = begin("--lease=1h")
    run = worker.start("wait_for_ever")
    worker.await_effect("waiting")
    worker.cancel(run)
    worker.await_outcome(run, "lost")
    assert worker.effects() == ["waiting", "cancelled"]
    assert worker.get(run).status == "canceled"


def test_a_worker_that_does_not_listen_finds_a_cancellation_when_it_renews_the_lease(
    begin: Begin,
) -> None:
    worker = begin("--no-listen", "--lease=3s", "--poll-interval=50ms")
    run = worker.start("wait_for_ever")
    worker.await_effect("waiting")
    worker.cancel(run)
    worker.await_outcome(run, "lost")
    assert worker.effects() == ["waiting", "cancelled"]


@pytest.mark.slow
def test_a_timer_starts_a_run_when_it_is_due_long_before_the_poll(begin: Begin) -> None:
    worker = begin("--poll-interval=1h")
    run = worker.start("record", text="later", due_in=1.0)
    worker.await_outcome(run)
    row = worker.get(run)
    assert row.started_at is not None
    assert row.available_at is None
    assert row.started_at - row.created_at > timedelta(seconds=0.9)


def test_without_listening_runs_are_found_by_polling(begin: Begin) -> None:
    worker = begin("--no-listen", "--poll-interval=200ms")
    worker.await_outcome(worker.start("record", text="hello"))
    assert worker.effects() == ["hello"]


@pytest.mark.slow
def test_a_lease_that_ran_out_is_noticed_without_notification_or_poll(
    begin: Begin, conn: psycopg.Connection
) -> None:
    worker = begin("--no-listen", "--poll-interval=1h")
    after_the_claims_at_the_start = RECHECK_DELAYS[-1] + 2.0
    with conn.transaction():  # so that no claim sees the run before
        run = worker.start("record", due_in=after_the_claims_at_the_start, text="hello")
        conn.execute(
            f"""UPDATE "{worker.schema}".workflow_runs
            SET status = 'running', worker_id = 'gone', attempts = 1 WHERE id = $1""",
            [run],
        )
    worker.await_outcome(run)
    assert worker.get(run).attempts == 2


def test_many_runs_are_all_executed_once(begin: Begin) -> None:
    worker = begin("--concurrency=4")
    runs = [worker.start("record", text=str(number)) for number in range(200)]
    for run in runs:
        worker.await_outcome(run)
    assert sorted(worker.effects(), key=int) == [str(number) for number in range(200)]
    assert worker.stop() == 0


@pytest.mark.slow
def test_prefetched_runs_behind_a_long_run_are_released(begin: Begin, tmp_path: Path) -> None:
    worker = begin("--processes=1", "--poll-interval=60s")
    quick = [worker.start("record", text="quick") for _ in range(60)]
    long = worker.start("wait_for_file", path=str(tmp_path / "go"))
    rest = [worker.start("record", text="late") for _ in range(5)]
    worker.await_effect("waiting")
    deadline = time.monotonic() + 60
    while any(row.worker_id and row.status == "running" for row in map(worker.get, rest)):
        assert time.monotonic() < deadline, "prefetched runs wait for a slot that stays busy"
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for run in [*quick, long, *rest]:
        worker.await_outcome(run)
    assert worker.effects().count("quick") == 60
    assert worker.effects().count("late") == 5


def test_clients_in_a_child_find_the_same_database(begin: Begin, database_url: str) -> None:
    worker = begin(OWSUPER_DATABASE_URL=database_url)
    run = worker.start("environment")
    worker.await_outcome(run)
    found = json.loads(worker.get(run).output or "")
    assert found["OWSUPER_DATABASE_URL"] == database_url
    assert found["OWSUPER_SCHEMA"] == worker.schema
    assert found["OWSUPER_NAMESPACE"] == "default"


def test_runs_with_times_beyond_all_calendars_are_executed(
    begin: Begin, conn: psycopg.Connection, schema: str
) -> None:
    worker = begin("--processes=1")
    runs = [str(uuid4()) for _ in range(4)]
    rows = zip(
        runs,
        ["infinity", "20000-01-01 UTC", None, None],
        ["now", "now", "-infinity", "now"],
        ["now", "now", "-infinity", "infinity"],
        strict=True,
    )
    for run, deadline, created, available in rows:
        conn.execute(
            f"""INSERT INTO "{schema}".workflow_runs (namespace_id, id, workflow_name, status,
                config, attempts, input, deadline_at, created_at, available_at, updated_at)
            VALUES ('default', $1, 'record', 'pending', '{{}}', 0, '{{"text": "hello"}}', $2, $3,
                $4, now())""".encode(),
            [run, deadline, created, available],
        )
    for run in runs[:3]:
        worker.await_outcome(run)
    worker.await_outcome(worker.start("record", text="hello"))
    worker.cancel(runs[3])
    assert worker.stop() == 0
    assert "Traceback" not in worker.log.text
