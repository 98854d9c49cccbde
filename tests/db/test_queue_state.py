"""The depth of queues: what is due and claimed by nobody, by workflow, counted up to a limit."""

from __future__ import annotations

import psycopg
import pytest

from owsuper.core.limits import Rate
from owsuper.db import queue_state
from owsuper.db.queue_state import QueueStateQueries
from tests.db.limits import Limits
from tests.db.rows import Tables, from_now
from tests.db.turns import Steps


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def depths(tables: Tables) -> dict[str, tuple[int, int]]:
    """The number of due runs and the age of the oldest in whole tens of seconds, by workflow."""
    found = QueueStateQueries(tables.schema, "default").state().run(tables.conn).queues
    return {each.workflow: (each.due, round(each.oldest_seconds, -1)) for each in found}


def test_an_empty_database_has_no_queues(tables: Tables) -> None:
    assert depths(tables) == {}


def test_runs_that_are_due_are_counted_whatever_their_version_and_status(tables: Tables) -> None:
    tables.pending(workflow_name="order", available_at=from_now(-600))
    tables.pending(workflow_name="order", version="2", available_at=from_now(-300))
    tables.parked(workflow_name="order", available_at=from_now(-1000))
    tables.parked(workflow_name="order", status="sleeping", available_at=from_now(-100))
    tables.parked(workflow_name="order")  # due in an hour
    tables.run(workflow_name="order", available_at=from_now(-5000))  # claimed
    tables.parked(workflow_name="order", status="completed", available_at=from_now(-5000))
    tables.parked(workflow_name="mail")
    tables.pending(workflow_name="audit", available_at=from_now(-60))
    tables.pending(workflow_name="audit", namespace_id="other", available_at=from_now(-6000))
    assert depths(tables) == {"audit": (1, 60), "mail": (0, 0), "order": (4, 1000)}


def test_a_due_time_before_all_times_is_an_age_of_ten_years(tables: Tables) -> None:
    tables.pending(available_at=from_now(-60))
    tables.conn.execute(f"UPDATE \"{tables.schema}\".workflow_runs SET available_at = '-infinity'")
    [depth] = QueueStateQueries(tables.schema, "default").state().run(tables.conn).queues
    assert 3650 * 86400 < depth.oldest_seconds < 3660 * 86400


def test_a_run_with_a_priority_is_not_older_than_it_is(tables: Tables) -> None:
    config = {"owsuper": {"priority": 50}}
    created = from_now(-100)
    tables.pending(available_at=from_now(-3100), created_at=created, config=config)
    assert depths(tables) == {"w": (1, 100)}


def test_a_long_queue_is_counted_up_to_a_limit(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue_state, "MOST_DUE", 3)
    for number in range(5):
        tables.pending(available_at=from_now(-100 * number))
    assert depths(tables) == {"w": (3, 400)}


def waits(tables: Tables) -> dict[str, tuple[int, int]]:
    """The number of runs that wait and the age of the oldest in whole tens of seconds, by limit."""
    found = QueueStateQueries(tables.schema, "default").state().run(tables.conn).limits
    return {each.limit: (each.waiting, round(each.oldest_seconds, -1)) for each in found}


def test_what_waits_for_a_limit_is_counted_for_all_its_keys(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert waits(tables) == {}
    limits = Limits(tables)
    limits.declare("places", 1, path=["t"])
    limits.rate(5, name="mail", workflows=("v",))
    for number in range(6):
        tables.pending(input={"t": number % 2}, available_at=from_now(-100 * (6 - number)))
    limits.claim(10)  # one of each key
    assert waits(tables) == {"mail": (0, 0), "places": (4, 400)}
    assert depths(tables) == {"w": (0, 0)}
    monkeypatch.setattr(queue_state, "MOST_DUE", 3)
    assert waits(tables)["places"][0] == 3


def test_steps_that_wait_for_a_limit_are_counted(tables: Tables) -> None:
    steps, run = Steps(tables), tables.run()
    for name in ("begins", "waits", "waits, too"):
        steps.take(run, Rate(1, per="1h", name="mail"), name)
    steps.wait(100)
    assert waits(tables) == {"mail": (2, 100)}


def test_runs_that_have_not_ended_are_counted_by_status(
    tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        tables.pending()
    tables.run()
    tables.run(status="completed")
    queries = QueueStateQueries(tables.schema, "default")
    expected = {"pending": 3, "running": 1, "sleeping": 0}
    assert queries.unfinished().run(tables.conn) == expected
    monkeypatch.setattr(queue_state, "MOST_UNFINISHED", 2)
    assert queries.unfinished().run(tables.conn) == {**expected, "pending": 2}


def test_one_session_asks_until_it_ends(tables: Tables, database_url: str, schema: str) -> None:
    statement, params = QueueStateQueries(schema, "default").watch()
    with psycopg.connect(database_url, autocommit=True, cursor_factory=psycopg.RawCursor) as first:
        assert first.execute(statement.query, params).fetchone() == ("true",)
        assert tables.conn.execute(statement.query, params).fetchone() == ("false",)
        elsewhere = QueueStateQueries(schema, "other").watch()[1]
        assert tables.conn.execute(statement.query, elsewhere).fetchone() == ("true",)
    tables.conn.execute("SELECT pg_advisory_unlock_all()")
