"""Which runs are deleted, what goes with them, and what keeps a run."""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, Step
from owsuper.db import connect, pruning
from owsuper.db.pruning import Doomed, PruneQueries
from owsuper.errors import ConfigurationError, InvalidDuration, RunNotFound
from owsuper.retention import passes
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.retention.conftest import DAY, Ended, from_now


@sync_and_async
def test_runs_that_ended_long_ago_are_deleted_and_no_others(
    ow: OpenWorkflow, tables: Ended, call: Call
) -> None:
    old = {tables.ended(31, status=status) for status in ("completed", "failed", "canceled")}
    legacy = tables.ended(31, status="succeeded")
    recent = tables.ended(29)
    slow = tables.ended(31, finished_at=from_now(-DAY))
    active = {tables.run(created_at=from_now(-100 * DAY)), tables.pending()}
    assert call(ow, "prune_runs", "30d", dry_run=True) == 4
    assert old | {legacy} <= tables.ids()
    assert call(ow, "prune_runs", "30d") == 4
    assert tables.ids() == {recent, slow} | active
    with pytest.raises(RunNotFound):
        ow.get_run(legacy).details()


def test_the_filters_hold_together(ow: OpenWorkflow, tables: Ended) -> None:
    failed = tables.ended(31, status="failed", workflow_name="nightly")
    others = {
        tables.ended(31, workflow_name="nightly"),
        tables.ended(31, status="failed", workflow_name="daily"),
    }
    nightly: Any = ow.workflow("nightly")(_nothing)
    assert ow.prune_runs("30d", status="failed", workflow=nightly) == 1
    assert tables.ids() == others
    assert failed not in others
    assert ow.prune_runs("30d", workflow="nobody") == 0


def _nothing(step: Step) -> None: ...


@pytest.mark.parametrize("status", ["pending", "running", "failed", "completed", "canceled"])
def test_a_run_stays_until_it_is_undone(ow: OpenWorkflow, tables: Ended, status: str) -> None:
    undo = tables.run(workflow_name="undo:w", status=status)
    run = tables.ended(31, status="failed", context={"undoneBy": undo})
    assert ow.prune_runs("30d") == (status in ("completed", "canceled"))
    assert (run in tables.ids()) == (status not in ("completed", "canceled"))


def test_an_undo_that_has_failed_stays_until_it_is_retried_or_skipped(
    ow: OpenWorkflow, tables: Ended
) -> None:
    failed = tables.ended(31, status="failed", workflow_name="undo:w", context={"undoOf": "1"})
    tables.ended(31, status="completed", workflow_name="undo:w", context={"undoOf": "2"})
    assert ow.prune_runs("30d") == 1
    assert ow.prune_runs("30d", workflow="undo:w") == 0
    assert tables.ids() == {failed}


def test_all_that_belongs_to_a_run_goes_with_it(
    ow: OpenWorkflow, tables: Ended, conn: psycopg.Connection, schema: str
) -> None:
    kept, gone = tables.ended(1), tables.ended(31)
    for run in (kept, gone):
        step = tables.signal_wait(run)
        conn.execute(
            f'INSERT INTO "{schema}".workflow_signals (namespace_id, id, signal, workflow_run_id,'
            " step_attempt_id) VALUES ('default', $1 || 'a', 'go', $1, $2),"
            " ('default', $1 || 'b', 'go', $1, $1 || 'set aside')".encode(),
            (run, step),
        )
        for table, columns in {
            "owsuper_further_signals": "step_attempt_id, id) VALUES ('default', $1, 's', $1 || 'b'",
            "owsuper_retries": "retried_at) VALUES ('default', $1, now()",
            "owsuper_retried_attempts": "id, step_name, kind, created_at)"
            " VALUES ('default', $1, 'x', 's', 'function', now()",
            "owsuper_failures": "at) VALUES ('default', $1, now()",
            "owsuper_crashes": "crash_id, alone, evidence) VALUES ('default', $1, 'c', true, '{}'",
            "owsuper_post_mortems": "crash_id, run_created_at, counted, evidence)"
            " VALUES ('default', $1, 'c', now(), true, '{}'",
            "owsuper_log_lines": "logged_at, level, logger, message, host, pid)"
            " VALUES ('default', $1, now(), 20, 'l', 'm', 'h', 1",
            "owsuper_progress": "done) VALUES ('default', $1, 1",
        }.items():
            insert = f'INSERT INTO "{schema}".{table} (namespace_id, workflow_run_id, {columns})'
            conn.execute(insert.encode(), (run,))
    assert ow.prune_runs("30d") == 1
    [(names,)] = conn.execute(
        b"SELECT array_agg(relname::text) FROM pg_class AS c JOIN pg_attribute ON attrelid = c.oid"
        b" WHERE relnamespace = $1::regnamespace AND relkind = 'r' AND attname = 'workflow_run_id'",
        (schema,),
    ).fetchall()
    assert len(names) >= 10
    for name in names:
        assert gone not in {row["workflow_run_id"] for row in tables.rows(name)}, name
    assert len(tables.rows("workflow_signals")) == 2
    assert tables.count("owsuper_retries") == tables.count("owsuper_log_lines") == 1


