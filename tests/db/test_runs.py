from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper.core.model import (
    Complete,
    Fail,
    Outcome,
    Park,
    Release,
    Retry,
    StepKind,
    StepStatus,
    WriteSet,
)
from owsuper.db import connect
from owsuper.db.runs import MOST_ATTEMPTS_LOADED, RunStore
from owsuper.stored_error import StoredError
from tests.db.rows import ME, OTHER, Tables, from_now, step_write

LATER = datetime(2032, 1, 1, tzinfo=UTC)
OUTCOMES: list[Outcome | None] = [
    None,
    Complete(b'{"o": 1}'),
    Park(LATER),
    Retry(LATER, StoredError("bad", "ValueError"), counts=True),
    Fail({"message": "bad"}),
    Release(),
]


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


def name(outcome: object) -> str:
    return type(outcome).__name__


# --- the fence ------------------------------------------------------------------------------


@pytest.mark.parametrize("outcome", OUTCOMES, ids=name)
def test_a_claim_that_was_lost_writes_nothing(
    session: psycopg.Connection, tables: Tables, store: RunStore, outcome: Outcome | None
) -> None:
    runs = [
        tables.run(worker_id=OTHER),
        tables.run(worker_id=None),
        tables.run(status="completed"),
        tables.run(status="canceled", worker_id=None),
        tables.run(namespace_id="elsewhere"),
    ]
    before = [tables.fetch(run) for run in runs]
    for run in runs:
        write = WriteSet(run, ME, (step_write(),), outcome)
        assert store.commit(session, [write]) == set()
        assert store.mark_running(session, [write]) == set()
    assert [tables.fetch(run) for run in runs] == before
    assert not tables.count("step_attempts")
    assert not tables.count("owsuper_failures")


