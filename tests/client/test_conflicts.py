"""Limits with on_conflict: one start decides, however many come at once; sync and async."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from owsuper import Concurrency, OpenWorkflow, RunStatus, Workflow
from owsuper.db.sweeps import SweepQueries
from owsuper.errors import ConfigurationError
from tests.client.conftest import Rows, eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.limits import Limits
from tests.db.rows import Tables, perform


def flow(ow: OpenWorkflow, on_conflict: Any, amount: int = 1, **more: Any) -> Workflow[Any, Any]:
    limit = Concurrency(amount, key="t", name="l", on_conflict=on_conflict, **more)

    @ow.workflow("flow", limits=[limit])
    def flow(step: Any, input: Any) -> None: ...

    return flow


def statuses(ow: OpenWorkflow) -> list[str]:
    return [str(run.status) for run in reversed(ow.list_runs().items)]


@sync_and_async
class TestDrop:
    def test_no_run_is_started_while_there_is_one_of_the_key(
        self, ow: OpenWorkflow, rows: Rows, call: Call
    ) -> None:
        sync = flow(ow, "drop")
        first = call(sync, "run", {"t": "a", "n": 1})
        assert call(sync, "run", {"t": "a", "n": 2}).id == first.id
        other = call(sync, "run", {"t": "b"})
        assert rows.get(first.id)["input"] == {"t": "a", "n": 1}
        rows.end(first.id)
        again = call(sync, "run", {"t": "a", "n": 3})
        assert len({first.id, other.id, again.id}) == 3
        assert len(ow.list_runs().items) == 3

    def test_as_many_are_started_as_may_be_there(
        self, ow: OpenWorkflow, rows: Rows, call: Call
    ) -> None:
        sync = flow(ow, "drop", 2)
        runs = [call(sync, "run", {"t": "a"}).id for _ in range(3)]
        assert runs[0] != runs[1] == runs[2]


@sync_and_async
class TestReplace:
    def test_the_oldest_is_canceled(self, ow: OpenWorkflow, call: Call) -> None:
        sync = flow(ow, "replace", 2)
        runs = [call(sync, "run", {"t": "a"}) for _ in range(4)]
        assert len({run.id for run in runs}) == 4
        assert statuses(ow) == ["canceled", "canceled", "pending", "pending"]
        assert [call(run, "status") for run in runs[:2]] == [RunStatus.CANCELED] * 2

    def test_other_keys_are_left_alone(self, ow: OpenWorkflow, call: Call) -> None:
        sync = flow(ow, "replace")
        for key in ("a", "b", "b"):
            call(sync, "run", {"t": key})
        assert statuses(ow) == ["pending", "canceled", "pending"]


@sync_and_async
class TestDebounce:
    def test_the_last_input_wins_and_the_delay_begins_anew(
        self, ow: OpenWorkflow, rows: Rows, call: Call
    ) -> None:
        sync = flow(ow, "debounce", delay="1h")
        first = call(sync, "run", {"t": "a", "n": 1})
        before = rows.get(first.id)["available_at"]
        assert call(sync, "run", {"t": "a", "n": 2}).id == first.id
        row = rows.get(first.id)
        assert row["input"] == {"t": "a", "n": 2}
        assert before < row["available_at"]
        assert (row["available_at"] - row["updated_at"]).total_seconds() == 3600
        assert row["config"] == {"owsuper": {"keys": {"l": "a"}}}

    def test_a_run_that_has_begun_is_left_alone(
        self, ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, schema: str, call: Call
    ) -> None:
        sync = flow(ow, "debounce", delay="1h")
        first = call(sync, "run", {"t": "a", "n": 1})
        conn.execute(f"UPDATE \"{schema}\".workflow_runs SET status = 'running', attempts = 1")
        second = call(sync, "run", {"t": "a", "n": 2})
        assert second.id != first.id
        assert rows.get(first.id)["input"]["n"] == 1
        assert call(sync, "run", {"t": "a", "n": 3}).id == second.id

    def test_a_run_of_another_version_keeps_its_input(
        self, ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, schema: str, call: Call
    ) -> None:
        sync = flow(ow, "debounce", delay="1h")
        first = call(sync, "run", {"t": "a", "n": 1})
        conn.execute(f"UPDATE \"{schema}\".workflow_runs SET version = 'other'")
        second = call(sync, "run", {"t": "a", "n": 2})
        assert second.id != first.id
        assert rows.get(first.id)["input"]["n"] == 1
        assert call(sync, "run", {"t": "a", "n": 3}).id == second.id

    def test_a_run_that_waits_for_its_turn_keeps_it(
        self, ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, schema: str, call: Call
    ) -> None:
        sync = flow(ow, "debounce", delay="1h")
        first = call(sync, "run", {"t": "a", "n": 1})
        conn.execute(
            f"""UPDATE "{schema}".workflow_runs SET available_at = '9999-01-01 00:00:00+00',
            config = jsonb_set(config, '{{owsuper,limited}}', 'true')"""
        )
        assert call(sync, "run", {"t": "a", "n": 2}).id == first.id
        row = rows.get(first.id)
        assert (row["input"]["n"], row["available_at"].year) == (2, 9999)
        assert row["config"]["owsuper"] == {"limited": True, "keys": {"l": "a"}}

    def test_a_run_that_waits_for_a_place_of_another_limit_waits_for_that_of_its_last_input(
        self, ow: OpenWorkflow, conn: psycopg.Connection, schema: str, call: Call
    ) -> None:
        limits = Limits(Tables(conn, schema))
        limits.declare("l", workflows=["flow"], path=["t"])
        limits.declare("m", workflows=["flow"], path=["place"])
        singleton = Concurrency(1, key="t", name="l", on_conflict="debounce", delay="1ms")
        place = Concurrency(1, key="place", name="m")

        @ow.workflow("flow", limits=[singleton, place])
        def sync(step: Any, input: Any) -> None: ...

        holder, waiting = (call(sync, "run", {"t": t, "place": "x"}).id for t in "ab")
        due = (
            f'SELECT bool_and(available_at < now()) FROM "{schema}".workflow_runs'
            " WHERE available_at < '9999-01-01'"
        ).encode()
        eventually(lambda: conn.execute(due).fetchall() == [(True,)])
        assert limits.claim(10, ("flow", None)) == [holder]
        assert call(sync, "run", {"t": "b", "place": "y"}).id == waiting
        assert limits.claim(10, ("flow", None)) == [waiting]
        assert limits.places() == sorted((run, name) for run in (holder, waiting) for name in "lm")


@pytest.mark.parametrize("policy", ["drop", "replace", "debounce"])
def test_of_starts_at_the_same_time_one_run_is_left(ow: OpenWorkflow, policy: str) -> None:
    limited = flow(ow, policy, **({"delay": "1h"} if policy == "debounce" else {}))
    with ThreadPoolExecutor(8) as threads:
        runs = list(threads.map(lambda n: limited.run({"t": "a", "n": n}), range(16)))
    open_ones = [run for run in ow.list_runs().items if not run.status.is_terminal]
    assert len(open_ones) == 1
    assert len({run.id for run in runs}) == (16 if policy == "replace" else 1)


def test_a_transaction_of_the_caller_decides_at_its_commit(
    database_url: str, ow: OpenWorkflow
) -> None:
    limited = flow(ow, "drop")
    with psycopg.connect(database_url) as connection:
        run = limited.run({"t": "a"}, connection=connection)
        connection.rollback()
        again = limited.run({"t": "a"}, connection=connection)
        assert again.id != run.id
    assert limited.run({"t": "a"}).id == again.id


def test_a_transaction_of_another_level_is_refused(database_url: str, ow: OpenWorkflow) -> None:
    with psycopg.connect(database_url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(ConfigurationError, match=r"a limit with on_conflict needs the isol"):
            flow(ow, "drop").run({"t": "a"}, connection=connection)


def test_a_run_that_continued_as_new_is_still_there(
    ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, schema: str
) -> None:
    limited = flow(ow, "drop")
    first = limited.run({"t": "a"}).id
    for after in ("after-1", "after-2"):
        conn.execute(
            f"""INSERT INTO "{schema}".workflow_runs SELECT (r).* FROM (
                SELECT jsonb_populate_record(w, '{{"id": "{after}"}}') AS r
                FROM "{schema}".workflow_runs AS w WHERE id = $1) AS s""",
            (first,),
        )
        rows.end(first, continued_as=after)
        first = after
        assert limited.run({"t": "a"}).id == after
    rows.end(first)
    assert limited.run({"t": "a"}).id != first


def test_starts_by_name_are_not_decided_about(ow: OpenWorkflow) -> None:
    limited = flow(ow, "drop")
    runs = {limited.run({"t": "a"}).id, *(ow.run_workflow("flow", {"t": "a"}).id for _ in "12")}
    assert len(runs) == 3


@sync_and_async
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"id": "x"}, r'id: leave it out, because the limit "l" of workflow "flow"'),
        ({"idempotency_key": "x"}, r'idempotency_key: leave it out, because the limit "l"'),
    ],
)
def test_what_contradicts_the_limit_is_refused(
    ow: OpenWorkflow, options: Any, message: str, call: Call
) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call(flow(ow, "drop"), "run", {"t": "a"}, **options)
    assert not ow.list_runs().items


def test_starts_in_one_call_and_later_ones_are_refused(ow: OpenWorkflow) -> None:
    limited = flow(ow, "debounce", delay="1h")
    with pytest.raises(ConfigurationError, match=r'run_many: start the runs of workflow "flow" on'):
        limited.run_many([{"t": "a"}])
    with pytest.raises(ConfigurationError, match=r"available_at: leave it out, because the limit"):
        limited.run({"t": "a"}, available_at="1h")
    assert not ow.list_runs().items


def test_what_was_noted_about_ended_runs_is_forgotten(
    ow: OpenWorkflow, rows: Rows, conn: psycopg.Connection, schema: str
) -> None:
    limited = flow(ow, "drop")
    ended, left = limited.run({"t": "a"}).id, limited.run({"t": "b"}).id
    rows.end(ended)
    noted = f'SELECT workflow_run_id FROM "{schema}".owsuper_conflicts'
    forget = SweepQueries(schema, "default").forget_ended()
    perform(conn, forget)
    assert len(conn.execute(noted).fetchall()) == 2  # they may have been noted just now
    conn.execute(f"UPDATE \"{schema}\".owsuper_conflicts SET created_at = now() - interval '1 h'")
    perform(conn, forget)
    assert conn.execute(noted).fetchall() == [(left,)]


@pytest.mark.parametrize("key", ["t", None])
@sync_and_async
def test_a_run_that_is_retried_is_there_again_for_the_starts_of_its_key(
    ow: OpenWorkflow,
    rows: Rows,
    conn: psycopg.Connection,
    schema: str,
    call: Call,
    key: str | None,
) -> None:
    path = None if key is None else [key]
    Limits(Tables(conn, schema)).declare("l", workflows=["flow"], path=path, on_conflict="drop")
    limit = Concurrency(1, key=key, name="l", on_conflict="drop")

    @ow.workflow("flow", limits=[limit])
    def sync(step: Any, input: Any) -> None: ...

    first = call(sync, "run", {"t": "a"})
    rows.end(first.id, status="failed")
    second = call(sync, "run", {"t": "a"})
    assert second.id != first.id
    rows.end(second.id)
    call(first, "retry")
    assert call(sync, "run", {"t": "a"}).id == first.id
    assert call(sync, "run", {"t": "b"}).id != first.id or key is None