# --- what keeps a run --------------------------------------------------------------------------


def test_a_child_run_stays_until_its_parent_has_ended(ow: OpenWorkflow, tables: Ended) -> None:
    parent = tables.parked(created_at=from_now(-50 * DAY))
    child = tables.child(parent, **_old())
    assert ow.prune_runs("30d") == 0
    [step] = tables.steps_of(parent)
    tables.update("step_attempts", step["id"], status="completed")
    assert ow.prune_runs("30d") == 0  # a replay reads the step, and people the child
    tables.update("workflow_runs", parent, status="completed", finished_at=from_now(-DAY))
    assert ow.prune_runs("30d") == 1
    assert tables.ids() == {parent}
    assert child not in tables.ids()


def test_a_child_run_stays_for_a_parent_that_may_be_retried(
    ow: OpenWorkflow, tables: Ended
) -> None:
    parent = tables.ended(40, status="failed", finished_at=from_now(-DAY))
    tables.child(parent, **_old())
    assert ow.prune_runs("30d") == 0
    assert ow.prune_runs("1h") == 1  # the parent
    assert ow.prune_runs("1h") == 1
    assert tables.ids() == set()


def _old() -> dict[str, Any]:
    at = from_now(-40 * DAY)
    return {
        "status": "completed",
        "worker_id": None,
        "available_at": None,
        "created_at": at,
        "finished_at": at,
    }


def test_runs_that_continued_as_each_other_go_with_the_last_of_them(
    ow: OpenWorkflow, tables: Ended
) -> None:
    chain = [f"link {number}" for number in range(5)]
    for number, run in enumerate(chain):
        tables.ended(90 - 10 * number, id=run)
    for before, after in pairwise(chain):
        _link(tables, before, after)
    tables.update("workflow_runs", chain[-1], status="running", finished_at=None)
    assert ow.prune_runs("30d") == 0
    tables.update("workflow_runs", chain[-1], status="completed", finished_at=from_now(-DAY))
    assert ow.prune_runs("30d") == 0
    tables.update("workflow_runs", chain[-1], finished_at=from_now(-31 * DAY))
    assert ow.prune_runs("30d") == 5
    assert tables.ids() == set()


def test_a_long_chain_is_deleted_by_one_call(ow: OpenWorkflow, tables: Ended) -> None:
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".workflow_runs (namespace_id, id, workflow_name, status,'
        " config, attempts, created_at, finished_at, updated_at, context) SELECT 'default', n, 'w',"
        " 'completed', '{}', 1, at, at, at, jsonb_strip_nulls(jsonb_build_object('continuedFrom',"
        " CASE WHEN n > 1 THEN (n - 1)::text END, 'continuedAs', CASE WHEN n < 1200 THEN"
        " (n + 1)::text END)) FROM generate_series(1, 1200) AS n,"
        " LATERAL (SELECT now() - interval '40 d' + n * interval '1 s' AS at) AS t".encode()
    )
    assert ow.prune_runs("30d") == 1200
    assert tables.ids() == set()


