"""The effect of every operation on rows, beside that of OpenWorkflow's own worker.

The vectors were recorded from the other implementation. Where we differ on purpose, ``DIFFERS``
says so and why; a difference that is not listed there fails, and so does one that is listed
but not there. Error texts are compared only where users see them (cancel).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from owsuper.core.model import (
    Complete,
    Fail,
    NewChildRun,
    Outcome,
    Park,
    Retry,
    RunStatus,
    StepStatus,
    WriteSet,
)
from owsuper.db import connect
from owsuper.db.claims import ClaimQueries, parse_claim
from owsuper.db.clients import ClientQueries
from owsuper.db.new_runs import NewRun
from owsuper.db.related import RelatedStore, lock_text
from owsuper.db.runs import RunStore
from owsuper.db.sweeps import SweepQueries
from owsuper.errors import RunError
from owsuper.stored_error import StoredError
from tests.db.rows import ME, OTHER, Tables, from_now, perform, step_write

Case = dict[str, Any]
VECTORS = Path(__file__).parents[1] / "vectors"
LATER = datetime(2032, 1, 1, tzinfo=UTC)
DIFFERS: dict[str, tuple[str, Any]] = {
    # where: (why, what happens instead)
    "park pending ME": (
        "Parking stands behind the same fence as every other write. There, it takes any run that"
        " has an owner; but a run that is not running never has one.",
        {},
    ),
    "park sleeping ME": ("As for a pending run.", {}),
    "step already settled otherwise": (
        "A write on an attempt that has left 'running' is ignored, not refused: it is the repeated"
        " or late write of a claim that is still good, and what counts is the first.",
        True,
    ),
    "deadline wakes the parent": (
        "Whatever ends a run wakes its parent. There, an expired child leaves it asleep until the"
        " timeout of its step.",
        "child fails terminally",
    ),
    "a due parent is woken": (
        "A parent that is due already is not written again: the ends of many children would wait"
        " for each other. There, its row gets a new updated_at.",
        {},
    ),
    "claim order": (
        "New runs and begun ones are taken in turn, each in their order, so that a standing"
        " backlog of new runs does not keep the begun ones waiting for ever. Of runs that are due"
        " at the same instant, the one that was stored first comes first.",
        [
            "parked-oldest",
            "pending-early-newer",
            "legacy-sleeping",
            "pending-early-older",
            "running-expired-lease",
            "pending-late",
        ],
    ),
    "signal to a run that has ended": (
        "It is delivered to nobody. There, the attempt is delivered to that still looks as if it"
        " waited, and the run is reported to have been reached.",
        0,
    ),
    "cancel finds an open run that its update missed": (
        "Cancelling locks the run before it looks, so nothing can come between.",
        None,
    ),
}


def vectors(name: str, key: str = "cases") -> list[Case]:
    loaded: list[Case] = json.loads((VECTORS / f"{name}.json").read_text())[key]
    return loaded


def label(case: Any) -> str:
    wanted = (value for value in case.values() if not isinstance(value, (dict, bool)))
    return " ".join(str(value) for value in wanted)


class World:
    """Everything at once: the rows, and all that acts on them."""

    def __init__(self, conn: psycopg.Connection, schema: str) -> None:
        self.conn = conn
        self.tables = Tables(conn, schema)
        self.store = RunStore(schema, "default")
        self.related = RelatedStore(schema, "default")
        self.claims = ClaimQueries(schema, "default")
        self.sweeps = SweepQueries(schema, "default")
        self.clients = ClientQueries(schema, "default")

    def commit(self, run: str, outcome: Outcome | None, worker: str = ME) -> bool:
        write = WriteSet(run, worker, (), outcome)
        return self.store.commit(self.conn, [write]) == {worker}

    def expire(self) -> None:
        perform(self.conn, self.sweeps.expire_deadlines())

    def claim(self, limit: int = 1) -> list[str]:
        perform(self.conn, self.sweeps.release_lapsed([("w", None)]))
        call = self.claims.claim(limit, [("w", None)], worker_prefix="host:1:", lease_seconds=30)
        return [run.run_id for run in parse_claim(perform(self.conn, call)).runs]

    def changes(self, before: Case, after: Case) -> Case:
        """What differs, in the notation of the vectors."""
        return {
            name: self._notation(value) for name, value in after.items() if value != before[name]
        }

    def _notation(self, value: Any) -> Any:
        if isinstance(value, datetime):
            row = self.conn.execute("SELECT now()").fetchone()
            assert row
            for ahead in (0, 4, 30):
                if abs(value - row[0] - timedelta(seconds=ahead)) < timedelta(seconds=1.5):
                    return f"<now+{ahead}000ms>" if ahead else "<now>"
            return value.isoformat()
        if isinstance(value, str) and value.startswith("host:1:"):
            return "ME"
        return value


@pytest.fixture
def world(database_url: str, schema: str) -> Iterator[World]:
    with connect.connect(database_url, application_name="owsuper test") as conn:
        yield World(conn, schema)


def owner(named: str | None) -> str | None:
    return {"ME": ME, "OTHER": OTHER, None: None}[named]


# --- runs -----------------------------------------------------------------------------------


def test_operations_on_runs_change_what_they_change_there(world: World) -> None:
    operations = {
        "extend_lease_30s": lambda run: ME in world.store.extend(world.conn, [(run, ME)], 30),
        "park": lambda run: world.commit(run, Park(LATER)),
        "complete_run": lambda run: world.commit(run, Complete(b'{"o": 1}')),
        "complete_run_null_output": lambda run: world.commit(run, Complete(None)),
        "fail_run_terminal": lambda run: world.commit(run, Fail({"message": "new"})),
        "fail_run_retryable": lambda run: world.commit(
            run, Retry(from_now(4), StoredError("new"), counts=True)
        ),
        "reschedule_after_step_failure": lambda run: world.commit(
            run, Retry(LATER, StoredError("new"), counts=False)
        ),
        "create_step_attempt": lambda run: bool(
            world.store.mark_running(
                world.conn,
                [WriteSet(run, ME, (step_write(StepStatus.RUNNING, step_name="n"),))],
            )
        ),
        "cancel": lambda run: not cancel(world, run),
    }
    for case in vectors("transitions"):
        run = world.tables.run(
            status=case["run_status"],
            worker_id=owner(case["worker_id"]),
            attempts=3,
            error={"message": "old"},
        )
        before = world.tables.fetch(run)
        ok = operations[case["operation"]](run)
        changes = world.changes(before, world.tables.fetch(run))
        where = f"{case['operation']} {case['run_status']} {case['worker_id']}"
        if where in DIFFERS:
            assert (ok, changes) == (False, DIFFERS[where][1]), where
            assert case["ok"], where
        else:
            assert (ok, changes) == (case["ok"], case["run_changes"]), where
        if case["operation"] == "create_step_attempt":
            check_inserted(world, run, case.get("inserted_step_attempt"))


def check_inserted(world: World, run: str, expected: Case | None) -> None:
    rows = world.tables.steps_of(run)
    if expected is None:
        assert rows == []
        return
    [row] = rows
    assert row.pop("workflow_run_id") == run
    assert len(row.pop("id")) == len("00000000-0000-4000-8000-000000000000")
    found = world.changes(dict.fromkeys(row, object()), row)
    assert found == {key: value for key, value in expected.items() if key in found}


def cancel(world: World, run: str) -> str | None:
    """The text of the error, if it is one."""
    try:
        world.clients.cancel(run).run(world.conn)
    except RunError as error:
        return str(error).replace(run, "RUN")
    return None


@pytest.mark.parametrize(
    "case", [each for each in vectors("transitions") if each["operation"] == "cancel"], ids=label
)
def test_a_refused_cancel_says_why_as_there(case: Case, world: World) -> None:
    run = world.tables.run(status=case["run_status"], worker_id=owner(case["worker_id"]))
    assert cancel(world, run) == case.get("error_message")


# --- step attempts --------------------------------------------------------------------------


def test_writes_on_step_attempts_change_what_they_change_there(world: World) -> None:
    cases = [case for case in vectors("step_transitions") if case["operation"] != "link_child"]
    for case in cases:
        settled = case["step_status"] != "running"
        run = world.tables.run(status=case["run_status"], worker_id=owner(case["run_worker_id"]))
        step = world.tables.step(
            run,
            status=case["step_status"],
            output="old" if case["step_status"] in ("completed", "succeeded") else None,
            error={"message": "old"} if case["step_status"] == "failed" else None,
            finished_at=from_now(-1) if settled else None,
        )
        written = {
            "complete_step": step_write(attempt_id=step, output_json=b'{"v": 1}'),
            "complete_step_null": step_write(attempt_id=step, output_json=None),
            "fail_step": step_write(StepStatus.FAILED, attempt_id=step, error=StoredError("new")),
        }[case["operation"]]
        before = world.tables.fetch(step, "step_attempts")
        ok = world.store.commit(world.conn, [WriteSet(run, ME, (written,))]) == {ME}
        changes = world.changes(before, world.tables.fetch(step, "step_attempts"))
        assert changes == case["step_changes"], case
        mine = case["run_status"] == "running" and case["run_worker_id"] == "ME"
        expected = case["ok"] or (mine and DIFFERS["step already settled otherwise"][1])
        assert ok == expected, case


def test_a_child_is_linked_to_its_step_when_it_is_there(world: World) -> None:
    cases = [case for case in vectors("step_transitions") if case["operation"] == "link_child"]
    for case in cases:
        run = world.tables.run(status=case["run_status"], worker_id=owner(case["run_worker_id"]))
        step = world.tables.step(run, kind="workflow", status=case["step_status"])
        runs = world.tables.count("workflow_runs")
        before = world.tables.fetch(step, "step_attempts")
        new = NewChildRun(str(uuid4()), "child", None, None)
        child = world.related.adopt(world.conn, run, ME, step, new)
        changes = world.changes(before, world.tables.fetch(step, "step_attempts"))
        named = {name: "RUN" if value == new.run_id else value for name, value in changes.items()}
        assert named == case["step_changes"], case
        assert (child is not None) == case["ok"], case
        assert world.tables.count("workflow_runs") - runs == case["ok"], case


# --- claims ---------------------------------------------------------------------------------


def test_claims_take_what_they_take_there(world: World) -> None:
    moments = {"past": -10, "future": 600}
    for case in vectors("claim"):
        moment = {
            column: from_now(moments[case[column]]) if case[column] in moments else None
            for column in ("available_at", "deadline_at")
        }
        run = world.tables.run(
            status=case["run_status"],
            worker_id=OTHER if case["run_status"] == "running" else None,
            attempts=3,
            started_at=from_now(-60) if case["started_at"] == "set" else None,
            **moment,
        )
        before = world.tables.fetch(run)
        world.expire()
        claimed = world.claim() == [run]
        changes = world.changes(before, world.tables.fetch(run))
        assert (claimed, changes) == (case["claimed"], case["run_changes"]), case
        world.tables.update("workflow_runs", run, status="completed", available_at=None)


def test_the_same_runs_are_claimed_in_our_own_order(world: World) -> None:
    ordering = json.loads((VECTORS / "claim.json").read_text())["ordering"]
    for row in ordering["rows"]:
        world.tables.run(
            id=row["id"],
            status=row["status"],
            worker_id=None,
            available_at=datetime(2020, 1, 1, tzinfo=UTC)
            + timedelta(seconds=row["available_at_offset_s"])
            if row["id"] != "future"
            else from_now(600),
            created_at=datetime(2019, 1, 1, tzinfo=UTC)
            + timedelta(seconds=row["created_at_offset_s"]),
        )
    claimed = [run for _ in ordering["rows"] for run in world.claim()]
    assert claimed == DIFFERS["claim order"][1]
    assert sorted(claimed) == sorted(ordering["claim_order"])


# --- wake-ups -------------------------------------------------------------------------------


def wake(world: World, via: str, child: str) -> None:
    match via:
        case (
            "child completes"
            | "child completes (link missing on step)"
            | "child completes (step no longer running)"
        ):
            assert world.commit(child, Complete(b"1"))
        case "child fails terminally":
            assert world.commit(child, Fail({"message": "bad"}))
        case "child fails retryably":
            assert world.commit(child, Retry(LATER, StoredError("bad"), counts=True))
        case "child canceled":
            world.clients.cancel(child).run(world.conn)
        case "child deadline expires in a claim":
            world.tables.update("workflow_runs", child, deadline_at=from_now(-1))
            world.expire()
            assert world.tables.fetch(child)["status"] == "failed"


def moment(named: str) -> datetime | None:
    return {"past": from_now(-10), "future": from_now(3600), "null": None}[named]


def test_a_signal_wakes_whom_it_wakes_there(world: World) -> None:
    differences = 0
    for case in [case for case in vectors("wakeups") if case["via"] == "signal sent"]:
        run = world.tables.run(
            status=case["waiting_run_status"],
            worker_id=owner(case["waiting_run_worker_id"]),
            available_at=moment(case["waiting_run_available_at"]),
        )
        context = {"kind": "signal-wait", "signal": run}
        world.tables.step(run, kind="signal-wait", context=context)
        before = world.tables.fetch(run)
        reached = world.related.send(world.conn, run, b"1", None, keep=False)
        expected = case["reported_recipients"]
        if case["waiting_run_status"] in ("completed", "canceled"):
            expected = DIFFERS["signal to a run that has ended"][1]
            differences += expected != case["reported_recipients"]
        assert reached == [run] * expected, case
        assert world.changes(before, world.tables.fetch(run)) == case["waiting_run_changes"], case
    assert differences


def test_what_ends_a_child_wakes_its_parent_as_there(world: World) -> None:
    cases = [case for case in vectors("wakeups") if case["via"] != "signal sent"]
    waiting = {
        key: case["waiting_run_changes"]
        for case in cases
        for key in [tuple(value for value in case.values() if not isinstance(value, dict))]
    }
    differences, skipped = 0, 0
    for case in cases:
        parent = world.tables.run(
            status=case["waiting_run_status"],
            worker_id=owner(case["waiting_run_worker_id"]),
            available_at=moment(case["waiting_run_available_at"]),
        )
        child = world.tables.child(parent, linked="link missing" not in case["via"])
        if "no longer running" in case["via"]:
            [step] = world.tables.steps_of(parent)
            world.tables.update("step_attempts", step["id"], status="completed")
        before = world.tables.fetch(parent)
        wake(world, case["via"], child)
        expected = case["waiting_run_changes"]
        if "deadline" in case["via"]:
            _, *key = (value for value in case.values() if not isinstance(value, dict))
            instead = DIFFERS["deadline wakes the parent"][1]
            differences += waiting[(instead, *key)] != expected
            expected = waiting[(instead, *key)]
        if expected == {"updated_at": "<now>"} and case["waiting_run_available_at"] == "past":
            expected = DIFFERS["a due parent is woken"][1]
            skipped += 1
        assert world.changes(before, world.tables.fetch(parent)) == expected, case
    assert differences
    assert skipped


@pytest.mark.parametrize("case", vectors("wakeups", "park_reconciliation"), ids=label)
def test_a_run_that_parks_too_late_is_due_at_once_as_there(case: Case, world: World) -> None:
    run = world.tables.run()
    before = world.tables.fetch(run)
    what, _, state = case["pending_wait"].partition(" ")
    if what == "child":
        status = state.removesuffix(" (legacy)")
        child_owner = OTHER if status == "running" else None
        world.tables.child(run, status=status, worker_id=child_owner)
    elif case["pending_wait"].startswith("another running sleep"):
        context = {"kind": "sleep", "resumeAt": "2020-01-01T00:00:00.000Z"}
        world.tables.step(run, kind="sleep", context=context)
    else:
        step = world.tables.step(
            run,
            kind="signal-wait",
            context={"kind": "signal-wait", "signal": "go", "timeoutAt": None},
            status="completed" if "step completed" in state else "running",
        )
        if "not delivered" not in case["pending_wait"]:
            deliver(world, run, step)
    steps = f'SELECT id FROM "{world.tables.schema}".step_attempts WHERE workflow_run_id = $1'
    waits = tuple(id_ for (id_,) in world.conn.execute(steps.encode(), [run]).fetchall())
    assert world.commit(run, Park(LATER, waits))
    assert world.changes(before, world.tables.fetch(run)) == case["run_changes"]


def deliver(world: World, run: str, step: str) -> None:
    world.conn.execute(
        f'INSERT INTO "{world.tables.schema}".workflow_signals'
        " (namespace_id, id, signal, workflow_run_id, step_attempt_id)"
        " VALUES ('default', gen_random_uuid()::text, 'go', $1, $2)".encode(),
        [run, step],
    )


# --- statuses, idempotency keys -------------------------------------------------------------


def test_the_same_statuses_are_terminal() -> None:
    terminal = json.loads((VECTORS / "statuses.json").read_text())["terminal"]
    ours = {status.value: status.is_terminal for status in RunStatus}
    assert ours == {status: final for status, final in terminal.items() if status != "mystery"}


@pytest.mark.parametrize("case", vectors("statuses", "cancel_conflict"), ids=label)
def test_cancel_answers_by_the_status_it_finds(case: Case, world: World) -> None:
    status = case["existing_status"]
    run = "RUN" if status is None else world.tables.run(status=status)
    error = cancel(world, run)
    if status in ("pending", "running", "sleeping"):
        assert error is DIFFERS["cancel finds an open run that its update missed"][1]
        assert case["error_message"] == "Failed to cancel workflow run"
    else:
        assert error == case.get("error_message")
    if case["ok"]:
        assert world.tables.fetch(run)["status"] == case["returned_status"]


@pytest.mark.parametrize("case", vectors("idempotency_lock"), ids=label)
def test_starting_with_a_key_takes_the_same_lock(
    case: Case, world: World, conn: psycopg.Connection, schema: str
) -> None:
    new = NewRun(workflow_name=case["workflow_name"], idempotency_key=case["idempotency_key"])
    namespace = case["namespace_id"]
    assert lock_text(namespace, new.workflow_name, new.idempotency_key) == case["lock_text"]
    key = int(case["lock_key"])
    conn.execute("SELECT pg_advisory_lock($1)", [key])
    world.conn.execute("SET lock_timeout = '50ms'")
    start = ClientQueries(schema, namespace).start(new)
    with pytest.raises(psycopg.errors.LockNotAvailable):
        start.run(world.conn)
    conn.execute("SELECT pg_advisory_unlock($1)", [key])
    assert start.run(world.conn) == new.id
