"""Executions of runs and steps whose times lie beyond what datetime can hold."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pytest

from owsuper import Step
from owsuper.core.durations import MAX_TIME, MIN_TIME
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

EXTREMES = pytest.mark.parametrize("text", ["infinity", "-infinity", "20000-01-01 UTC"])


def set_times(engine: Engine, text: str) -> None:
    """Let the steps of all runs have begun, and ended if they have, at this time."""
    engine.conn.execute(
        f"""UPDATE "{engine.schema}".step_attempts SET created_at = $1, started_at = $1,
            finished_at = CASE WHEN finished_at IS NOT NULL THEN $1::timestamptz END""",
        [text],
    )


def make_due(engine: Engine, run_id: str) -> None:
    engine.conn.execute(
        f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1', [run_id]
    )


@sync_and_async
@EXTREMES
def test_a_parked_run_goes_on_whatever_the_times_of_its_steps(
    engine: Engine, as_workflow: AsWorkflow, text: str
) -> None:
    def body(step: Any) -> Any:
        yield step.run("first", lambda: 1)
        yield step.sleep("pause", "1h")
        return "done"

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    set_times(engine, text)
    assert engine.execute_once(run_id).outcome == "completed"


@sync_and_async
@EXTREMES
def test_a_wait_and_a_retry_go_on_whatever_their_times(
    engine: Engine, as_workflow: AsWorkflow, text: str
) -> None:
    def fail() -> None:
        raise ValueError("no")

    def body(step: Any) -> Any:
        yield step.run("fail", fail)

    def waiting(step: Any) -> Any:
        yield step.wait_for_signal("go")

    engine.workflow(as_workflow(body))
    engine.ow.workflow("waits")(as_workflow(waiting))
    ids = [engine.start(), engine.start(workflow="waits")]
    outcomes = [engine.execute_once(run_id).outcome for run_id in ids]
    assert outcomes == ["retrying", "parked"]
    engine.conn.execute(f"""UPDATE "{engine.schema}".step_attempts SET context = '{{}}'""".encode())
    set_times(engine, text)
    for run_id in ids:
        make_due(engine, run_id)
    again = [engine.execute_once(run_id) for run_id in ids]
    # The time-out of a wait counts from its beginning, where none is stored.
    ended = text == "-infinity"
    assert [each.outcome for each in again] == ["retrying", "completed" if ended else "parked"]
    if not ended:
        assert all(each.due_in is not None and each.due_in > 1e11 for each in again)


@sync_and_async
@pytest.mark.parametrize("moment", [MIN_TIME, MAX_TIME])
def test_a_run_is_executed_whatever_its_own_times(
    engine: Engine, as_workflow: AsWorkflow, moment: datetime
) -> None:
    def body(step: Any) -> Any:
        yield step.sleep("pause", "1h")
        return "done"

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    times = {
        "created_at": moment,
        "started_at": moment,
        "deadline_at": MAX_TIME - timedelta(days=1),
    }
    for outcome in ("parked", "completed"):
        assert (
            engine.execute_once(run_id, replace(engine.claim(run_id), **times)).outcome == outcome
        )


def test_a_branch_that_sleeps_for_ever_leaves_the_others_alone(engine: Engine) -> None:
    def body(step: Step) -> None:
        step.parallel(
            partial(step.sleep_until, "asleep", MAX_TIME - timedelta(days=1)),
            partial(step.run, "work", partial(time.sleep, 0.2)),
        )

    engine.workflow(body)
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "parked"
    assert sorted(engine.statuses(run_id)) == [("asleep", "running"), ("work", "completed")]


def test_a_branch_whose_failure_lies_in_the_far_future_does_not_break_the_timers(
    engine: Engine,
) -> None:
    def body(step: Step) -> None:
        failing = step.submit("fail", int, "x")
        step.run("work", time.sleep, 0.2)
        failing.result()

    engine.workflow(body)
    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "retrying"
    set_times(engine, "infinity")
    make_due(engine, run_id)
    assert engine.execute_once(run_id).outcome == "retrying"
    called = threading.Event()
    engine.services.timers.call_later(0, called.set)
    assert called.wait(60)


@sync_and_async
def test_times_count_from_the_answer_of_the_claim_however_long_it_took(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        yield step.run("work", lambda: None)

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    claimed = engine.claim(run_id)
    slow = replace(
        claimed,
        claim_sent=claimed.claim_sent - 20,
        deadline_at=claimed.claimed_at + timedelta(seconds=19),
    )
    assert engine.execute_once(run_id, slow).outcome == "completed"


@sync_and_async
def test_no_time_of_a_step_is_later_than_its_commit(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    """Clocks of two hosts do not run equally fast."""

    def body(step: Any) -> Any:
        yield step.run("work", lambda: None)
        yield step.sleep("pause", "1h")

    engine.workflow(as_workflow(body))
    run_id = engine.start()
    claimed = engine.claim(run_id)
    fast = replace(claimed, claim_answered=claimed.claim_answered - 60)
    assert engine.execute_once(run_id, fast).outcome == "parked"
    work, pause = engine.steps(run_id)
    end = engine.row(run_id)["updated_at"]
    assert work["created_at"] <= work["started_at"] <= work["finished_at"] <= end
    assert pause["created_at"] <= pause["started_at"] <= end
    assert pause["finished_at"] is None