def test_chains_of_runs_with_many_steps_are_copied_in_smaller_batches(
    ow: OpenWorkflow, tables: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_STEPS", 10)
    other = tables.ended(40)
    chain = [f"link {number}" for number in range(9)]
    for number, run in enumerate(chain):
        tables.ended(90 - number, id=run)
        for _ in range(4):
            tables.step(run, status="completed")
    for before, after in pairwise(chain):
        _link(tables, before, after)
    # Created with the rest of the chain, but nothing that the call is about.
    tables.update("workflow_runs", other, created_at=tables.fetch("link 6")["created_at"])
    tables.update("workflow_runs", "link 8", status="failed")
    batches: list[list[str]] = []

    def copy(lines: Sequence[str]) -> None:
        batches.append([json.loads(each)["run"]["id"] for each in lines])

    assert ow.prune_runs("30d", status="failed", on_delete=copy) == 9
    assert max(map(len, batches)) == 2
    assert {run for batch in batches for run in batch} == set(chain)
    assert tables.ids() == {other}


def _link(tables: Ended, before: str, after: str) -> None:
    for run, name, other in ((before, "continuedAs", after), (after, "continuedFrom", before)):
        tables.conn.execute(
            f"UPDATE \"{tables.schema}\".workflow_runs SET context = coalesce(context, '{{}}')"
            " || jsonb_build_object($2::text, $3::text) WHERE id = $1".encode(),
            (run, name, other),
        )


def test_a_run_stays_while_its_key_stands_for_it(ow: OpenWorkflow, tables: Ended) -> None:
    fresh = tables.ended(0.9, idempotency_key="k")
    gone = tables.ended(1.1, idempotency_key="k")
    handle = ow.run_workflow("w", idempotency_key="long", key_lifetime="90d")
    for days, left in ((89, {fresh, handle.id}), (91, {fresh})):
        at = from_now(-days * DAY)
        tables.update("workflow_runs", handle.id, status="completed", created_at=at, finished_at=at)
        assert gone in tables.ids() or days == 91
        assert ow.prune_runs("1m") == 1
        assert tables.ids() == left


def test_a_run_that_somebody_holds_or_waits_for_is_left_alone(
    ow: OpenWorkflow, tables: Ended, database_url: str
) -> None:
    held, awaited, free = (tables.ended(31) for _ in range(3))
    with connect.connect(database_url, application_name="owsuper test") as other:
        with other.transaction():
            lock = f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR NO KEY UPDATE'
            other.execute(lock.encode(), (held,))
            key = f"owsuper:result:default:{awaited}"
            other.execute(b"SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", (key,))
            assert ow.prune_runs("30d") == 1
            assert tables.ids() == {held, awaited}
        assert ow.prune_runs("30d") == 2
    assert free not in tables.ids()


def test_deleting_holds_no_advisory_locks_of_which_a_server_has_few(
    tables: Ended, database_url: str, schema: str
) -> None:
    runs = [tables.ended(31) for _ in range(3)]
    doomed = [Doomed(run, run, 60) for run in runs]
    statement, params = PruneQueries(schema, "default").delete(doomed)
    held = b"SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    with (
        connect.connect(database_url, application_name="owsuper test") as pruner,
        pruner.transaction(),
    ):
        [(deleted,)] = pruner.execute(statement.query, params).fetchall()
        assert sorted(json.loads(deleted)) == sorted(runs)
        assert pruner.execute(held).fetchall() == [(0,)]


def test_a_lock_on_what_belongs_to_one_run_does_not_keep_the_others(
    ow: OpenWorkflow, tables: Ended, database_url: str
) -> None:
    runs = [tables.ended(31) for _ in range(3)]
    step = tables.step(runs[1], status="completed")
    lock = f'SELECT FROM "{tables.schema}".step_attempts WHERE id = $1 FOR UPDATE'
    with (
        connect.connect(database_url, application_name="owsuper test") as other,
        other.transaction(),
    ):
        other.execute(lock.encode(), (step,))
        assert ow.prune_runs("30d") == 2
    assert tables.ids() == {runs[1]}


def test_a_run_that_is_retried_meanwhile_stays(ow: OpenWorkflow, tables: Ended) -> None:
    runs = {tables.ended(31, status="failed") for _ in range(2)}
    retried = min(runs)

    def retry(lines: Sequence[str]) -> None:
        if len(lines) == 2:
            ow.get_run(retried).retry()

    assert ow.prune_runs("30d", on_delete=retry) == 1
    assert tables.ids() == {retried}


