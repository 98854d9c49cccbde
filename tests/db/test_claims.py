from __future__ import annotations

import selectors
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from owsuper.core.model import ClaimedRun
from owsuper.db import connect
from owsuper.db.claims import (
    SCAN_ALL,
    Claimed,
    ClaimQueries,
    ScanRange,
    parse_claim,
    parse_renewed,
    parse_workers,
)
from owsuper.db.nonblocking import NonblockingConnection
from owsuper.db.statement import Result
from owsuper.db.sweeps import SweepQueries, Swept, parse_swept
from tests.db.rows import ME, OTHER, Tables, from_now, perform

Workflow = tuple[str, str | None]


class Supervisor:
    """Performs what a supervisor would."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self.conn = conn
        self.queries = ClaimQueries(schema, "default")
        self.sweeps = SweepQueries(schema, "default")

    def look(self, limit: int = 10, workflows: Sequence[Workflow] = (("w", None),)) -> Claimed:
        call = self.queries.claim(limit, workflows, worker_prefix="host:1:", lease_seconds=30)
        return parse_claim(perform(self.conn, call))

    def release_lapsed(self, *workflows: Workflow) -> Swept:
        call = self.sweeps.release_lapsed(workflows or [("w", None)])
        return parse_swept(perform(self.conn, call))

    def claim(self, limit: int = 10, *workflows: Workflow) -> list[ClaimedRun]:
        return self.look(limit, workflows or [("w", None)]).runs

    def claimed_ids(self, limit: int = 10, *workflows: Workflow) -> set[str]:
        return {run.run_id for run in self.claim(limit, *workflows)}


@pytest.fixture
def session(database_url: str) -> Iterator[psycopg.Connection]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield conn


@pytest.fixture
def supervisor(session: psycopg.Connection, schema: str) -> Supervisor:
    return Supervisor(session, schema)


# --- what is claimed ------------------------------------------------------------------------


def test_a_claimed_run_is_described_in_full(supervisor: Supervisor, tables: Tables) -> None:
    run = tables.pending(
        input={"a": [1, None]}, version="v2", workflow_name="billing", deadline_at=from_now(600)
    )
    [claimed] = supervisor.claim(10, ("billing", "v2"))
    row = tables.fetch(run)
    assert claimed == ClaimedRun(
        run_id=run,
        workflow_name="billing",
        version="v2",
        worker_id=row["worker_id"],
        attempts=1,
        input_json=b'{"a": [1, null]}',
        input_stored=False,
        created_at=row["created_at"],
        started_at=row["started_at"],
        claimed_at=row["updated_at"],
        claim_sent=0.0,
        claim_answered=0.0,
        deadline_at=row["deadline_at"],
        first=True,
        suspect=False,
    )
    assert row["status"] == "running"
    assert row["started_at"] == row["updated_at"]
    assert row["available_at"] == row["updated_at"] + timedelta(seconds=30)


@pytest.mark.parametrize(
    ("context", "carrier"),
    [
        (None, None),
        ({"traceContext": {"traceparent": "00-a-b-01"}}, {"traceparent": "00-a-b-01"}),
        ({"traceContext": {"traceparent": "00-a-b-01", "x": 1}}, None),
        ({"traceContext": {"baggage": "\N{SNOWMAN}" * 4_000}}, {"baggage": "\N{SNOWMAN}" * 4_000}),
        ({"traceContext": {"baggage": "x" * 20_000}}, None),
        ({"traceContext": [1]}, None),
        ({"continuedFrom": "another"}, None),
        (["traceContext"], None),
        ("traceContext", None),
    ],
    ids=lambda value: f"{value!s:.40}",
)
def test_a_claim_reads_the_trace_carrier_if_it_is_one(
    supervisor: Supervisor, tables: Tables, context: Any, carrier: dict[str, str] | None
) -> None:
    tables.pending(context=context)
    [claimed] = supervisor.claim()
    assert claimed.carrier == carrier


def test_every_claim_has_a_worker_id_of_its_own(supervisor: Supervisor, tables: Tables) -> None:
    for _ in range(20):
        tables.pending()
    workers = [run.worker_id for run in supervisor.claim(20)]
    assert len(set(workers)) == 20
    assert all(worker.startswith("host:1:") for worker in workers)


def test_only_the_first_claim_is_without_history(supervisor: Supervisor, tables: Tables) -> None:
    begun = from_now(-50)
    tables.parked(available_at=from_now(-1), started_at=begun, attempts=1)
    [claimed] = supervisor.claim()
    assert (claimed.first, claimed.attempts, claimed.started_at) == (False, 2, begun)


@pytest.mark.parametrize("large", [b'"' + b"x" * 65_535 + b'"', b'"' + b"x" * 10_000_000 + b'"'])
def test_a_large_input_is_left_in_its_place(
    supervisor: Supervisor, tables: Tables, large: bytes
) -> None:
    tables.pending(input=large[1:-1].decode())
    [claimed] = supervisor.claim()
    assert (claimed.input_json, claimed.input_stored) == (None, True)


@pytest.mark.parametrize("value", [None, False, {}, "x" * 65_534, "é" * 30_000])
def test_a_small_input_comes_along(supervisor: Supervisor, tables: Tables, value: Any) -> None:
    tables.pending(input=value)
    [claimed] = supervisor.claim()
    assert not claimed.input_stored
    assert (claimed.input_json is None) == (value is None)
    if isinstance(value, str):
        assert claimed.input_json == f'"{value}"'.encode()


def test_only_known_workflows_are_claimed(supervisor: Supervisor, tables: Tables) -> None:
    runs = {
        version: tables.pending(workflow_name="a", version=version)
        for version in (None, "", "1", "2")
    }
    tables.pending(workflow_name="b")
    assert supervisor.claimed_ids(10) == set()
    assert supervisor.claimed_ids(10, ("a", "")) == {runs[""]}
    assert supervisor.claimed_ids(10, ("a", None)) == {runs[None]}
    assert supervisor.claimed_ids(10, ("a", "2"), ("c", None)) == {runs["2"]}
    assert supervisor.look(10, []).runs == []


def test_a_due_time_is_one_text_for_all_workers_whatever_the_time_zones_of_their_sessions(
    supervisor: Supervisor, tables: Tables
) -> None:
    tables.parked(available_at=from_now(600))
    texts = set()
    for zone in ("UTC", "Asia/Kathmandu", "America/New_York"):
        supervisor.conn.execute(f"SET TimeZone = '{zone}'".encode())
        texts.add(supervisor.look().due)
    assert len(texts) == 1
    assert None not in texts


def test_runs_of_other_namespaces_are_left_alone(supervisor: Supervisor, tables: Tables) -> None:
    tables.pending(namespace_id="elsewhere")
    assert (supervisor.look().runs, supervisor.look().next_due) == ([], None)


@pytest.mark.parametrize("status", ["completed", "succeeded", "failed", "canceled", "mystery"])
def test_nothing_else_is_claimed(supervisor: Supervisor, tables: Tables, status: str) -> None:
    tables.pending(status=status)
    tables.pending(available_at=None)
    tables.pending(deadline_at=from_now(-1))
    assert (supervisor.look().runs, supervisor.look().next_due) == ([], None)


# --- how many, and in which order -----------------------------------------------------------


def test_new_and_begun_runs_are_taken_in_turn(supervisor: Supervisor, tables: Tables) -> None:
    for n in range(20):
        tables.pending(id=f"new {n:2}", available_at=from_now(-1000 + n))
        tables.parked(id=f"woken {n:2}", available_at=from_now(-10 + n / 10))
    claimed = supervisor.claimed_ids(10)
    assert claimed == {f"{kind} {n:2}" for kind in ("new", "woken") for n in range(5)}


def test_neither_kind_waits_for_the_other_when_one_run_is_taken_at_a_time(
    supervisor: Supervisor, tables: Tables
) -> None:
    for n in range(5):
        tables.pending(id=f"new {n}", available_at=from_now(-1000 + n))
        tables.parked(id=f"woken {n}", available_at=from_now(-10 + n))
    kinds = Counter(run.split()[0] for _ in range(6) for run in supervisor.claimed_ids(1))
    assert kinds == {"new": 3, "woken": 3}


def test_a_share_that_is_not_used_goes_to_the_others(
    supervisor: Supervisor, tables: Tables
) -> None:
    woken = tables.parked(available_at=from_now(-1))
    crashed = tables.run(available_at=from_now(-1), worker_id=OTHER)
    legacy = tables.parked(status="sleeping", available_at=from_now(-1))
    for _ in range(20):
        tables.pending()
    assert supervisor.release_lapsed().run_ids == [crashed]
    claimed = supervisor.claimed_ids(20)
    assert len(claimed) == 20
    assert {woken, crashed, legacy} < claimed


def test_runs_that_others_are_just_taking_are_passed_by(
    supervisor: Supervisor, tables: Tables, conn: psycopg.Connection
) -> None:
    for n in range(20):
        tables.pending(id=f"{n:2}", available_at=from_now(-1000 + n))
    with conn.transaction():
        conn.execute(
            f"SELECT id FROM \"{tables.schema}\".workflow_runs WHERE id < '10' FOR UPDATE".encode()
        )
        claimed = supervisor.claimed_ids(5)
    assert claimed == {f"{n:2}" for n in range(10, 15)}


def test_no_run_is_claimed_twice(database_url: str, tables: Tables) -> None:
    runs = {tables.pending() for _ in range(150)} | {
        tables.parked(available_at=from_now(-1)) for _ in range(150)
    }
    claimed: list[str] = []

    def work() -> None:
        with connect.connect(database_url, application_name="owsuper test") as conn:
            supervisor = Supervisor(conn, tables.schema)
            while ids := supervisor.claimed_ids(7):
                claimed.extend(ids)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(claimed) == len(set(claimed))
    assert set(claimed) == runs
    assert {row["attempts"] for row in tables.rows("workflow_runs")} == {1, 2}


# --- when to look again ---------------------------------------------------------------------


def test_an_empty_look_says_when_the_next_run_is_due(
    supervisor: Supervisor, tables: Tables
) -> None:
    tables.parked(available_at=from_now(500))
    tables.pending(available_at=from_now(200))
    tables.pending(available_at=from_now(100), workflow_name="unknown")
    tables.pending(available_at=from_now(100), version="2")
    tables.parked(status="completed", available_at=from_now(100))
    assert supervisor.look().next_due == pytest.approx(200, abs=5)


def test_a_full_look_says_that_there_may_be_more(supervisor: Supervisor, tables: Tables) -> None:
    tables.pending()
    assert supervisor.look(1).next_due == 0
    assert supervisor.look(1).next_due is None


# --- leases ---------------------------------------------------------------------------------


def test_leases_are_extended_and_given_back(supervisor: Supervisor, tables: Tables) -> None:
    error = {"message": "of an earlier attempt"}
    mine, lost, parked = tables.run(error=error), tables.run(worker_id=OTHER), tables.parked()
    leases = [(mine, ME), (lost, "host:1:late"), (parked, "host:1:parked")]
    extend = supervisor.queries.extend(leases, 600)
    assert parse_renewed(perform(supervisor.conn, extend)) == {ME: True}
    assert tables.fetch(mine)["available_at"] > from_now(590)
    before = tables.fetch(mine)
    release = supervisor.queries.release(leases)
    assert parse_workers(perform(supervisor.conn, release)) == {ME}
    after = tables.fetch(mine)
    assert (after["status"], after["worker_id"]) == ("running", None)
    assert after["available_at"] == after["updated_at"] < from_now(1)
    assert {name for name in after if after[name] != before[name]} == {
        "worker_id",
        "available_at",
        "updated_at",
    }
    assert tables.fetch(lost)["worker_id"] == OTHER
    assert tables.fetch(parked)["available_at"] > from_now(3000)
    assert parse_workers(perform(supervisor.conn, release)) == set()


def test_claims_whose_answer_was_lost_are_released_and_no_others(
    supervisor: Supervisor, tables: Tables
) -> None:
    """Under our prefix, unknown to us: claimed over a connection that broke before it said so."""
    for _ in range(3):
        tables.pending()
    known, *lost = supervisor.claim(3)
    others = tables.run(worker_id=OTHER)
    parked = tables.parked()
    released = perform(
        supervisor.conn,
        supervisor.queries.release_lost(
            [known.worker_id], worker_prefix="host:1:", lease_seconds=30
        ),
    )
    assert {row[0] for row in released} == {run.run_id.encode() for run in lost}
    assert supervisor.claimed_ids() == {run.run_id for run in lost}
    assert tables.fetch(known.run_id)["worker_id"] == known.worker_id
    assert tables.fetch(others)["worker_id"] == OTHER
    assert tables.fetch(parked)["available_at"] > tables.fetch(parked)["updated_at"]


@pytest.mark.parametrize("durable", [True, False])
def test_a_claim_waits_for_the_disk_only_when_asked(
    supervisor: Supervisor, tables: Tables, durable: bool
) -> None:
    tables.pending()
    call = supervisor.queries.claim(
        1, [("w", None)], worker_prefix="", lease_seconds=30, durable=durable
    )
    supervisor.conn.execute("BEGIN")
    perform(supervisor.conn, call)
    setting = supervisor.conn.execute("SHOW synchronous_commit").fetchone()
    supervisor.conn.execute("ROLLBACK")
    assert setting == ("on" if durable else "off",)


@pytest.mark.parametrize("waits", [True, False])
def test_a_claim_tells_how_long_its_runs_were_due_only_when_asked(
    supervisor: Supervisor, tables: Tables, waits: bool
) -> None:
    late = tables.pending(available_at=from_now(-600))
    begun = tables.parked(available_at=from_now(-60))
    ancient = tables.pending()
    table = f'"{tables.schema}".workflow_runs'
    tables.conn.execute(f"UPDATE {table} SET available_at = '-infinity' WHERE id = $1", [ancient])
    call = supervisor.queries.claim(
        10, [("w", None)], worker_prefix="", lease_seconds=30, waits=waits
    )
    claimed = parse_claim(perform(supervisor.conn, call))
    assert {run.run_id for run in claimed.runs} == {late, begun, ancient}
    found = {run_id: round(seconds, -1) for run_id, seconds in claimed.waited.items()}
    year = found.pop(ancient, None)
    assert found == ({late: 600, begun: 60} if waits else {})
    assert year is None or 364 * 86400 < year < 367 * 86400


def test_runs_with_priorities_come_before_runs_that_wait_already_and_were_due_when_stored(
    supervisor: Supervisor, tables: Tables
) -> None:
    low = tables.pending(available_at=from_now(-240), created_at=from_now(-240))
    five = {"config": {"owsuper": {"priority": 5}}, "created_at": from_now(0)}
    high = tables.pending(available_at=from_now(-300), **five)
    other = tables.pending(workflow_name="v", available_at=from_now(-301), **five)
    waited = {}
    for run in (other, high, low):
        call = supervisor.queries.claim(
            1, [("w", None), ("v", None)], worker_prefix="", lease_seconds=30, waits=True
        )
        claimed = parse_claim(perform(supervisor.conn, call))
        assert [each.run_id for each in claimed.runs] == [run]
        waited |= claimed.waited
    assert {run: round(seconds, -1) for run, seconds in waited.items()} == {
        other: 0,
        high: 0,
        low: 240,
    }


# --- leases that ran out ---------------------------------------------------------------------


def test_runs_whose_leases_ran_out_are_given_back(supervisor: Supervisor, tables: Tables) -> None:
    lapsed = {
        tables.run(worker_id=OTHER, available_at=from_now(-1)),
        tables.run(worker_id=OTHER, available_at=from_now(-1000), status="sleeping"),
        tables.run(worker_id=OTHER, available_at=from_now(-1000), version="2"),
    }
    others = [
        tables.run(worker_id=OTHER, available_at=from_now(60)),
        tables.run(worker_id=OTHER, available_at=from_now(-1), workflow_name="unserved"),
        tables.run(worker_id=OTHER, available_at=from_now(-1), version="3"),
        tables.run(worker_id=OTHER, available_at=from_now(-1), namespace_id="elsewhere"),
        tables.run(worker_id=OTHER, available_at=from_now(-1), status="completed"),
        tables.parked(available_at=from_now(-1)),
    ]
    before = [tables.fetch(run) for run in others]
    workflows = [("w", None), ("w", "2")]
    swept = supervisor.release_lapsed(*workflows)
    assert (set(swept.run_ids), swept.more) == (lapsed, False)
    assert [tables.fetch(run) for run in others] == before
    assert lapsed < supervisor.claimed_ids(10, *workflows)


def test_a_run_that_its_owner_is_just_writing_is_not_taken_from_it(
    supervisor: Supervisor, tables: Tables, conn: psycopg.Connection
) -> None:
    run = tables.run(worker_id=OTHER, available_at=from_now(-1))
    with conn.transaction():
        conn.execute(f'SELECT FROM "{tables.schema}".workflow_runs FOR UPDATE'.encode())
        swept = supervisor.release_lapsed()
    assert swept.run_ids == []
    again = supervisor.sweeps.release_lapsed([("w", None)], ScanRange(swept.scan.since, 0))
    assert parse_swept(perform(supervisor.conn, again)).run_ids == [run]


def test_many_lapsed_leases_take_several_sweeps(supervisor: Supervisor, tables: Tables) -> None:
    tables.run(worker_id=OTHER, available_at=from_now(-1000))
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".workflow_runs SELECT (jsonb_populate_record(r,'
        " jsonb_build_object('id', n::text))).*"
        f' FROM "{tables.schema}".workflow_runs AS r, generate_series(1, 149) AS n'.encode()
    )
    look, sizes, more = SCAN_ALL, [], True
    while more:
        call = supervisor.sweeps.release_lapsed([("w", None)], look)
        swept = parse_swept(perform(supervisor.conn, call))
        look, more = ScanRange(swept.scan.since, 0), swept.more
        sizes.append(len(swept.run_ids))
    assert sizes == [100, 50]


# --- deadlines ------------------------------------------------------------------------------


def test_missed_deadlines_fail_runs_whoever_has_them(
    supervisor: Supervisor, tables: Tables
) -> None:
    late = [
        tables.run(worker_id=OTHER, deadline_at=from_now(-1)),
        tables.pending(deadline_at=from_now(-5), available_at=from_now(50)),
        tables.parked(deadline_at=from_now(-1), status="sleeping"),
    ]
    others = [
        tables.pending(deadline_at=from_now(300)),
        tables.run(status="completed", deadline_at=from_now(-1)),
        tables.run(namespace_id="elsewhere", deadline_at=from_now(-1)),
        tables.pending(),
    ]
    before = [tables.fetch(run) for run in others]
    expired = parse_swept(perform(supervisor.conn, supervisor.sweeps.expire_deadlines()))
    assert sorted(expired.run_ids) == sorted(late)
    assert not expired.more
    for run in late:
        row = tables.fetch(run)
        assert (row["status"], row["worker_id"], row["available_at"]) == ("failed", None, None)
        assert row["error"] == {"message": "Workflow run deadline exceeded"}
        assert row["finished_at"] == row["updated_at"]
    assert [tables.fetch(run) for run in others] == before


def test_many_missed_deadlines_take_several_sweeps(supervisor: Supervisor, tables: Tables) -> None:
    tables.pending()
    tables.conn.execute(
        f'INSERT INTO "{tables.schema}".workflow_runs SELECT (jsonb_populate_record(r,'
        " jsonb_build_object('id', n::text, 'deadline_at', now()))).*"
        f' FROM "{tables.schema}".workflow_runs AS r, generate_series(1, 150) AS n'.encode()
    )
    sweeps = []
    while not sweeps or sweeps[-1].more:
        rows = perform(supervisor.conn, supervisor.sweeps.expire_deadlines())
        sweeps.append(parse_swept(rows))
    assert [len(sweep.run_ids) for sweep in sweeps] == [100, 50]


def test_a_parent_and_its_child_may_miss_their_deadlines_together(
    supervisor: Supervisor, tables: Tables
) -> None:
    parent = tables.parked(deadline_at=from_now(-1))
    child = tables.child(parent, deadline_at=from_now(-1))
    rows = perform(supervisor.conn, supervisor.sweeps.expire_deadlines())
    assert set(parse_swept(rows).run_ids) == {parent, child}
    assert tables.fetch(parent)["available_at"] is None


def test_a_locked_run_is_left_for_the_next_sweep(
    supervisor: Supervisor, tables: Tables, conn: psycopg.Connection
) -> None:
    parent = tables.parked()
    locked = tables.run(deadline_at=from_now(-1), worker_id=OTHER)
    child = tables.child(parent, deadline_at=from_now(-1))
    free = tables.pending(deadline_at=from_now(-1))
    sweep = supervisor.sweeps.expire_deadlines()
    query = f'SELECT FROM "{tables.schema}".workflow_runs WHERE id = ANY($1) FOR UPDATE'
    with conn.transaction():
        conn.execute(query.encode(), [[locked, parent]])
        assert parse_swept(perform(supervisor.conn, sweep)).run_ids == [free]
    assert set(parse_swept(perform(supervisor.conn, sweep)).run_ids) == {locked, child}
    assert tables.fetch(parent)["available_at"] < from_now(1)


# --- what is left over ----------------------------------------------------------------------


def test_what_was_kept_about_ended_runs_is_forgotten(
    supervisor: Supervisor, tables: Tables
) -> None:
    runs = {
        "open": tables.parked(),
        "pending": tables.pending(),
        "ended": tables.run(status="completed"),
        "gone": "no such run",
        "elsewhere": tables.run(status="completed", namespace_id="elsewhere"),
    }
    for name, run in runs.items():
        namespace = "elsewhere" if name == "elsewhere" else "default"
        for table, columns in (
            ("owsuper_failures", "(namespace_id, workflow_run_id) VALUES ($1, $2)"),
            (
                "owsuper_crashes",
                "(namespace_id, workflow_run_id, crash_id, alone, evidence)"
                " VALUES ($1, $2, 'c', true, '{}')",
            ),
        ):
            query = f'INSERT INTO "{tables.schema}".{table} {columns}'
            tables.conn.execute(query.encode(), [namespace, run])
    assert perform(supervisor.conn, supervisor.sweeps.forget_ended()) == [(b"2",)]
    for table in ("owsuper_failures", "owsuper_crashes"):
        kept = {row["workflow_run_id"] for row in tables.rows(table)}
        assert kept == {runs["open"], runs["pending"], runs["elsewhere"]}


# --- over the connection that they are meant for --------------------------------------------


def test_a_claim_travels_over_a_link(database_url: str, schema: str, tables: Tables) -> None:
    run = tables.pending(input={"a": 1})
    call = ClaimQueries(schema, "default").claim(
        5, [("w", None)], worker_prefix="host:1:", lease_seconds=30
    )
    result = over_link(database_url, *call)
    assert result.sqlstate is None, result.message
    [claimed] = parse_claim(result.rows).runs
    assert (claimed.run_id, claimed.input_json) == (run, b'{"a": 1}')


def test_the_self_test_notifies(database_url: str, schema: str, conn: psycopg.Connection) -> None:
    conn.execute('LISTEN "owsuper-test:1"')
    over_link(database_url, *ClaimQueries(schema, "default").notify("owsuper-test:1"))
    [notify] = conn.notifies(timeout=10, stop_after=1)
    assert (notify.channel, notify.payload) == ("owsuper-test:1", "")


def over_link(database_url: str, statement: Any, params: Any) -> Result:
    results: list[Result] = []
    link = NonblockingConnection(connect.conninfo(database_url, application_name="owsuper test"))
    link.on_connect = lambda: link.send(statement, params, results.append)
    link.start()
    drive(link, lambda: bool(results))
    link.close()
    return results[0]


def drive(link: NonblockingConnection, done: Any) -> None:
    while not done():
        with selectors.DefaultSelector() as selector:
            selector.register(link, link.events)
            [(_, events)] = selector.select(10)
        link.on_ready(events)
