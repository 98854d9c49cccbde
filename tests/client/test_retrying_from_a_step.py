"""Putting ended runs back to a step, sync and async: what stands, what is refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from owsuper import OpenWorkflow, RunNotFound, StoredError
from owsuper.db import connect
from owsuper.errors import ConfigurationError, RunNotRetryable
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.client.test_retrying import ERROR, WAITING
from tests.db.rows import Tables, from_now
from tests.fixtures.proxy import Proxy

ENDED = ["completed", "succeeded", "failed", "canceled"]


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def ended(tables: Tables, status: str = "failed", **columns: Any) -> str:
    """Add a run that has ended; return its id."""
    end = {"status": status, "worker_id": None, "available_at": None, "finished_at": from_now(-1)}
    return tables.run(**{**end, **columns})


def step(tables: Tables, run: str, name: str, began: float, **columns: Any) -> str:
    """Add a completed step attempt that began so many seconds after the first; return its id."""
    at = from_now(began - 100)
    times = {"created_at": at, "started_at": at}
    ends = {"status": "completed", "output": name.upper(), "finished_at": at}
    return tables.step(run, step_name=name, **{**times, **ends, **columns})


def of_names(tables: Tables, run: str) -> list[str]:
    return sorted(row["step_name"] for row in tables.steps_of(run))


def refused(call: Call, ow: OpenWorkflow, tables: Tables, run: str, name: str) -> str:
    """Retry the run from this step, which changes nothing; return the reason."""
    every = ("workflow_runs", "step_attempts", "owsuper_retries", "owsuper_retried_attempts")
    before = [tables.rows(table) for table in every]
    with pytest.raises(RunNotRetryable) as info:
        call(ow.get_run(run), "retry", name)
    assert [tables.rows(table) for table in every] == before
    status = tables.fetch(run)["status"]
    assert (info.value.run_id, info.value.status) == (run, status)
    start = f"Cannot retry workflow run {run} with status {status}: "
    assert str(info.value).startswith(start)
    return str(info.value).removeprefix(start)


# --- what it does ----------------------------------------------------------------------------


@pytest.mark.parametrize("status", ENDED)
@sync_and_async
def test_an_ended_run_goes_back_to_a_step_in_place(
    ow: OpenWorkflow, tables: Tables, call: Call, status: str
) -> None:
    output = {"output": "done"} if status in ("completed", "succeeded") else {"error": ERROR}
    run = ended(tables, status, attempts=3, input={"n": 1}, idempotency_key="k", **output)
    for place, name in enumerate(("reserve", "charge", "ship")):
        step(tables, run, name, place)
    before = tables.fetch(run)
    assert call(ow.get_run(run), "retry", "charge") is None
    row = tables.fetch(run)
    assert (row["status"], row["worker_id"], row["output"]) == ("pending", None, None)
    assert row["available_at"] == row["updated_at"]
    assert row["started_at"] is row["finished_at"] is None
    same = ("id", "attempts", "input", "idempotency_key", "error", "context", "created_at")
    assert [row[name] for name in same] == [before[name] for name in same]
    assert of_names(tables, run) == ["reserve"]


@sync_and_async
def test_steps_before_keep_results_and_failures_and_later_ones_are_set_aside(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, other = ended(tables, "canceled"), ended(tables)
    failure = {"status": "failed", "output": None, "error": ERROR}
    kept = {
        step(tables, run, "paypal", 0, **failure),
        step(tables, run, "slow", 1),
        step(tables, run, "paypal", 4, **failure),  # of a step that began before
        tables.step(run, step_name="beside", created_at=from_now(-98), started_at=from_now(-98)),
    }
    charge = step(tables, run, "charge", 3, **failure)
    again = step(tables, run, "charge", 5)
    nap = step(tables, run, "nap", 6, kind="sleep", status="running", output=None, finished_at=None)
    others = step(tables, other, "charge", 3)
    call(ow.get_run(run), "retry", "charge")
    assert {row["id"] for row in tables.steps_of(run)} == kept
    assert [row["id"] for row in tables.steps_of(other)] == [others]
    listed = {each.id: each for each in call(ow, "list_step_attempts", run).items}
    aside = [listed[each] for each in (charge, again, nap)]
    assert [each.status for each in aside] == ["failed", "completed", "running"]
    assert [each.output for each in aside] == [None, "CHARGE", None]
    assert {each.retried_at for each in aside} != {None}
    assert {listed[each].retried_at for each in kept} == {None}


def test_the_order_of_steps_of_one_millisecond_is_that_of_their_starts(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = ended(tables)
    created = datetime(2026, 1, 2, 12, tzinfo=UTC)
    for n, name in enumerate(("a", "b", "c")):
        started = created.replace(microsecond=900 - n)  # c began first
        tables.step(run, step_name=name, status="completed", created_at=created, started_at=started)
    ow.get_run(run).retry("b")
    assert of_names(tables, run) == ["c"]


@sync_and_async
def test_the_end_before_is_listed(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = ended(tables, "completed", output={"paid": 7})
    step(tables, run, "charge", 0)
    call(ow.get_run(run), "retry", "charge")
    tables.update("workflow_runs", run, status="failed", error=Jsonb(ERROR))
    call(ow.get_run(run), "retry")
    first, second = call(ow, "list_retries", run)
    assert (first.status, first.from_step) == ("completed", "charge")
    assert (first.output, first.error) == ({"paid": 7}, None)
    assert (second.status, second.from_step, second.output) == ("failed", None, None)
    assert second.error == StoredError.from_json(ERROR)


@sync_and_async
def test_child_runs_that_have_ended_lose_their_parent(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = ended(tables)
    children = {}
    for place, name in enumerate(("kept", "aside")):
        attempt = step(tables, run, name, place, kind="workflow")
        children[name] = tables.child_of_step(attempt, status="completed", worker_id=None)
    call(ow.get_run(run), "retry", "aside")
    assert tables.fetch(children["kept"])["parent_step_attempt_id"] is not None
    assert tables.fetch(children["aside"])["parent_step_attempt_id"] is None
    listed = call(ow, "list_runs", parent=run).items
    assert {each.id for each in listed} == set(children.values())


@sync_and_async
def test_signals_that_were_received_are_used_up_and_their_data_are_kept(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.parked()
    waits = {name: tables.signal_wait(run, name, step_name=name) for name in ("one", "two")}
    for name in waits:
        assert call(ow, "send_signal", name, name.upper(), idempotency_key=name) == [run]
    read = {"status": "completed", "output": Jsonb({"data": "ONE"})}
    tables.update("step_attempts", waits["one"], **read)
    end = {"status": "canceled", "worker_id": None, "available_at": None}
    tables.update("workflow_runs", run, **end)
    call(ow.get_run(run), "retry", "one")
    assert tables.count("workflow_signals") == tables.count("step_attempts") == 0
    listed = {each.step_name: each for each in call(ow, "list_step_attempts", run).items}
    assert [listed[name].output for name in waits] == [{"data": "ONE"}, {"data": "TWO"}]
    tables.update("workflow_runs", run, status="running", available_at=from_now(60))
    tables.signal_wait(run, "one", step_name="one")
    assert call(ow, "send_signal", "one", "again", idempotency_key="one") == [run]


def test_many_failed_runs_go_back_to_a_step(ow: OpenWorkflow, tables: Tables) -> None:
    runs = [ended(tables, workflow_name="order") for _ in range(3)]
    for run in runs[:2]:
        step(tables, run, "reserve", 0)
        step(tables, run, "charge", 1)
    done = ow.retry_runs(workflow="order", from_step="charge")
    assert (done.changed, done.refused) == (2, 1)
    assert done.reasons[runs[2]].endswith("it has no step 'charge'. Its steps: none.")
    assert [of_names(tables, run) for run in runs] == [["reserve"], ["reserve"], []]


# --- what is refused -------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "running", "sleeping"])
@sync_and_async
def test_a_run_that_has_not_ended_is_refused(
    ow: OpenWorkflow, tables: Tables, call: Call, status: str
) -> None:
    run = tables.run(status=status)
    step(tables, run, "charge", 0)
    reason = refused(call, ow, tables, run, "charge")
    assert reason == "it has not ended. Cancel it first, or wait for its end."


@sync_and_async
def test_a_step_that_is_none_is_refused_with_those_that_may_be_meant(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run, empty = ended(tables), ended(tables)
    for place, name in enumerate(("reserve", "charge", "charge:1")):
        step(tables, run, name, place)
    reason = refused(call, ow, tables, run, "chagre")
    assert reason == "it has no step 'chagre'. Did you mean 'charge' or 'charge:1'?"
    reason = refused(call, ow, tables, run, "x")
    assert reason == "it has no step 'x'. Its steps: 'reserve', 'charge', 'charge:1'."
    assert refused(call, ow, tables, empty, "x") == "it has no step 'x'. Its steps: none."


@sync_and_async
@pytest.mark.parametrize("name", ["", 7, "a\0b", "\ud800"])
def test_what_is_no_name_of_a_step_is_refused(ow: OpenWorkflow, name: Any, call: Call) -> None:
    with pytest.raises(ConfigurationError, match=r"from_step: .* must be the name of a step"):
        call(ow.get_run("x"), "retry", name)
    with pytest.raises(ConfigurationError, match=r"from_step: .* must be the name of a step"):
        call(ow, "retry_runs", from_step=name, workflow="w")


@sync_and_async
def test_an_unknown_run_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    with pytest.raises(RunNotFound):
        call(ow.get_run("unknown"), "retry", "charge")


@pytest.mark.parametrize("linked", [True, False])
@sync_and_async
def test_child_runs_of_steps_to_repeat_that_have_not_ended_are_refused(
    ow: OpenWorkflow, tables: Tables, call: Call, linked: bool
) -> None:
    run = ended(tables, "canceled")
    early = step(tables, run, "early", 0, kind="workflow", status="running", output=None)
    tables.child_of_step(early)
    step(tables, run, "charge", 1)
    late = step(tables, run, "late", 2, kind="workflow", status="running", output=None)
    child = tables.child_of_step(late, linked=linked, status="pending", worker_id=None)
    reason = refused(call, ow, tables, run, "charge")
    assert reason == (
        f"child runs of the steps to repeat have not ended: {child} of step 'late'. Cancel them, or"
        " wait for their end."
    )
    call(ow.get_run(child), "cancel")
    call(ow.get_run(run), "retry", "charge")
    assert of_names(tables, run) == ["early"]


@sync_and_async
def test_undos_and_runs_that_are_undone_are_refused(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    undone = ended(tables, context={"undoneBy": "other"})
    undo = ended(tables, workflow_name="undo:w")
    for run in (undone, undo):
        step(tables, run, "charge", 0)
    assert "run other undoes its steps" in refused(call, ow, tables, undone, "charge")
    reason = refused(call, ow, tables, undo, "charge")
    assert reason == 'it undoes a run of workflow "w". Retry it without a step if it has failed.'


@sync_and_async
def test_a_step_that_was_undone_by_the_run_itself_does_not_stand(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = ended(tables, "completed")
    step(tables, run, "hotel", 0, context={"undo": True})
    step(tables, run, "flight", 1)
    step(tables, run, "undo hotel", 2)
    reason = refused(call, ow, tables, run, "flight")
    assert reason == (
        "step 'hotel', which began before step 'flight', has been undone since. Retry from that"
        " step, or from an earlier one."
    )
    call(ow.get_run(run), "retry", "hotel")
    assert of_names(tables, run) == []


@sync_and_async
def test_a_run_that_has_continued_as_new_is_refused(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = ended(tables, "completed", context={"continuedAs": "next"})
    step(tables, run, "charge", 0)
    reason = refused(call, ow, tables, run, "charge")
    assert reason == "it has continued as run next. Rerun it, or retry that run."


@sync_and_async
def test_a_run_past_its_deadline_is_refused(ow: OpenWorkflow, tables: Tables, call: Call) -> None:
    run = ended(tables, deadline_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    step(tables, run, "charge", 0)
    reason = refused(call, ow, tables, run, "charge")
    assert reason.startswith("its deadline passed at 2026-01-02 03:04:05 UTC")


@pytest.mark.parametrize("executing", [True, False])
@sync_and_async
def test_a_result_that_the_parent_has_or_is_taking_does_not_change(
    ow: OpenWorkflow, tables: Tables, call: Call, executing: bool
) -> None:
    parent = tables.run() if executing else tables.parked()
    attempt = tables.step(parent, step_name="part", kind="workflow")
    child = tables.child_of_step(
        attempt, status="completed", worker_id=None, available_at=None, output=7
    )
    step(tables, child, "charge", 0)
    if not executing:
        tables.update("step_attempts", attempt, status="completed")
    reason = refused(call, ow, tables, child, "charge")
    assert reason == (
        f"its parent, run {parent}, has its result, or is taking it. Retry or rerun that run from"
        " step 'part'."
    )
    tables.update("workflow_runs", parent, worker_id=None)
    tables.update("step_attempts", attempt, status="running")
    call(ow.get_run(child), "retry", "charge")
    assert tables.fetch(child)["status"] == "pending"
    assert tables.fetch(child)["parent_step_attempt_id"] == attempt


@sync_and_async
def test_a_failure_that_the_parent_has_seen_does_not_keep_the_run(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    """As a retry without a step: the parent does not change."""
    parent = ended(tables, "completed")
    attempt = step(tables, parent, "part", 0, kind="workflow", status="failed", output=None)
    child = tables.child_of_step(attempt, status="failed", worker_id=None, available_at=None)
    step(tables, child, "charge", 0)
    before = tables.fetch(parent), tables.steps_of(parent)
    call(ow.get_run(child), "retry", "charge")
    assert tables.fetch(child)["status"] == "pending"
    assert (tables.fetch(parent), tables.steps_of(parent)) == before


# --- at the same time, and through outages ---------------------------------------------------


def test_one_of_two_at_the_same_time_is_refused(
    ow: OpenWorkflow, tables: Tables, database_url: str
) -> None:
    run = ended(tables)
    step(tables, run, "charge", 0)
    refusals: list[str] = []

    def retry() -> None:
        try:
            ow.get_run(run).retry("charge")
        except RunNotRetryable as error:
            refusals.append(error.status)

    both = [threading.Thread(target=retry) for _ in range(2)]
    with connect.connect(database_url, application_name="owsuper test") as other:
        other.execute("BEGIN")
        Tables(other, tables.schema).update("workflow_runs", run, updated_at=from_now(0))
        for each in both:
            each.start()
        eventually(lambda: tables.conn.execute(WAITING.encode()).fetchone() == (2,))
        other.execute("COMMIT")
    for each in both:
        each.join()
    assert refusals == ["pending"]
    assert tables.count("owsuper_retries") == tables.count("owsuper_retried_attempts") == 1


def test_a_parent_that_takes_the_result_meanwhile_is_waited_for(
    ow: OpenWorkflow, tables: Tables, database_url: str
) -> None:
    parent = tables.parked()
    attempt = tables.step(parent, step_name="part", kind="workflow")
    child = tables.child_of_step(attempt, status="completed", worker_id=None, available_at=None)
    step(tables, child, "charge", 0)
    refusals: list[RunNotRetryable] = []

    def retry() -> None:
        try:
            ow.get_run(child).retry("charge")
        except RunNotRetryable as error:
            refusals.append(error)

    retrying = threading.Thread(target=retry)
    with connect.connect(database_url, application_name="owsuper test") as other:
        other.execute("BEGIN")
        claiming = Tables(other, tables.schema)
        claiming.update("workflow_runs", parent, worker_id="w")
        retrying.start()
        eventually(lambda: tables.conn.execute(WAITING.encode()).fetchone() == (1,))
        other.execute("COMMIT")
    retrying.join()
    assert [f"run {parent}, has its result" in str(each) for each in refusals] == [True]
    assert tables.fetch(child)["status"] == "completed"


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
def test_a_retry_whose_answer_was_lost_is_done_once(
    through_proxy: OpenWorkflow, proxy: Proxy, tables: Tables, lose: Callable[[Proxy], None]
) -> None:
    run = ended(tables, "canceled")
    step(tables, run, "charge", 0)
    through_proxy.get_run(run).status()
    lose(proxy)
    through_proxy.get_run(run).retry("charge")
    proxy.wait_for_drop()
    assert tables.fetch(run)["status"] == "pending"
    assert tables.count("owsuper_retries") == 1