def test_a_run_that_changes_while_the_runs_are_locked_keeps_all_that_is_its_own(
    tables: Ended, database_url: str, schema: str
) -> None:
    changed, other = tables.ended(31), tables.ended(31)
    insert = f'INSERT INTO "{schema}".owsuper_retries (namespace_id, workflow_run_id)'
    tables.conn.execute(f"{insert} VALUES ('default', $1)".encode(), (changed,))
    # This function stands before that of PostgreSQL, and holds the statement up once it has begun.
    tables.conn.execute(
        f'CREATE FUNCTION "{schema}".set_config(text, text, boolean) RETURNS text LANGUAGE plpgsql'
        " AS $$BEGIN PERFORM pg_advisory_xact_lock(hashtextextended(current_schema(), 0));"
        " RETURN pg_catalog.set_config($1, $2, $3); END$$".encode()
    )
    doomed = [Doomed(run, run, 60) for run in (changed, other)]
    statement, params = PruneQueries(schema, "default").delete(doomed)
    with (
        connect.connect(database_url, application_name="owsuper test") as holder,
        connect.connect(database_url, application_name="owsuper test") as pruner,
        ThreadPoolExecutor(1) as threads,
    ):
        pruner.execute(f'SET search_path = "{schema}", pg_catalog'.encode())
        [(pid,)] = pruner.execute(b"SELECT pg_backend_pid()").fetchall()
        with holder.transaction():
            holder.execute(b"SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", (schema,))
            answer = threads.submit(lambda: pruner.execute(statement.query, params).fetchall())
            eventually(lambda: _waits(tables, pid))
            tables.update("workflow_runs", changed, version="2")
        [(deleted,)] = answer.result(timeout=60)
        assert json.loads(deleted) == [other]
        assert tables.ids() == {changed}
        assert tables.count("owsuper_retries") == 1
        [(deleted,)] = pruner.execute(statement.query, params).fetchall()
        assert json.loads(deleted) == [changed]
    assert tables.ids() == set()
    assert tables.count("owsuper_retries") == 0


def _waits(tables: Ended, pid: int) -> bool:
    query = b"SELECT FROM pg_locks WHERE pid = $1 AND locktype = 'advisory' AND NOT granted"
    return bool(tables.conn.execute(query, (pid,)).fetchall())


# --- batches -----------------------------------------------------------------------------------


def test_every_run_is_found_however_many_were_created_at_once(
    ow: OpenWorkflow, tables: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passes, "_MOST", 4)
    at = from_now(-40 * DAY)
    parent = tables.parked()
    kept = {tables.child(parent, **_old() | {"created_at": at}) for _ in range(9)}
    for number in range(40):
        tables.ended(40, created_at=at, workflow_name=f"w{number % 3}")
        tables.ended(41)
    assert ow.prune_runs("30d") == 80
    assert tables.ids() == kept | {parent}


def test_runs_with_many_steps_are_deleted_in_smaller_batches(
    ow: OpenWorkflow, tables: Ended, conn: psycopg.Connection, schema: str
) -> None:
    for _ in range(6):
        run = tables.ended(31)
        conn.execute(
            f'INSERT INTO "{schema}".step_attempts (namespace_id, id, workflow_run_id, step_name,'
            " kind, status, config, created_at, updated_at) SELECT 'default', gen_random_uuid(),"
            " $1, 's', 'function', 'completed', '{}', now(), now()"
            " FROM generate_series(1, 1500)".encode(),
            (run,),
        )
    batches: list[int] = []
    assert ow.prune_runs("30d", on_delete=lambda lines: batches.append(len(lines))) == 6
    assert max(batches) <= 2
    assert tables.count("step_attempts") == 0


def test_runs_with_long_values_are_copied_in_smaller_batches(
    ow: OpenWorkflow, tables: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "MOST_STEPS", 60)  # 600 kB
    for number in range(3):
        tables.ended(31, output=_noise(number, 600_000))
        tables.step(tables.ended(31), status="completed", output=_noise(number, 600_000))
    batches: list[int] = []
    assert ow.prune_runs("30d", on_delete=lambda lines: batches.append(len(lines))) == 6
    assert max(batches) < 4


