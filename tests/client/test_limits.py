"""Limits are listed with what waits for them, and changed at run time; sync and async."""

from __future__ import annotations

from datetime import UTC
from typing import Any

import psycopg
import pytest

from owsuper import LimitKey, OpenWorkflow, ReasonKind
from owsuper.core.limits import Rate
from owsuper.db.limit_reads import MOST_COUNTED
from owsuper.errors import ConfigurationError, LimitNotFound
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.limits import Limits
from tests.db.rows import Tables, from_now
from tests.db.turns import Steps


@pytest.fixture
def limits(conn: psycopg.Connection[Any], schema: str) -> Limits:
    return Limits(Tables(conn, schema))


def start(limits: Limits, key: str, number: int = 1) -> None:
    for _ in range(number):
        limits.tables.pending(input={"t": key}, available_at=from_now(-1))


@sync_and_async
def test_limits_are_listed_with_what_is_held_and_what_waits(
    ow: OpenWorkflow, limits: Limits, call: Call
) -> None:
    limits.declare("places", 2, path=["t"], workflows=("w", "v"))
    limits.rate(5, 60.0, name="mail", burst=3, workflows=("v",))
    start(limits, "a", 4)
    start(limits, "b", 1)
    limits.claim(10)
    mail, places = call(ow, "list_limits")
    assert (mail.kind, mail.amount, mail.period, mail.burst) == ("rate", 5, 60.0, 3)
    assert (mail.keyed, mail.key, mail.workflows) == (False, None, ("v",))
    assert (places.kind, places.amount, places.period) == ("concurrency", 2, None)
    assert (places.keyed, places.key, places.workflows) == (True, "t", ("v", "w"))
    assert (places.held, places.waiting, places.keys) == (3, 2, ())


@sync_and_async
def test_a_limit_is_shown_with_its_keys(ow: OpenWorkflow, limits: Limits, call: Call) -> None:
    limits.declare("places", 1, path=["t"])
    start(limits, "a", 3)
    start(limits, "b", 1)
    limits.claim(10)
    first, second = call(ow, "get_limit", "places").keys
    assert (first.key, first.held, first.waiting) == ("a", 1, 2)
    assert first.since is not None
    assert second == LimitKey(key="b", held=1, waiting=0, since=None)


@sync_and_async
def test_an_amount_that_is_set_holds_until_it_is_reset(
    ow: OpenWorkflow, limits: Limits, call: Call
) -> None:
    limits.declare("places", 1)
    start(limits, "a", 4)
    assert len(limits.claim(10)) == 1
    changed = call(ow, "set_limit", "places", 3)
    assert (changed.amount, changed.declared_amount) == (3, 1)
    assert len(limits.claim(10)) == 2
    assert call(ow, "get_limit", "places").amount == 3
    again = call(ow, "reset_limit", "places")
    assert (again.amount, again.held, again.waiting) == (1, 3, 1)


@sync_and_async
@pytest.mark.parametrize("method", ["get_limit", "set_limit", "reset_limit"])
def test_a_name_that_there_is_not_is_refused_with_those_that_are_near(
    ow: OpenWorkflow, limits: Limits, call: Call, method: str
) -> None:
    arguments = (2,) if method == "set_limit" else ()
    with pytest.raises(LimitNotFound, match=r"No limit has the name 'place'\. There are none"):
        call(ow, method, "place", *arguments)
    limits.declare("places")
    with pytest.raises(LimitNotFound, match=r"'place'\. Did you mean 'places'\?"):
        call(ow, method, "place", *arguments)
    with pytest.raises(LimitNotFound, match=r"'x'\. There is 'places', for example"):
        call(ow, method, "x", *arguments)


@sync_and_async
@pytest.mark.parametrize("wrong", [0, -1, True, 1.5, "2", None])
def test_what_is_no_amount_is_refused(
    ow: OpenWorkflow, limits: Limits, call: Call, wrong: Any
) -> None:
    limits.declare("places")
    with pytest.raises(ConfigurationError, match=r"amount: .* must be a whole number from 1"):
        call(ow, "set_limit", "places", wrong)
    assert call(ow, "get_limit", "places").amount == 1