def test_claims_stand_and_fall_alone_in_one_commit(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    mine, lost, gone = tables.run(), tables.run(worker_id=OTHER), str(uuid4())
    held = store.commit(
        session,
        [
            WriteSet(mine, ME, (step_write(),), Complete(None)),
            WriteSet(lost, "host:1:late", (step_write(),), Complete(None)),
            WriteSet(gone, "host:1:gone", (step_write(),), Complete(None)),
        ],
    )
    assert held == {ME}
    assert tables.fetch(mine)["status"] == "completed"
    assert tables.fetch(lost)["status"] == "running"
    assert [row["workflow_run_id"] for row in tables.rows("step_attempts")] == [mine]


def test_two_claims_of_one_run_are_told_apart_in_one_commit(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    held = store.commit(
        session,
        [
            WriteSet(run, "host:1:old", (step_write(step_name="old"),), Fail({"message": "no"})),
            WriteSet(run, ME, (step_write(step_name="new"),), Complete(b"1")),
        ],
    )
    assert held == {ME}
    assert tables.fetch(run)["status"] == "completed"
    assert [row["step_name"] for row in tables.steps_of(run)] == ["new"]


def test_parallel_steps_of_one_run_share_a_commit(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    writes = [WriteSet(run, ME, (step_write(step_name=f"s{n}"),)) for n in range(3)]
    assert store.commit(session, writes) == {ME}
    assert {row["step_name"] for row in tables.steps_of(run)} == {"s0", "s1", "s2"}


# --- what outcomes leave behind -------------------------------------------------------------


def test_what_a_run_returned_is_stored(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run(error={"message": "of an earlier attempt"})
    store.commit(session, [WriteSet(run, ME, (), Complete(b'{"total": 42}'))])
    row = tables.fetch(run)
    assert (row["status"], row["output"], row["error"]) == ("completed", {"total": 42}, None)
    assert (row["worker_id"], row["available_at"]) == (ME, None)
    assert row["finished_at"] == row["updated_at"] > row["started_at"]


@pytest.mark.parametrize("nothing", [None, b"null"])
def test_nothing_and_null_are_stored_as_sql_null(
    session: psycopg.Connection, tables: Tables, store: RunStore, nothing: bytes | None
) -> None:
    run = tables.run()
    step = step_write(output_json=nothing)
    store.commit(session, [WriteSet(run, ME, (step,), Complete(nothing))])
    assert tables.rows("workflow_runs", "output IS NULL")
    assert tables.rows("step_attempts", "output IS NULL AND context IS NULL AND error IS NULL")


@pytest.mark.parametrize("value", [b"false", b"0", b'""', b"[]", b"{}", b'{"a": null}'])
def test_values_that_are_merely_empty_are_stored_as_they_are(
    session: psycopg.Connection, tables: Tables, store: RunStore, value: bytes
) -> None:
    run = tables.run()
    store.commit(session, [WriteSet(run, ME, (step_write(output_json=value),), Complete(value))])
    stored = tables.conn.execute(
        f'SELECT r.output::text, s.output::text FROM "{tables.schema}".workflow_runs r,'
        f' "{tables.schema}".step_attempts s'.encode()
    ).fetchone()
    assert stored == (value.decode(), value.decode())


def test_a_failure_that_counts_is_remembered_until_the_run_ends(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run, other = tables.run(), tables.run(worker_id=OTHER)
    bad = StoredError("bad", "ValueError")
    for counts, expected in ((True, 1), (False, 1), (True, 2)):
        store.commit(session, [WriteSet(run, ME, (), Retry(LATER, bad, counts=counts))])
        assert store.load(session, run, ME).failures == expected
        tables.update("workflow_runs", run, status="running", worker_id=ME)
    store.commit(session, [WriteSet(other, OTHER, (), Retry(LATER, bad, counts=True))])
    store.commit(session, [WriteSet(run, ME, (), Complete(None))])
    assert [row["workflow_run_id"] for row in tables.rows("owsuper_failures")] == [other]


@pytest.mark.parametrize("outcome", [Complete(None), Fail({"message": "bad"})], ids=name)
def test_a_run_that_ends_leaves_no_bookkeeping_behind(
    session: psycopg.Connection, tables: Tables, store: RunStore, outcome: Outcome
) -> None:
    runs = tables.run(), tables.child(tables.parked(), worker_id=OTHER)
    for run in runs:
        for table, columns in (
            ("owsuper_failures", "(namespace_id, workflow_run_id) VALUES ('default', $1)"),
            (
                "owsuper_crashes",
                "(namespace_id, workflow_run_id, crash_id, alone, evidence)"
                " VALUES ('default', $1, 'c', true, '{}')",
            ),
        ):
            query = f'INSERT INTO "{tables.schema}".{table} {columns}'
            tables.conn.execute(query.encode(), [run])
    store.commit(session, [WriteSet(runs[0], ME, (), outcome)])
    store.commit(session, [WriteSet(runs[1], OTHER, (), outcome)])
    assert not tables.count("owsuper_failures")
    assert not tables.count("owsuper_crashes")


def test_a_released_run_is_due_at_once(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run(error={"message": "of an earlier attempt"})
    started_at = tables.fetch(run)["started_at"]
    store.commit(session, [WriteSet(run, ME, (), Release())])
    row = tables.fetch(run)
    assert (row["status"], row["worker_id"]) == ("running", None)
    assert row["available_at"] == row["updated_at"] < from_now(1)
    assert (row["started_at"], row["error"]) == (started_at, {"message": "of an earlier attempt"})


# --- step attempts --------------------------------------------------------------------------


def test_a_result_completes_the_row_that_said_running(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    context = {"kind": "sleep", "resumeAt": "2032-01-01T00:00:00.000Z"}
    began = step_write(StepStatus.RUNNING, kind=StepKind.SLEEP, context=context)
    assert store.mark_running(session, [WriteSet(run, ME, (began,))]) == {ME}
    [row] = tables.steps_of(run)
    assert (row["status"], row["context"], row["finished_at"]) == ("running", context, None)
    ended = step_write(attempt_id=began.attempt_id, kind=StepKind.SLEEP, output_json=None)
    store.commit(session, [WriteSet(run, ME, (ended,))])
    [row] = tables.steps_of(run)
    assert (row["status"], row["context"], row["output"]) == ("completed", context, None)
    assert row["finished_at"] == ended.finished_at


def test_creation_is_the_start_truncated_to_milliseconds(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    started = datetime(2021, 5, 6, 7, 8, 9, 123_999, tzinfo=UTC)
    store.commit(session, [WriteSet(run, ME, (step_write(started_at=started),))])
    [row] = tables.steps_of(run)
    assert row["started_at"] == started
    assert row["created_at"] == started.replace(microsecond=123_000)


def test_a_late_running_marker_does_not_undo_a_result(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    step = step_write()
    store.commit(session, [WriteSet(run, ME, (step,))])
    before = tables.steps_of(run)
    late = step_write(StepStatus.RUNNING, step.attempt_id)
    assert store.mark_running(session, [WriteSet(run, ME, (late,))]) == {ME}
    assert tables.steps_of(run) == before


def test_a_commit_repeated_after_a_lost_answer_changes_nothing(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    writes = [WriteSet(run, ME, (step_write(),))]
    assert store.commit(session, writes) == {ME}
    before = tables.steps_of(run)
    assert store.commit(session, writes) == {ME}
    assert tables.steps_of(run) == before


def test_a_repeated_completion_is_found_out_by_its_owner(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    writes = [WriteSet(run, ME, (step_write(),), Complete(b"1"))]
    assert store.commit(session, writes) == {ME}
    assert store.commit(session, writes) == set()
    assert store.outcome_of(session, run) == ("completed", ME)
    assert store.outcome_of(session, str(uuid4())) is None


def test_what_jsonb_refuses_is_an_error_and_writes_nothing(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    step = step_write(output_json=rb'"\u0000"')
    with pytest.raises(psycopg.errors.UntranslatableCharacter):
        store.commit(session, [WriteSet(run, ME, (step,), Complete(b"1"))])
    assert tables.fetch(run)["status"] == "running"
    assert store.commit(session, [WriteSet(run, ME, (), Complete(b"1"))]) == {ME}


# --- what need not survive a server crash ---------------------------------------------------


def test_only_results_wait_for_the_disk(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    """The setting is reported by a trigger, inside the transaction that it is meant for."""
    schema = tables.schema
    tables.conn.execute(
        f"""
        CREATE TABLE "{schema}".seen (setting text);
        CREATE FUNCTION "{schema}".see() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            INSERT INTO "{schema}".seen VALUES (current_setting('synchronous_commit'));
            RETURN NULL;
        END $$;
        CREATE TRIGGER see AFTER INSERT OR UPDATE ON "{schema}".step_attempts
            FOR EACH ROW EXECUTE FUNCTION "{schema}".see();
        CREATE TRIGGER see AFTER UPDATE OF available_at ON "{schema}".workflow_runs
            FOR EACH ROW EXECUTE FUNCTION "{schema}".see();
        """.encode()
    )

    def settings() -> list[str]:
        rows = tables.conn.execute(f'DELETE FROM "{schema}".seen RETURNING setting'.encode())
        return [setting for (setting,) in rows]

    run = tables.run()
    store.mark_running(session, [WriteSet(run, ME, (step_write(StepStatus.RUNNING),))])
    assert settings() == ["off"]
    store.extend(session, [(run, ME)], 30)
    assert settings() == ["off"]
    store.commit(session, [WriteSet(run, ME, (step_write(),))])
    assert settings() == ["on"]
    store.commit(session, [WriteSet(run, ME, (step_write(),), Park(LATER))])
    assert settings() == ["on", "on"]
    assert session.execute("SHOW synchronous_commit").fetchone() == ("on",)


# --- leases, history, input -----------------------------------------------------------------


def test_leases_are_extended_only_by_their_owners(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    mine, lost, parked = tables.run(), tables.run(worker_id=OTHER), tables.parked()
    before = tables.fetch(lost), tables.fetch(parked)
    leases = [(mine, ME), (lost, "host:1:late"), (parked, "host:1:parked"), (str(uuid4()), "x")]
    assert store.extend(session, leases, 600.5) == {ME: True}
    row = tables.fetch(mine)
    assert row["available_at"] - row["updated_at"] == timedelta(seconds=600.5)
    assert (tables.fetch(lost), tables.fetch(parked)) == before
    assert store.extend(session, [], 30) == {}


def test_a_run_that_somebody_has_locked_is_not_renewed_and_keeps_no_other_waiting(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    locked, free = tables.run(), tables.run(worker_id=OTHER)
    with tables.conn.transaction():
        tables.conn.execute(
            f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR UPDATE', [locked]
        )
        assert store.extend(session, [(locked, ME), (free, OTHER)], 600) == {ME: False, OTHER: True}
    assert store.extend(session, [(locked, ME)], 600) == {ME: True}


def test_a_run_that_somebody_has_locked_is_not_waited_for_much_longer_than_a_second(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    locked, free = tables.run(), tables.run(worker_id=OTHER)
    writes = [WriteSet(locked, ME, (step_write(),)), WriteSet(free, OTHER, (step_write(),))]
    with tables.conn.transaction():
        tables.conn.execute(
            f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = $1 FOR UPDATE', [locked]
        )
        with pytest.raises(psycopg.errors.LockNotAvailable):
            store.commit(session, writes)
        assert store.commit(session, writes[1:]) == {OTHER}
    assert session.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_history_comes_oldest_first_and_ties_by_start(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    tables.step(run, step_name="third", created_at=moment + timedelta(milliseconds=1))
    for microseconds in (500, 100, 300):
        tables.step(
            run,
            step_name=f"at {microseconds}",
            created_at=moment,
            started_at=moment + timedelta(microseconds=microseconds),
            status="failed",
            context={"kind": "x"},
            output=[1, 2.5],
            error={"message": "bad"},
        )
    tables.step(tables.run(worker_id=OTHER))
    history = store.load(session, run, ME).history
    assert [each.step_name for each in history] == ["at 100", "at 300", "at 500", "third"]
    first = history[0]
    assert (first.context, first.output, first.error) == (
        {"kind": "x"},
        [1, 2.5],
        {"message": "bad"},
    )
    assert (first.status, first.kind, first.created_at) == ("failed", "function", moment)


@pytest.mark.parametrize(
    ("claim", "held"),
    [
        ({"worker_id": ME}, True),
        ({"worker_id": OTHER}, False),
        ({"worker_id": None}, False),
        ({"worker_id": ME, "status": "completed"}, False),
    ],
)
def test_a_history_comes_with_the_state_of_the_claim(
    session: psycopg.Connection,
    tables: Tables,
    store: RunStore,
    claim: dict[str, Any],
    held: bool,
) -> None:
    run = tables.run(worker_id=ME)
    tables.step(run)
    tables.update("workflow_runs", run, **claim)
    assert store.load(session, run, ME).held is held
    assert not store.load(session, str(uuid4()), ME).held


def test_a_run_without_attempts_has_an_empty_history(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    loaded = store.load(session, tables.run(), ME)
    assert (loaded.history, loaded.failures, loaded.held) == ([], 0, True)


def add_attempts(
    tables: Tables, run: str, status: str, count: int, *, each: str = "1 us", first: int = 0
) -> None:
    """Give a run function steps that are called by numbers, begun one after the other."""
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".step_attempts (namespace_id, id, workflow_run_id,'
        " step_name, kind, status, config, created_at, started_at, updated_at)"
        " SELECT 'default', gen_random_uuid()::text, $1, n::text, 'function', $2, '{}',"
        "  date_trunc('milliseconds', begun), begun, now()"
        " FROM generate_series($3::integer, $3 + $4 - 1) AS n,"
        "  LATERAL (SELECT '2030-01-01Z'::timestamptz + n * $5::interval AS begun) AS t".encode(),
        [run, status, first, count, each],
    )


@pytest.mark.parametrize("each", ["0", "1 us", "7 us", "1 ms"])
@pytest.mark.parametrize("count", [1999, 2000, 2001, 6500])
def test_a_history_is_loaded_whole_and_in_order_however_many_begin_in_one_millisecond(
    session: psycopg.Connection, tables: Tables, store: RunStore, count: int, each: str
) -> None:
    run = tables.run()
    add_attempts(tables, run, "completed", count, each=each)
    names = [row.step_name for row in store.load(session, run, ME, enough=10_000).history]
    assert len(names) == count
    assert sorted(names, key=int) == [str(n) for n in range(count)]
    if each != "0":
        assert names == sorted(names, key=int)


def test_more_history_than_is_enough_is_not_loaded_but_seen_to_be_more(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    add_attempts(tables, run, "failed", 9000)
    assert MOST_ATTEMPTS_LOADED == 2000
    assert len(store.load(session, run, ME, enough=1000).history) == 2000
    assert len(store.load(session, run, ME, enough=2000).history) == 4000
    assert len(store.load(session, run, ME, enough=1_000_000).history) == 9000


def test_attempts_that_crashes_abandoned_hide_none_of_the_others(
    session: psycopg.Connection, tables: Tables, store: RunStore
) -> None:
    run = tables.run()
    for first in range(0, 9000, 3000):
        add_attempts(tables, run, "running", 2500, first=first)
        add_attempts(tables, run, "completed", 500, first=first + 2500)
    sleep = tables.step(run, kind="sleep", created_at=datetime(2031, 1, 1, tzinfo=UTC))

    history = store.load(session, run, ME, enough=2000).history

    kept = [row for row in history if not row.is_abandoned]
    numbers = [n for first in range(0, 9000, 3000) for n in range(first + 2500, first + 3000)]
    assert [row.step_name for row in kept[:-1]] == [str(n) for n in numbers]
    assert kept[-1].id == sleep
    assert len(history) <= MOST_ATTEMPTS_LOADED + len(kept)


@pytest.mark.parametrize(
    ("stored", "expected"), [({"a": [1]}, b'{"a": [1]}'), (None, None), ("x" * 100_000, ...)]
)
def test_an_input_is_loaded_as_json(
    session: psycopg.Connection,
    tables: Tables,
    store: RunStore,
    stored: object,
    expected: object,
) -> None:
    loaded = store.load_input(session, tables.run(input=stored))
    assert loaded == (f'"{stored}"'.encode() if expected is ... else expected)
    assert store.load_input(session, str(uuid4())) is None