def _noise(seed: int, length: int) -> str:
    """Text that cannot be compressed to less than half."""
    return random.Random(seed).randbytes(length // 2).hex()


def test_a_run_whose_copy_takes_too_long_does_not_keep_the_others() -> None:
    left = {"big": "2026-01-01T00:00:00+00:00", "small": "2026-01-02T00:00:00+00:00"}

    def answer(statement: str, first: str, count: Any) -> list[str] | None:
        if statement == "prune_workflows":
            return ['["w"]']
        if statement == "prune_documents":
            ids = json.loads(first)
            return None if "big" in ids else [f"copy of {run}" for run in ids]
        if statement == "prune_delete":
            ids = [each["id"] for each in json.loads(first)]
            assert [left.pop(run) for run in ids]
            return [json.dumps(ids)]
        found = [
            (of["range"], at, run, True)
            for of in json.loads(first)
            if of["status"] == "completed"
            for run, at in [each for each in left.items() if each[1] >= of["since"]][of["skip"] :]
        ]
        return [json.dumps({"runs": found[:count], "more": len(found) >= count})]

    copied: list[str] = []
    queries, pruned = PruneQueries("openworkflow", "default"), passes.Pruned()
    work = passes.prune(queries, lambda *_: 60.0, passes.Pace(1), pruned, copies=True)
    wanted = next(work)
    with suppress(StopIteration):
        while True:
            if isinstance(wanted, passes.Copy):
                copied += wanted.lines
                wanted = work.send(None)
            else:
                statement, params = wanted.call
                count = params[2] if len(params) > 2 else 0
                wanted = work.send(answer(statement.name, str(params[1]), count))
    assert copied == ["copy of small"]
    assert (list(left), pruned.total) == (["big"], 1)


# --- copies ------------------------------------------------------------------------------------


def test_who_asks_gets_the_runs_before_they_are_deleted(ow: OpenWorkflow, tables: Ended) -> None:
    run = tables.ended(31, input={"a": 1}, output=[2])
    tables.step(run, status="completed", output={"b": 3})
    seen: list[str] = []

    def copy(lines: Sequence[str]) -> None:
        assert run in tables.ids()
        seen.extend(lines)

    assert ow.prune_runs("30d", on_delete=copy) == 1
    [document] = map(json.loads, seen)
    assert (document["run"]["id"], document["run"]["input"]) == (run, '{"a": 1}')
    assert document["steps"][0]["output"] == {"b": 3}


def test_an_error_of_the_copy_stops_before_anything_is_deleted(
    ow: OpenWorkflow, tables: Ended
) -> None:
    run = tables.ended(31)

    def fail(lines: Sequence[str]) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        ow.prune_runs("30d", on_delete=fail)
    assert tables.ids() == {run}


def test_the_async_call_copies_in_another_thread(ow: OpenWorkflow, tables: Ended) -> None:
    tables.ended(31)
    threads: list[threading.Thread] = []

    async def main() -> int:
        return await ow.aprune_runs(
            "30d", on_delete=lambda _: threads.append(threading.current_thread())
        )

    assert asyncio.run(main()) == 1
    assert threading.main_thread() not in threads


# --- mistakes ----------------------------------------------------------------------------------


@sync_and_async
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"older_than": "30"}, "older_than: .*unit"),
        ({"older_than": "long"}, "older_than: "),
        ({"older_than": "-1d"}, "older_than: .* from 1m to 100 years"),
        ({"older_than": "0d"}, "older_than: .* from 1m to 100 years"),
        (
            {"older_than": "30d", "status": "running"},
            "status: 'running' is not the status of a run",
        ),
        ({"older_than": "30d", "workflow": ""}, "Invalid workflow name"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(
    ow: OpenWorkflow, tables: Ended, call: Call, arguments: dict[str, Any], message: str
) -> None:
    run = tables.ended(31)
    with pytest.raises((ConfigurationError, InvalidDuration), match=message):
        call(ow, "prune_runs", **arguments)
    assert tables.ids() == {run}
