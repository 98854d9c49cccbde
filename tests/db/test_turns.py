"""Steps take tokens of a rate, or turns to wait for."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import psycopg
import pytest

from owsuper.core.limits import Rate
from owsuper.db.limits import LimitQueries
from tests.db.limits import Limits
from tests.db.rows import Tables, perform
from tests.db.turns import Steps

LATER = "9000-01-01"


@pytest.fixture
def steps(tables: Tables) -> Steps:
    return Steps(tables)


def runs_of(steps: Steps, count: int) -> list[str]:
    return [steps.tables.run() for _ in range(count)]


HOURLY = Rate(1, per="1h", name="r")


def test_a_step_begins_at_once_and_the_next_ones_get_turns_in_the_order_in_which_they_came(
    steps: Steps,
) -> None:
    first, second, third = runs_of(steps, 3)
    assert steps.begins(first, HOURLY)
    waits = [steps.take(run, HOURLY) for run in (second, third)]
    assert [each.verdict for each in waits] == ["wait", "wait"]
    assert steps.turns() == [second, third]
    turns = [each.at for each in waits if each.at is not None]
    assert turns[1] - turns[0] == timedelta(hours=1)


def test_a_step_that_asks_again_keeps_its_turn_and_takes_it_once(steps: Steps) -> None:
    first, second = runs_of(steps, 2)
    assert steps.begins(first, HOURLY)
    before = steps.take(second, HOURLY)
    assert steps.take(second, HOURLY) == before
    steps.wait(3600)
    assert steps.begins(second, HOURLY)
    assert not steps.begins(second, HOURLY)  # its next attempt takes a token of its own


def test_a_step_with_another_limit_gives_up_the_turn_that_it_had(steps: Steps) -> None:
    first, second = runs_of(steps, 2)
    for run in (first, second):
        steps.take(run, HOURLY)
    assert steps.begins(second, Rate(1, per="1h", name="other"))
    assert steps.turns() == []
    assert not steps.begins(first, Rate(1, per="1h", name="other"))
    steps.take(first, HOURLY)
    [turn] = steps.tables.rows("owsuper_turns")
    assert turn["limit_name"] == "r"


def test_who_comes_late_goes_after_those_who_have_turns(steps: Steps) -> None:
    first, second, third, fourth = runs_of(steps, 4)
    for run in (first, second, third):
        steps.take(run, HOURLY)
    steps.wait(1800)
    steps.take(fourth, HOURLY)
    assert steps.turns() == [second, third, fourth]
    steps.wait(1800)
    assert steps.begins(second, HOURLY)
    assert steps.turns() == [third, fourth]


def test_those_who_come_together_after_an_outage_begin_apart(steps: Steps) -> None:
    runs = runs_of(steps, 6)
    for run in runs:
        steps.take(run, HOURLY)
    steps.wait(10 * 3600)
    for hour in range(5):
        began = [run for run in steps.turns() if steps.begins(run, HOURLY)]
        assert len(began) == 1, hour
        steps.wait(3600)
    assert steps.turns() == []


def test_a_burst_begins_at_once(steps: Steps) -> None:
    rate = Rate(1, per="1h", burst=3, name="r")
    assert [steps.begins(run, rate) for run in runs_of(steps, 5)] == [True] * 3 + [False] * 2


def test_keys_have_buckets_of_their_own(steps: Steps) -> None:
    rate = Rate(1, per="1h", key="tenant", name="r")
    one, other, third = runs_of(steps, 3)
    assert steps.begins(one, rate, key="a")
    assert steps.begins(other, rate, key="b")
    assert not steps.begins(third, rate, key="a")
    assert steps.begins(third, rate, step="t", key="long" * 1000)


def test_a_token_that_comes_soon_is_taken_now(steps: Steps) -> None:
    one, other, third = runs_of(steps, 3)
    steps.take(one, HOURLY)
    steps.wait(3000)
    turn = steps.take(other, HOURLY, soon=1000)
    assert turn.verdict == "begin"
    assert 500 < turn.seconds <= 600
    assert steps.take(third, HOURLY, soon=1000).verdict == "wait"


def test_several_steps_of_a_run_wait_at_once_and_are_read_together(steps: Steps) -> None:
    run = steps.tables.run()
    assert steps.begins(run, HOURLY, step="a")
    b, c = steps.take(run, HOURLY, "b"), steps.take(run, HOURLY, "c")
    found = steps.take(run, HOURLY, "b", others=True)
    assert found.at == b.at
    assert found.others == {"c": c.at}


def test_runs_that_ended_while_they_waited_delay_nobody(steps: Steps) -> None:
    runs = runs_of(steps, 9)
    for run in runs:
        steps.take(run, HOURLY)
    for run in runs[1:]:
        steps.tables.update("workflow_runs", run, status="canceled")
    turn = steps.take(steps.tables.run(), HOURLY)
    assert turn.at is not None
    assert turn.at - steps.now() <= timedelta(hours=1)


def test_a_run_that_ends_gives_up_its_turns(steps: Steps) -> None:
    first, second, third = runs_of(steps, 3)
    for run in (first, second, third):
        steps.take(run, HOURLY)
    steps.tables.update("workflow_runs", second, status="canceled")
    assert steps.turns() == [third]
    steps.tables.conn.execute(
        f'DELETE FROM "{steps.tables.schema}".workflow_runs WHERE id = $1', [third]
    )
    assert steps.turns() == []


@pytest.mark.parametrize("changes", [{"worker_id": "other"}, {"status": "canceled"}])
def test_who_has_lost_the_run_gets_no_turn(steps: Steps, changes: dict[str, Any]) -> None:
    first, lost, third = runs_of(steps, 3)
    steps.take(first, HOURLY)
    steps.tables.update("workflow_runs", lost, **changes)
    assert steps.take(lost, HOURLY).verdict == "lost"
    assert steps.turns() == []
    turn = steps.take(third, HOURLY)
    assert turn.at is not None
    assert turn.at - steps.now() <= timedelta(hours=1)


def test_the_limit_is_stored_when_it_is_first_used_and_newer_code_changes_it(steps: Steps) -> None:
    run = steps.tables.run()
    steps.take(run, HOURLY)
    steps.take(run, Rate(2, per="1h", burst=7, name="r"), loaded="2025-01-01")
    [limit] = steps.tables.rows("owsuper_limits")
    assert (limit["kind"], limit["amount"], limit["period"], limit["burst"]) == ("rate", 1, 3600, 1)
    steps.take(run, Rate(2, per="1h", burst=7, name="r"), loaded="2026-06-01")
    [limit] = steps.tables.rows("owsuper_limits")
    assert (limit["amount"], limit["burst"]) == (2, 7)
    [user] = steps.tables.rows("owsuper_limit_steps")
    assert (user["limit_name"], user["workflow_name"]) == ("r", "w")


def test_a_limit_of_another_kind_is_left_alone(steps: Steps) -> None:
    limits = Limits(steps.tables)
    limits.declare("r", 2)
    assert steps.take(steps.tables.run(), HOURLY, loaded=LATER).verdict == "no rate"
    [limit] = steps.tables.rows("owsuper_limits")
    assert limit["kind"] == "concurrency"


def test_steps_and_workflows_share_the_bucket_of_a_name(steps: Steps) -> None:
    limits = Limits(steps.tables)
    limits.rate()
    begun = limits.claim(1) or [steps.tables.pending()]
    assert limits.claim(1) == begun
    assert not steps.begins(steps.tables.run(), HOURLY)
    steps.wait(7200)
    assert steps.begins(steps.tables.run(), HOURLY)
    steps.tables.pending()
    assert limits.claim(1) == []


def test_a_limit_that_workflows_have_no_more_stays_while_steps_use_it(steps: Steps) -> None:
    limits = Limits(steps.tables)
    limits.rate()
    steps.take(steps.tables.run(), HOURLY)
    queries = LimitQueries(steps.tables.schema, "default")
    perform(steps.tables.conn, queries.register([], ["w"], LATER))
    assert steps.tables.count("owsuper_limit_workflows") == 0
    assert steps.tables.count("owsuper_limits") == 1
    assert steps.tables.count("owsuper_gates") == 1


def set_amount(steps: Steps, amount: int) -> None:
    steps.tables.conn.execute(
        f'UPDATE "{steps.tables.schema}".owsuper_limits SET set_amount = $1', [amount]
    )


def test_a_higher_amount_brings_what_waits_back_earlier(steps: Steps) -> None:
    runs = runs_of(steps, 4)
    for run in runs:
        turn = steps.take(run, HOURLY)
        if turn.at is not None:
            steps.tables.update("workflow_runs", run, worker_id=None, available_at=turn.at)
    set_amount(steps, 3600)
    rows = steps.tables.rows("workflow_runs", "worker_id IS NULL")
    now = steps.now()
    assert len(rows) == 3
    assert all(row["available_at"] - now < timedelta(seconds=4) for row in rows)
    assert {row["available_at"] for row in rows} == {
        row["at"] for row in steps.tables.rows("owsuper_turns")
    }


def test_a_lower_amount_holds_for_what_waits(steps: Steps) -> None:
    rate = Rate(3600, per="1h", name="r")
    runs = runs_of(steps, 4)
    for run in runs:
        steps.take(run, rate)
    set_amount(steps, 1)
    steps.wait(10)
    assert len([run for run in steps.turns() if steps.begins(run, rate)]) <= 1
    steps.wait(60)
    assert not any(steps.begins(run, rate) for run in steps.turns())


def most_in(times: Sequence[datetime], period: float) -> int:
    span = timedelta(seconds=period)
    return max(sum(start <= each < start + span for each in times) for start in times)


@pytest.mark.parametrize("burst", [1, 4])
def test_never_more_than_the_amount_begin_in_a_period_whoever_comes_late(
    steps: Steps, conn: psycopg.Connection, burst: int
) -> None:
    """Steps come, wait, come back late or too early, and give up, at random times."""
    rate, chance = Rate(6, per="60s", burst=burst, name="r"), random.Random(burst)
    began: list[datetime] = []
    waiting: dict[str, float] = {}
    conn.execute("SET synchronous_commit = off")
    for turn_number in range(60):
        if turn_number < 40:
            waiting |= dict.fromkeys(runs_of(steps, chance.choice([0, 0, 1, 2])), 0.0)
        for run in chance.sample(list(waiting), len(waiting)):
            if waiting[run] > steps.passed + chance.choice([0, 0, 5, -20]):
                continue
            if turn_number < 40 and chance.random() < 0.05:
                steps.tables.update("workflow_runs", run, status="canceled")
                del waiting[run]
                continue
            now = steps.now()
            turn = steps.take(run, rate, soon=2.0)
            if turn.verdict == "begin":
                began.append(now + timedelta(seconds=turn.seconds))
                del waiting[run]
            else:
                assert turn.at is not None
                waiting[run] = (turn.at - steps.now()).total_seconds() + 2 * steps.passed
        steps.wait(chance.choice([1, 3, 10, 40]) if turn_number < 40 else 30)
    assert len(began) > 20
    assert most_in(began, 59.0) <= 6 + burst - 1  # the clock goes on while statements run
    assert waiting == {}
