"""Claims of runs that have limits."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow
from owsuper.db import connect
from owsuper.db.listen import runs_channel
from owsuper.db.sweeps import SweepQueries
from tests.db.limits import Limits
from tests.db.rows import Tables, from_now, perform

TENANT = {"path": ["tenant"]}


@pytest.fixture
def limits(tables: Tables) -> Limits:
    return Limits(tables)


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


def of(tables: Tables, tenant: Any, seconds: float = 1, **columns: Any) -> str:
    """A run of this tenant that was due so many seconds ago."""
    due = from_now(-seconds)
    return tables.pending(input={"tenant": tenant}, available_at=due, **columns)


# --- concurrency ---------------------------------------------------------------------------------


def test_no_more_runs_than_the_limit_are_claimed_and_the_oldest_first(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(amount=2)
    runs = [tables.pending(available_at=from_now(n - 10)) for n in range(4)]
    assert limits.claim() == runs[:2]
    assert limits.claim() == []
    limits.end(runs[1])
    assert limits.claim() == [runs[2]]
    assert limits.claim() == []
    limits.end(runs[0], "failed")
    limits.end(runs[2], "canceled")
    assert limits.claim() == [runs[3]]
    limits.end(runs[3])
    assert limits.claim() == []
    assert limits.places() == []
    for table in ("owsuper_waiting", "owsuper_lanes", "owsuper_freed"):
        assert tables.count(table) == 0


def test_each_key_has_its_own_places(limits: Limits, tables: Tables) -> None:
    limits.declare(**TENANT)
    first = [of(tables, "a", 10), of(tables, "b", 5)]
    later = [of(tables, "a"), of(tables, "b")]
    assert limits.claim() == first
    limits.end(first[1])
    assert limits.claim() == [later[1]]


def test_a_tenant_with_many_runs_delays_the_run_of_another_by_one(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(amount=100, **TENANT)
    many = [of(tables, "many", 100 - n) for n in range(50)]
    single = of(tables, "single")
    assert limits.claim(1) == many[:1]
    assert limits.claim(1) == [single]
    assert limits.claim(3) == many[1:4]


def test_among_the_runs_of_a_key_the_one_with_the_earliest_due_time_is_next(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(**TENANT)
    running = of(tables, "a", 10)
    assert limits.claim() == [running]
    later = of(tables, "a")
    priority = of(tables, "a", 300)
    assert limits.claim() == []
    limits.end(running)
    assert limits.claim() == [priority]
    limits.end(priority)
    assert limits.claim() == [later]


@pytest.mark.parametrize("key", [None, 7, True, {"a": [1]}, "", "ä" * 3000, "null"])
def test_a_key_may_be_any_value(limits: Limits, tables: Tables, key: Any) -> None:
    limits.declare(**TENANT)
    first, second, other = of(tables, key, 3), of(tables, key, 2), of(tables, "other")
    assert limits.claim() == [first, other]
    limits.end(first)
    assert limits.claim() == [second]


def test_a_run_can_say_its_key(limits: Limits, tables: Tables) -> None:
    limits.declare(**TENANT)
    said = {"owsuper": {"keys": {"l": "b"}}}
    first = of(tables, "a", 3)
    second = of(tables, "a", 2, config=said)
    third = of(tables, "b")
    assert limits.claim() == [first, second]
    limits.end(second)
    assert limits.claim() == [third]


@pytest.mark.parametrize("config", [[], 7, {"owsuper": 3}, {"owsuper": {"keys": [1]}}])
def test_config_may_be_anything(limits: Limits, tables: Tables, config: Any) -> None:
    limits.declare()
    first = tables.pending(available_at=from_now(-5), config=config)
    second = tables.pending()
    assert limits.claim() == [first]
    limits.end(first)
    assert limits.claim() == [second]


def test_a_claim_that_finds_nothing_says_that_nothing_is_due(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    assert limits.look().next_due is None
    running, waiting = tables.pending(available_at=from_now(-5)), tables.pending()
    assert limits.claim() == [running]
    limits.claim()
    assert limits.look().next_due is None  # the limit is reached
    limits.end(running)
    assert limits.claim() == [waiting]


def test_when_more_places_are_freed_than_one_claim_looks_at_the_next_follows_at_once(
    limits: Limits,
) -> None:
    limits.declare()
    limits.change(
        "INSERT INTO {schema}.owsuper_freed (namespace_id, limit_name, key)"
        " SELECT 'default', 'l', n FROM generate_series(1, 1001) AS n"
    )
    assert limits.look().next_due == 0
    assert limits.look().next_due is None


def test_a_single_run_does_not_wait_until_all_that_came_before_are_sorted(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(amount=100, **TENANT)
    limits.change(
        "INSERT INTO {schema}.workflow_runs (namespace_id, id, workflow_name, status, config,"
        " attempts, available_at, created_at, updated_at, input)"
        " SELECT 'default', n, 'w', 'pending', '{{}}', 0,"
        " now() - (60 - n / 100.0) * interval '1 s', now(), now(),"
        " jsonb_build_object('tenant', 'many') FROM generate_series(1, 5000) AS n"
    )
    single = of(tables, "single")
    assert limits.claim(1) == ["1"]
    assert limits.claim(1) == [single]
    assert limits.claim(3) == ["2", "3", "4"]
    while limits.look(1).next_due == 0:
        pass
    rows = tables.rows("owsuper_waiting")
    assert len(rows) + len(limits.places()) == 5001


def test_the_time_that_a_run_with_a_priority_waited_begins_with_its_creation(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    run = tables.pending(
        available_at=from_now(-7200), created_at=from_now(-60), config={"owsuper": {"priority": 99}}
    )
    waited = limits.look().waited
    assert waited.keys() == {run}
    assert waited[run] < 3600


def test_a_limit_is_shared_by_workflows_and_versions(limits: Limits, tables: Tables) -> None:
    limits.declare(amount=2, workflows=("w", "v"))
    runs = [
        tables.pending(workflow_name=name, version=version, available_at=from_now(n - 10))
        for n, (name, version) in enumerate([("w", None), ("v", "1"), ("v", None), ("w", "1")])
    ]
    served = [("w", None), ("w", "1"), ("v", None), ("v", "1")]
    assert sorted(limits.claim(10, *served)) == sorted(limits.places_of())
    assert tables.count("owsuper_waiting") == 2
    for run in limits.places_of():
        limits.end(run)
    assert len(limits.claim(10, ("v", None))) == 1
    assert len(limits.claim(10, *served)) == 1
    assert set(runs)


def test_runs_of_a_version_that_nobody_serves_do_not_stand_before_others(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    tables.pending(version="old", available_at=from_now(-50))
    new = tables.pending()
    assert limits.claim(10) == [new]


def test_a_run_that_was_released_has_its_place_and_needs_no_other(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    first, second = tables.pending(available_at=from_now(-5)), tables.pending()
    assert limits.claim() == [first]
    tables.update("workflow_runs", first, worker_id=None, available_at=from_now(-1))
    assert limits.claim() == [first]
    tables.update(
        "workflow_runs", first, status="pending", worker_id=None, available_at=from_now(-1)
    )
    assert limits.claim() == [first]
    assert limits.claim() == []
    limits.end(first)
    assert limits.claim() == [second]


def test_of_runs_that_go_on_the_one_that_waits_longest_is_next(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(amount=2, workflows=("w", "v"))
    served = [("w", None), ("v", None)]
    runs = [tables.pending(workflow_name=name) for name, _ in served]
    assert sorted(limits.claim(2, *served)) == sorted(runs)
    for run, seconds in zip(runs, (5, 9), strict=True):
        tables.update("workflow_runs", run, worker_id=None, available_at=from_now(-seconds))
    assert limits.claim(1, *served) == [runs[1]]


def test_a_run_that_is_given_another_due_time_while_it_waits_begins_then(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    put_off, last = tables.pending(available_at=from_now(-8)), tables.pending()
    assert limits.claim() == [running]
    tables.update("workflow_runs", put_off, available_at=from_now(3600))
    limits.end(running)
    assert limits.claim() == [last]
    limits.end(last)
    assert limits.claim() == []
    tables.update("workflow_runs", put_off, available_at=from_now(-1))
    assert limits.claim() == [put_off]


def test_a_run_that_is_woken_while_it_waits_keeps_its_turn(limits: Limits, tables: Tables) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    woken, last = [tables.pending(available_at=from_now(n - 8)) for n in range(2)]
    assert limits.claim() == [running]
    tables.update("workflow_runs", woken, available_at=from_now(-1))
    assert limits.claim() == []
    limits.end(running)
    assert limits.claim() == [woken]
    limits.end(woken)
    assert limits.claim() == [last]


def test_what_a_worker_of_another_language_gave_back_waits_in_peace(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    error = {"message": 'Workflow "w" is not registered'}
    waiting, later = (
        tables.pending(error=error, available_at=due) for due in (from_now(-1), from_now(60))
    )
    assert limits.claim() == [running]
    call = SweepQueries(tables.schema, "default").release_bounced([("w", None)])
    assert perform(tables.conn, call) == [(later.encode(),)]
    assert tables.fetch(waiting)["available_at"].year == 9999


def test_the_deletion_of_a_run_that_has_a_place_notifies(
    limits: Limits, tables: Tables, session: psycopg.Connection
) -> None:
    limits.declare()
    running = tables.pending()
    assert limits.claim() == [running]
    session.execute(f'LISTEN "{runs_channel(tables.schema, "default")}"')
    limits.change(f"DELETE FROM {{schema}}.workflow_runs WHERE id = '{running}'")
    assert len(list(session.notifies(timeout=20, stop_after=1))) == 1


@pytest.mark.parametrize("due", [from_now(3600), datetime(9999, 12, 31, tzinfo=UTC)])
def test_a_place_that_is_held_while_a_run_is_executed_is_free_while_it_is_parked(
    limits: Limits, tables: Tables, due: datetime
) -> None:
    limits.declare(hold="executing")
    first, second = tables.pending(available_at=from_now(-5)), tables.pending()
    assert limits.claim() == [first]
    tables.update("workflow_runs", first, worker_id=None, available_at=due)
    assert limits.claim() == [second]
    tables.update("workflow_runs", first, available_at=from_now(-1))
    assert limits.claim() == []
    limits.end(second)
    assert limits.claim() == [first]
    tables.update("workflow_runs", first, worker_id=None, available_at=from_now(-1))
    assert limits.claim() == [first]  # sorted, and given a place, by one claim
    assert limits.places() == [(first, "l")]
    limits.end(first)
    assert limits.places() == []


def test_runs_that_end_or_are_deleted_while_they_wait_leave_nothing(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    canceled = tables.pending(available_at=from_now(-8))
    deleted = tables.pending(available_at=from_now(-7))
    last = tables.pending()
    assert limits.claim() == [running]
    limits.end(canceled, "canceled")
    runs = f'"{tables.schema}".workflow_runs'
    tables.conn.execute(f"DELETE FROM {runs} WHERE id = $1", [deleted])
    assert tables.count("owsuper_waiting") == 1
    tables.conn.execute(f"DELETE FROM {runs} WHERE id = $1", [running])
    assert limits.claim() == [last]
    tables.conn.execute(f"TRUNCATE {runs} CASCADE")
    for table in ("owsuper_waiting", "owsuper_lanes", "owsuper_holds"):
        assert tables.count(table) == 0


def test_a_run_past_its_deadline_is_not_claimed(limits: Limits, tables: Tables) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    late = tables.pending(available_at=from_now(-8), deadline_at=from_now(3600))
    last = tables.pending()
    assert limits.claim() == [running]
    tables.update("workflow_runs", late, deadline_at=from_now(-1))
    limits.end(running)
    assert limits.claim() == [last]


def test_a_run_that_another_session_has_locked_is_skipped(
    limits: Limits, tables: Tables, session: psycopg.Connection
) -> None:
    limits.declare()
    running, locked, last = [tables.pending(available_at=from_now(n - 9)) for n in range(3)]
    assert limits.claim() == [running]
    limits.end(running)
    runs = f'"{tables.schema}".workflow_runs'
    with session.transaction():
        session.execute(f"SELECT FROM {runs} WHERE id = $1 FOR UPDATE", [locked])
        assert limits.claim() == [last]


def test_while_another_session_claims_nothing_is_claimed(
    limits: Limits, tables: Tables, session: psycopg.Connection
) -> None:
    limits.declare(amount=2)
    first, second = tables.pending(available_at=from_now(-9)), tables.pending()
    other = Limits(tables, session)
    with session.transaction():
        assert other.claim(1) == [first]
        claimed = limits.look()
        assert (claimed.runs, claimed.next_due, claimed.complete) == ([], 0.005, False)
    assert limits.claim() == [second]


def test_a_claim_that_is_rolled_back_takes_no_place(limits: Limits, tables: Tables) -> None:
    limits.declare()
    run = tables.pending()
    with tables.conn.transaction(force_rollback=True):
        assert limits.claim() == [run]
    assert limits.places() == []
    assert limits.claim() == [run]


# --- rates ---------------------------------------------------------------------------------------


def test_a_rate_lets_runs_begin_evenly_and_says_when_the_next_may(
    limits: Limits, tables: Tables
) -> None:
    limits.rate(2, period=3600.0)
    runs = [tables.pending(available_at=from_now(n - 9)) for n in range(3)]
    claimed = limits.look()
    assert [run.run_id for run in claimed.runs] == runs[:1]
    assert claimed.next_due is not None
    assert 1700 < claimed.next_due <= 1800
    limits.end(runs[0])
    assert limits.claim() == []
    table = f'"{tables.schema}".owsuper_gates'
    tables.conn.execute(f"UPDATE {table} SET tat = tat - interval '30 minutes'")
    tables.conn.execute(f'UPDATE "{tables.schema}".owsuper_lanes SET next_at = now()')
    assert limits.claim() == [runs[1]]


def test_a_burst_begins_at_once_and_each_key_has_its_own(limits: Limits, tables: Tables) -> None:
    limits.rate(10, period=36000.0, burst=3, **TENANT)
    a = [of(tables, "a", 50 - n) for n in range(5)]
    b = [of(tables, "b", 40 - n) for n in range(2)]
    assert sorted(limits.claim()) == sorted(a[:3] + b)
    assert tables.count("owsuper_holds") == 0


def test_a_run_that_comes_again_needs_no_rate(limits: Limits, tables: Tables) -> None:
    limits.rate()
    first, second = tables.pending(available_at=from_now(-9)), tables.pending()
    assert limits.claim() == [first]
    tables.update("workflow_runs", first, worker_id=None, available_at=from_now(-1))
    assert limits.claim() == [first]
    limits.end(first)
    assert limits.claim() == []
    assert tables.fetch(second)["status"] == "pending"


def test_a_run_that_goes_back_to_a_step_waits_for_a_place_and_needs_no_rate(
    limits: Limits, tables: Tables, database_url: str
) -> None:
    limits.declare()
    limits.rate(1)
    ended = tables.pending()
    assert limits.claim() == [ended]
    tables.step(ended, step_name="charge", status="completed")
    limits.end(ended)
    other = tables.pending(attempts=1)
    assert limits.claim() == [other]
    ow = OpenWorkflow(database_url, schema=tables.schema)
    ow.get_run(ended).retry("charge")
    ow.close()
    assert limits.claim() == []
    assert limits.places_of() == [other]
    limits.end(other)
    assert limits.claim() == [ended]
    assert limits.places_of() == [ended]
    limits.end(ended)
    assert limits.places() == []


def test_the_state_of_a_rate_is_forgotten_when_it_matters_no_more(
    limits: Limits, tables: Tables
) -> None:
    limits.rate(1000, period=0.001, **TENANT)
    for number in range(5):
        of(tables, str(number))
    assert len(limits.claim()) == 5
    limits.claim()
    assert tables.count("owsuper_gates") == 0


# --- several limits ------------------------------------------------------------------------------


def test_a_run_passes_its_limits_one_after_the_other(limits: Limits, tables: Tables) -> None:
    limits.declare("all", 2)
    limits.declare("tenant", 1, **TENANT)
    limits.rate(1, period=3600.0, burst=3)
    a = [of(tables, "a", 50 - n) for n in range(2)]
    b = [of(tables, "b", 40 - n) for n in range(2)]
    assert limits.claim() == [a[0]]  # the second of a has a place of all, and waits for the tenant
    limits.end(a[0])
    assert limits.claim() == [a[1], b[0]]
    limits.end(a[1])
    limits.end(b[0])
    assert limits.claim() == []  # the rate
    assert limits.places() == [(b[1], "all"), (b[1], "tenant")]
    limits.end(b[1], "canceled")
    assert limits.places() == []


def test_two_limits_of_one_kind_let_each_key_through_when_it_may(
    limits: Limits, tables: Tables
) -> None:
    limits.declare("a", 1, path=["x"])
    limits.declare("b", 1, path=["y"])
    inputs = [{"x": 1, "y": 1}, {"x": 2, "y": 1}, {"x": 1, "y": 2}, {"x": 2, "y": 2}]
    runs = [
        tables.pending(input=each, available_at=from_now(n - 9)) for n, each in enumerate(inputs)
    ]
    done: list[str] = []
    while claimed := limits.claim():
        assert len(claimed) <= 2
        done += claimed
        for run in claimed:
            limits.end(run)
    assert sorted(done) == sorted(runs)
    assert limits.places() == []


def test_runs_that_give_a_place_back_while_they_wait_and_runs_that_keep_one_do_not_block_each_other(
    limits: Limits, tables: Tables
) -> None:
    limits.declare("a", hold="executing")
    limits.declare("b")
    first, second = tables.pending(available_at=from_now(-9)), tables.pending()
    assert limits.claim() == [first]
    tables.update("workflow_runs", first, worker_id=None, available_at=from_now(3600))
    assert limits.claim() == []
    assert limits.places() == [(first, "b")]
    tables.update("workflow_runs", first, available_at=from_now(-1))
    assert limits.claim() == [first]
    limits.end(first)
    assert limits.claim() == [second]
    limits.end(second)
    assert limits.places() == []


# --- changes -------------------------------------------------------------------------------------


def test_a_run_does_not_wait_for_a_new_limit_that_comes_before_one_whose_place_it_has(
    limits: Limits, tables: Tables
) -> None:
    limits.declare("b")
    first = tables.pending(available_at=from_now(-9))
    assert limits.claim() == [first]
    limits.declare("a")
    second = tables.pending()
    assert limits.claim() == []  # it has a place of a, and waits for b
    tables.update("workflow_runs", first, worker_id=None, available_at=from_now(-1))
    assert limits.claim() == [first]
    limits.end(first)
    assert limits.claim() == [second]


def test_what_waits_obeys_a_limit_that_is_new(limits: Limits, tables: Tables) -> None:
    limits.declare("b")
    runs = [tables.pending(available_at=from_now(n - 9)) for n in range(3)]
    assert limits.claim() == runs[:1]
    limits.declare("a")
    limits.change("UPDATE {schema}.owsuper_limits SET set_amount = 5 WHERE name = 'b'")
    assert limits.claim() == [runs[1]]
    limits.end(runs[1])
    assert limits.claim() == [runs[2]]


def test_a_higher_rate_counts_at_once(limits: Limits, tables: Tables) -> None:
    limits.rate(1, period=36_000.0)
    first, second = tables.pending(available_at=from_now(-9)), tables.pending()
    assert limits.claim() == [first]
    limits.change("UPDATE {schema}.owsuper_limits SET set_amount = 36000000")
    for _ in range(100):
        if claimed := limits.claim():
            break
    assert claimed == [second]


def test_a_run_whose_limit_is_lost_is_due_again(limits: Limits, tables: Tables) -> None:
    limits.declare()
    running, waiting = tables.pending(available_at=from_now(-9)), tables.pending()
    assert limits.claim() == [running]
    limits.change("DELETE FROM {schema}.owsuper_limits")  # and the workflow still names it
    assert limits.claim() + limits.claim() == [waiting]


def test_a_limit_that_comes_back_counts_the_runs_that_have_its_places(
    limits: Limits, tables: Tables
) -> None:
    limits.declare()
    running = tables.pending(available_at=from_now(-9))
    assert limits.claim() == [running]
    limits.change("DELETE FROM {schema}.owsuper_limit_workflows")
    limits.change("DELETE FROM {schema}.owsuper_limits")
    limits.declare()
    waiting = tables.pending()
    assert limits.claim() == []
    limits.end(running)
    assert limits.claim() == [waiting]


def test_a_higher_amount_counts_at_once_and_a_lower_one_stops_nothing(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(**TENANT)
    runs = [of(tables, "a", 50 - n) for n in range(5)]
    assert limits.claim() == runs[:1]
    table = f'"{tables.schema}".owsuper_limits'
    tables.conn.execute(f"UPDATE {table} SET set_amount = 3")
    assert limits.claim() == runs[1:3]
    tables.conn.execute(f"UPDATE {table} SET set_amount = NULL")
    for run in runs[:2]:
        limits.end(run)
        assert limits.claim() == []
    limits.end(runs[2])
    assert limits.claim() == [runs[3]]


def test_what_waits_for_a_limit_that_is_gone_is_due_again(limits: Limits, tables: Tables) -> None:
    limits.declare()
    running, waiting = tables.pending(available_at=from_now(-9)), tables.pending()
    due = tables.fetch(waiting)["available_at"]
    assert limits.claim() == [running]
    assert limits.claim() == []
    assert tables.fetch(waiting)["available_at"].year == 9999
    tables.conn.execute(f'DELETE FROM "{tables.schema}".owsuper_limit_workflows')
    tables.conn.execute(f'DELETE FROM "{tables.schema}".owsuper_limits')
    assert tables.fetch(waiting)["available_at"] == due
    for table in ("owsuper_waiting", "owsuper_lanes"):
        assert tables.count(table) == 0
    assert limits.claim() == [waiting]
    limits.end(running)
    assert limits.places() == []


def test_what_waits_for_a_limit_with_another_key_is_sorted_again(
    limits: Limits, tables: Tables
) -> None:
    limits.declare(**TENANT)
    runs = [
        tables.pending(input={"tenant": "a", "user": n}, available_at=from_now(n - 9))
        for n in range(3)
    ]
    assert limits.claim() == runs[:1]
    table = f'"{tables.schema}".owsuper_limits'
    tables.conn.execute(f"UPDATE {table} SET path = '{{user}}', loaded_at = now()")
    assert limits.claim() == runs[1:]


def test_a_claim_says_when_a_run_is_due_that_starts_later(limits: Limits, tables: Tables) -> None:
    limits.declare()
    tables.pending(available_at=from_now(3600))
    next_due = limits.look().next_due
    assert next_due is not None
    assert timedelta(minutes=59) < timedelta(seconds=next_due) <= timedelta(hours=1)
