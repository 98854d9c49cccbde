"""Why a run is not running: each reason, as a sentence and as data."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, Reason, ReasonKind, RunNotFound
from owsuper.client.reasons import ReasonKind as Kind
from owsuper.db import connect
from owsuper.db.presence import STALE, PresenceQueries
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.announcements import announced, child, executing
from tests.db.rows import Tables, from_now, perform

WORKER = "shop:17:abc"
CLAIM = f"{WORKER}:claim"
AT = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"

Announce = Callable[..., None]
Only = Callable[[str], Reason]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@pytest.fixture
def announce(database_url: str, schema: str) -> Iterator[Announce]:
    """A connected supervisor announces what it serves and does."""
    with ExitStack() as stack:

        def register(
            *workflows: tuple[str, str | None], worker: str = WORKER, **status: Any
        ) -> None:
            conn = stack.enter_context(connect.connect(database_url, application_name="test"))
            queries = PresenceQueries(schema, "default", worker)
            perform(conn, queries.register(30, "shop", 17))
            perform(conn, announced(queries, workflows=workflows, **status))

        yield register


@pytest.fixture
def only(ow: OpenWorkflow) -> Only:
    """The only reason why a run is not running."""

    def reason(run_id: str) -> Reason:
        [found] = ow.get_run(run_id).why()
        return found

    return reason


def matches(pattern: str, reason: Reason) -> bool:
    return re.fullmatch(pattern.replace("AT", AT), str(reason)) is not None


# --- ended, running ----------------------------------------------------------------------------


@sync_and_async
def test_a_run_that_has_ended_is_said_to_have_ended(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.run(status="failed", worker_id=None, finished_at=from_now(-5), available_at=None)
    [reason] = call(ow.get_run(run), "why")
    assert reason.kind is ReasonKind.ENDED is Kind.ENDED
    assert matches("it is failed at AT", reason)


@pytest.mark.parametrize("status", ["pending", "failed", "completed"])
def test_a_run_that_is_undone_is_said_to_be(ow: OpenWorkflow, tables: Tables, status: str) -> None:
    undo = tables.run(workflow_name="undo:w", status=status)
    run = tables.run(status="canceled", worker_id=None, context={"undoneBy": undo})
    ended, undone = ow.get_run(run).why()
    assert (ended.kind, undone.kind) == (Kind.ENDED, Kind.UNDONE)
    advice = ": retry that run, or skip its undo, to continue" if status == "failed" else ""
    assert str(undone) == f"run {undo} undoes its steps, and is {status}{advice}"
    gone = tables.run(status="failed", worker_id=None, context={"undoneBy": "gone"})
    assert [reason.kind for reason in ow.get_run(gone).why()] == [Kind.ENDED]


@sync_and_async
def test_a_run_that_does_not_exist_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    with pytest.raises(RunNotFound):
        call(ow.get_run("nope"), "why")


def test_a_run_that_runs_is_said_to_run_where_and_since_when(
    tables: Tables, announce: Announce, only: Only
) -> None:
    run = tables.run(worker_id=CLAIM)
    announce(children=[child(1), child(2, executing(run))])
    reason = only(run)
    assert reason.kind is ReasonKind.RUNNING
    assert matches(r"it runs since AT, step 's', in child 2 \(pid 102\) of shop:17", reason)
    assert reason.since is not None
    assert abs(from_now(-10) - reason.since) < timedelta(seconds=5)
    assert reason.step_name == "s"
    assert [worker.id for worker in reason.workers] == [WORKER]


# --- claimed -----------------------------------------------------------------------------------


def test_a_run_that_its_worker_has_given_to_no_process_yet_is_claimed(
    tables: Tables, announce: Announce, only: Only
) -> None:
    run = tables.run(worker_id=CLAIM)
    announce(free=0, children=[child(1, executing("other"), held=2)])
    reason = only(run)
    assert reason.kind is ReasonKind.CLAIMED
    assert matches(
        "it is claimed since AT by shop:17, and was in none of its child processes.*", reason
    )
    assert "2 of 2 slots busy" in reason.message


def test_a_suspect_waits_for_a_child_of_its_own(
    tables: Tables, announce: Announce, only: Only
) -> None:
    run = tables.run(worker_id=CLAIM, attempts=2)
    announce(suspects=[{"id": run, "since": 995.0}])
    reason = only(run)
    assert reason.kind is ReasonKind.SUSPECT
    assert matches(
        "it is claimed since AT by shop:17, where it waits for a child process of its own.*", reason
    )


def test_a_run_of_a_worker_that_is_unknown_is_claimed_until_its_lease_ends(
    tables: Tables, only: Only
) -> None:
    run = tables.run(worker_id="elsewhere:3:x:y")
    reason = only(run)
    assert reason.kind is ReasonKind.CLAIMED
    assert reason.until == tables.fetch(run)["available_at"]
    pattern = "it is claimed by elsewhere:3, which has not announced itself; its lease ends at AT.*"
    assert matches(pattern, reason)


def test_a_run_of_a_worker_that_is_dead_waits_for_its_lease(
    tables: Tables, conn: psycopg.Connection, schema: str, only: Only
) -> None:
    run = tables.run(worker_id=CLAIM)
    perform(conn, announced(PresenceQueries(schema, "default", WORKER)))  # and holds no lock
    reason = only(run)
    assert reason.kind is ReasonKind.WORKER_MISSING
    assert matches(
        "it is claimed since AT by shop:17, which is dead, or cut off from the database.*", reason
    )
    assert reason.until == tables.fetch(run)["available_at"]


def test_a_run_of_a_worker_whose_supervisor_is_silent_may_still_be_executed(
    tables: Tables, announce: Announce, only: Only
) -> None:
    run = tables.run(worker_id=CLAIM)
    announce()
    tables.update("owsuper_supervisors", WORKER, announced_at=from_now(-STALE - 1))
    reason = only(run)
    assert reason.kind is ReasonKind.WORKER_MISSING
    assert "its child processes may still execute the run" in reason.message


def test_a_run_whose_lease_has_ended_waits_for_another_worker(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.run(worker_id=CLAIM, available_at=from_now(-5))
    lease, due = ow.get_run(run).why()
    assert lease.kind is ReasonKind.LEASE_ENDED
    assert matches("the lease of its worker shop:17 ended at AT: a worker .* takes it over", lease)
    assert due.kind is ReasonKind.NO_WORKER


# --- parked ------------------------------------------------------------------------------------


def test_a_run_that_is_scheduled_is_not_due(tables: Tables, only: Only) -> None:
    run = tables.pending(available_at=from_now(60))
    reason = only(run)
    assert reason.kind is ReasonKind.NOT_DUE
    assert reason.until == tables.fetch(run)["available_at"]
    assert matches("it is not due until AT", reason)


def test_a_run_without_a_due_time_is_never_due(tables: Tables, only: Only) -> None:
    reason = only(tables.pending(available_at=None))
    assert reason.kind is ReasonKind.NOT_DUE
    assert "it has no due time (available_at is NULL), so no worker claims it" in reason.message


def test_a_run_that_waits_is_said_to_wait_for_each_of_its_waits(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.parked()
    tables.step(run, step_name="nap", kind="sleep", context={"resumeAt": "2099-01-02T03:04:05Z"},
                created_at=from_now(-9))  # fmt: skip
    tables.step(run, step_name="ask", kind="signal-wait", context={"signal": "go", "timeoutAt":
                "2099-01-02T03:04:06Z"}, created_at=from_now(-8))  # fmt: skip
    of_step = tables.step(run, step_name="sub", kind="workflow", created_at=from_now(-7))
    child_run = tables.child_of_step(of_step)
    nap, ask, sub = ow.get_run(run).why()
    assert (nap.kind, nap.step_name) == (ReasonKind.SLEEP, "nap")
    assert str(nap) == "it sleeps in 'nap', until 2099-01-02 03:04:05Z"
    assert (ask.kind, ask.signal, ask.step_name) == (ReasonKind.SIGNAL, "go", "ask")
    assert str(ask) == "it waits for the signal 'go' in 'ask', until 2099-01-02 03:04:06Z"
    assert (sub.kind, sub.child_run_id) == (ReasonKind.CHILD_RUN, child_run)
    assert str(sub) == f"it waits for the child run {child_run} of 'sub'"


def test_a_step_that_is_tried_again_is_named_with_its_failures(tables: Tables, only: Only) -> None:
    run = tables.parked(error={"message": "bad"})
    for seconds in (-9, -8):
        tables.step(run, step_name="charge", status="failed", error={"message": "bad"},
                    created_at=from_now(seconds), finished_at=from_now(seconds))  # fmt: skip
    reason = only(run)
    assert (reason.kind, reason.step_name) == (ReasonKind.RETRY, "charge")
    assert reason.until == tables.fetch(run)["available_at"]
    assert matches("the step 'charge' has failed 2 times, and is tried again at AT", reason)


def test_a_workflow_that_is_tried_again_is_said_to_be(tables: Tables, only: Only) -> None:
    reason = only(tables.parked(error={"message": "bad"}))
    assert reason.kind is ReasonKind.RETRY
    assert matches("it has failed, and is tried again at AT", reason)


# --- due ---------------------------------------------------------------------------------------


def test_without_any_worker_there_is_no_worker(tables: Tables, only: Only) -> None:
    reason = only(tables.pending(workflow_name="order", version="3"))
    assert reason.kind is ReasonKind.NO_WORKER
    pattern = (
        r"it is due since AT, but no worker with order \(version 3\) is connected in this"
        " namespace, and no other worker either"
    )
    assert matches(pattern, reason)


def test_without_a_worker_of_its_version_the_others_are_named_with_what_they_have(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("order", "2"), ("mail", None))
    reason = only(tables.pending(workflow_name="order", version="3"))
    assert reason.kind is ReasonKind.NO_WORKER
    assert reason.message.endswith(": shop:17 serves order (version 2)")
    of_another = only(tables.pending(workflow_name="nope"))
    assert "no worker with nope (without a version) is connected" in of_another.message
    assert of_another.message.endswith(": shop:17 serves order (version 2), mail")
    assert [worker.workflows for worker in reason.workers] == [(("order", "2"), ("mail", None))]


def test_a_worker_that_is_missing_serves_nothing(
    tables: Tables, conn: psycopg.Connection, schema: str, only: Only
) -> None:
    perform(conn, announced(PresenceQueries(schema, "default", WORKER), workflows=[("w", None)]))
    assert only(tables.pending()).kind is ReasonKind.NO_WORKER


def test_when_the_slots_of_a_workflow_are_busy_its_bound_is_the_reason(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("report", None), ("mail", None), free=3, slots=4, full=["report"])
    reason = only(tables.pending(workflow_name="report"))
    assert reason.kind is ReasonKind.SLOTS_BUSY
    pattern = (
        "it is due since AT; as many runs of report are in progress as its concurrency= allows each"
        r" worker: shop:17 \(.*\)"
    )
    assert matches(pattern, reason)
    assert only(tables.pending(workflow_name="mail")).kind is ReasonKind.QUEUED


def test_when_all_slots_are_busy_the_workers_are_named(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("w", None), free=0, children=[child(held=2)])
    announce(("other", None), worker="shop:18:abc", free=1)
    reason = only(tables.pending())
    assert reason.kind is ReasonKind.SLOTS_BUSY
    assert reason.message.endswith(
        "all slots of the workers with this workflow are busy: shop:17 (2 of 2 slots busy)"
    )


def test_when_its_workers_stop_they_do_not_take_it(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("w", None), state="draining", free=0, children=[child(held=2)])
    reason = only(tables.pending())
    assert reason.kind is ReasonKind.NOT_SERVING
    assert "shop:17 (draining, 2 of 2 slots busy)" in reason.message


def test_a_worker_of_an_earlier_version_is_said_to_be_one(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("w", None))
    tables.update("owsuper_supervisors", WORKER, announced_at=None, status=None)
    reason = only(tables.pending())
    assert reason.kind is ReasonKind.QUEUED
    assert "shop:17 (of another version, so what it does is not known)" in reason.message


def test_when_slots_are_free_it_is_about_to_be_claimed(
    tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("w", None))
    reason = only(tables.pending())
    assert reason.kind is ReasonKind.QUEUED
    assert "there are free slots, so a worker should claim it at once" in reason.message


def test_a_run_that_has_lost_its_process_is_said_to_need_a_child_of_its_own(
    conn: psycopg.Connection, schema: str, tables: Tables, announce: Announce, only: Only
) -> None:
    announce(("w", None), free=0)
    run = tables.run(worker_id=None, available_at=from_now(-1), attempts=1)
    conn.execute(
        f'INSERT INTO "{schema}".owsuper_crashes (namespace_id, workflow_run_id, crash_id, alone,'
        f" evidence) VALUES ('default', '{run}', 'c', false, '{{}}')".encode()
    )
    assert only(run).message.endswith(
        "it has lost its process before, so it needs a child of its own"
    )


def test_a_run_past_its_deadline_is_about_to_fail(tables: Tables, only: Only) -> None:
    reason = only(tables.pending(deadline_at=from_now(-1)))
    assert reason.kind is ReasonKind.DEADLINE
    assert matches("its deadline passed at AT: a worker .* fails it within a second.*", reason)
