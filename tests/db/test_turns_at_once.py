"""Steps take turns at the same moment as others claim, or change the rate."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import psycopg
import pytest

from owsuper.core.limits import Rate
from owsuper.db import connect
from owsuper.db.related import Turn
from tests.db.limits import Limits
from tests.db.rows import Tables
from tests.db.turns import Steps
from tests.fixtures.postgres import wait_until_it_blocks

MONTHLY = Rate(1, per="30d", name="r")


@pytest.fixture
def steps(tables: Tables) -> Steps:
    return Steps(tables)


class Other:
    """Another session, in a transaction for as long as it takes to block the test's."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.conn = connect.connect(url, application_name="owsuper test")

    @contextmanager
    def meanwhile(self, work: Callable[[], object]) -> Iterator[psycopg.Connection]:
        """After the body, ``work`` begins, and waits for the commit."""
        thread = threading.Thread(target=work)
        with connect.connect(self._url, application_name="owsuper test") as watch:
            with self.conn.transaction():
                yield self.conn
                thread.start()
                wait_until_it_blocks(self.conn, watch)
            thread.join()


@pytest.fixture
def other(database_url: str) -> Iterator[Other]:
    session = Other(database_url)
    with session.conn:
        yield session


def set_amount(conn: psycopg.Connection, schema: str, amount: int) -> None:
    limits = f'"{schema}".owsuper_limits'
    conn.execute(f"UPDATE {limits} SET set_amount = $1 WHERE name = 'r'".encode(), [amount])


def test_a_step_that_asks_while_the_rate_is_raised_gets_a_turn_of_the_new_rate(
    steps: Steps, other: Other
) -> None:
    first, second, third = (steps.tables.run() for _ in range(3))
    assert steps.begins(first, MONTHLY)
    assert not steps.begins(second, MONTHLY)
    turns: list[Turn] = []
    with other.meanwhile(lambda: turns.append(steps.take(third, MONTHLY))) as conn:
        set_amount(conn, steps.tables.schema, 30 * 24 * 3600)
    [turn] = turns
    assert turn.at is not None
    assert turn.at - steps.now() <= timedelta(seconds=4)


def test_a_bucket_that_is_new_while_the_rate_is_raised_is_one_of_the_new_rate(
    steps: Steps, other: Other
) -> None:
    steps.take(steps.tables.run(), MONTHLY, key="known")
    run, schema = steps.tables.run(), steps.tables.schema
    with other.conn.transaction():
        Steps(Tables(other.conn, schema)).take(run, MONTHLY, key="new")
        set_amount(steps.tables.conn, schema, 30 * 24 * 3600)
    turn = steps.take(run, MONTHLY, key="new")
    assert turn.at is None or turn.at - steps.now() <= timedelta(seconds=4)


def test_a_run_and_a_step_that_come_to_a_new_bucket_at_once_begin_apart(
    steps: Steps, other: Other
) -> None:
    limits = Limits(steps.tables)
    limits.rate(period=30 * 24 * 3600.0)
    run = steps.tables.run()
    waiting = steps.tables.pending()
    claimed: list[str] = []
    with other.meanwhile(lambda: claimed.extend(limits.claim())) as conn:
        turn = Steps(Tables(conn, steps.tables.schema)).take(run, MONTHLY)
    assert turn.verdict == "begin"
    assert claimed == []
    assert steps.tables.fetch(waiting)["status"] == "pending"


def test_raising_the_rate_leaves_a_run_alone_that_waits_for_a_place(steps: Steps) -> None:
    """It was woken before its turn, so that its workflow's limit comes first."""
    limits = Limits(steps.tables)
    limits.declare("l", hold="executing")
    holder = steps.tables.pending()
    assert limits.claim() == [holder]
    run = steps.tables.run()
    steps.take(holder, MONTHLY)
    turn = steps.take(run, MONTHLY)
    assert turn.at is not None
    steps.tables.update("workflow_runs", run, worker_id=None, available_at=steps.now())
    assert limits.claim() == []
    set_amount(steps.tables.conn, steps.tables.schema, 2)
    limits.end(holder)
    assert limits.claim() == [run]


def test_a_run_that_is_executed_while_the_rate_is_raised_comes_back_at_the_new_turn(
    steps: Steps,
) -> None:
    run, old = steps.tables.run(), steps.now() + timedelta(days=30)
    steps.take(run, MONTHLY, "a")
    for step in "bc":
        assert not steps.begins(run, MONTHLY, step=step)
    set_amount(steps.tables.conn, steps.tables.schema, 30 * 24)
    turn = min(row["at"] for row in steps.tables.rows("owsuper_turns"))
    assert turn < old
    park = {"worker_id": None, "available_at": old}
    steps.tables.update("workflow_runs", run, **park)
    assert steps.tables.fetch(run)["available_at"] == turn
    steps.tables.update("workflow_runs", run, worker_id="w")
    steps.tables.update("workflow_runs", run, **park)  # for another reason than its turns
    assert steps.tables.fetch(run)["available_at"] == old