def test_counts_end_somewhere(ow: OpenWorkflow, limits: Limits) -> None:
    limits.declare("places", 1)
    limits.tables.conn.execute(
        f"""INSERT INTO "{limits.tables.schema}".owsuper_waiting
        SELECT 'default', n::text, 'w', '', 'places', '', now()
        FROM generate_series(1, {MOST_COUNTED + 9}) AS n"""
    )
    assert ow.list_limits()[0].waiting == MOST_COUNTED


class TestWhy:
    def test_a_run_says_for_which_limit_it_waits(self, ow: OpenWorkflow, limits: Limits) -> None:
        limits.declare("places", 1, path=["t"])
        runs = [
            limits.tables.pending(input={"t": "a"}, available_at=from_now(-9 + n)) for n in range(3)
        ]
        assert limits.claim(10) == runs[:1]
        [second] = ow.get_run(runs[1]).why()
        assert second.kind is ReasonKind.LIMIT
        assert second.message == (
            "it waits for the limit \"places\" of 'a': 1 of 1 place is taken, no run is before it"
        )
        assert second.since is not None
        [third] = ow.get_run(runs[2]).why()
        assert "1 run is before it" in third.message

    def test_runs_that_are_due_at_one_time_are_before_each_other_as_they_begin(
        self, ow: OpenWorkflow, limits: Limits
    ) -> None:
        limits.declare("places", 1)
        due = from_now(-9)
        runs = [limits.tables.pending(available_at=due) for _ in range(12)]
        began = limits.claim(10)
        said = {}
        for run in {*runs}.difference(began):
            [reason] = ow.get_run(run).why()
            said[run] = reason.message
        assert len(said) == 11
        for number in range(11):
            limits.end(began[-1])
            began += limits.claim(10)
            assert (
                f" {number or 'no'} run{'s are' if number > 1 else ' is'} before it"
                in (said[began[-1]])
            )

    def test_that_the_workflow_is_paused_is_said_too(
        self, ow: OpenWorkflow, limits: Limits
    ) -> None:
        limits.declare("places", 1)
        runs = [limits.tables.pending(available_at=from_now(-9 + n)) for n in range(2)]
        assert limits.claim(10) == runs[:1]
        ow.pause_workflow("w", reason="no paper")
        limit, pause = ow.get_run(runs[1]).why()
        assert (limit.kind, pause.kind) == (ReasonKind.LIMIT, ReasonKind.PAUSED)
        assert "no paper" in pause.message
        assert "9999" not in pause.message

    def test_a_rate_says_when_the_next_may_begin(self, ow: OpenWorkflow, limits: Limits) -> None:
        limits.rate(1, 3600.0, name="mail")
        first, second = (limits.tables.pending(available_at=from_now(-9 + n)) for n in range(2))
        assert limits.claim(10) == [first]
        assert limits.claim(10) == []
        [reason] = ow.get_run(second).why()
        assert reason.kind is ReasonKind.LIMIT
        assert 'for the limit "mail", at most 1 in 3600 s: no run is before it' in reason.message
        assert reason.until is not None

    def test_steps_that_wait_are_said_each_with_its_turn(
        self, ow: OpenWorkflow, limits: Limits
    ) -> None:
        steps, rate = Steps(limits.tables), Rate(1, per="1h", name="mail", key="t")
        run = limits.tables.run(workflow_name="w")
        for name in ("a", "b", "c"):
            turn = steps.take(run, rate, name, key="k")
        due = min(row["at"] for row in limits.tables.rows("owsuper_turns"))
        limits.tables.update("workflow_runs", run, worker_id=None, available_at=due)
        first, second = ow.get_run(run).why()
        assert (first.kind, first.step_name, first.until) == (ReasonKind.LIMIT, "b", due)
        assert (second.step_name, second.until) == ("c", turn.at)
        assert first.message == (
            'its step "b" waits for the limit "mail" of \'k\', at most 1 in 3600 s, until'
            f" {due.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
        )
        limit = ow.get_limit("mail")
        assert (limit.workflows, limit.waiting, limit.key) == (("w",), 2, "t")
        [key] = limit.keys
        assert (key.key, key.held, key.waiting) == ("k", 0, 2)
        assert key.since is not None
