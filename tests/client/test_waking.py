"""Ending the waits of runs by hand, sync and async: what ends, what goes on, what is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from textwrap import dedent
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, RunNotFound
from owsuper.errors import ConfigurationError, RunNotWakeable
from tests.client.conftest import eventually
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.limits import Limits
from tests.db.rows import Tables, from_now
from tests.fixtures.proxy import Proxy

TOMORROW = "2099-01-01T00:00:00.000Z"
SLEEP = {"kind": "sleep", "context": {"kind": "sleep", "resumeAt": TOMORROW}}
ERROR = {"name": "CardError", "message": "declined"}


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


def is_due(tables: Tables, run: str) -> bool:
    return bool(tables.fetch(run)["available_at"] <= from_now(0))


def end_of(tables: Tables, step: str, member: str) -> datetime:
    return datetime.fromisoformat(tables.fetch(step, "step_attempts")["context"][member])


# --- what it does ----------------------------------------------------------------------------


@sync_and_async
def test_a_sleep_and_a_wait_for_a_signal_end_now(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.parked()
    sleep = tables.step(run, step_name="nap", **SLEEP)
    wait = tables.signal_wait(run, step_name="go")
    over = tables.step(run, step_name="old", status="completed", **SLEEP)
    began = from_now(-1)
    assert call(ow.get_run(run), "wake") is None
    assert is_due(tables, run)
    assert tables.fetch(run)["status"] == "running"
    assert began < end_of(tables, sleep, "resumeAt") <= from_now(0)
    assert began < end_of(tables, wait, "timeoutAt") <= from_now(0)
    assert tables.fetch(wait, "step_attempts")["context"]["signal"] == "go"
    assert tables.fetch(over, "step_attempts")["context"] == SLEEP["context"]


@sync_and_async
def test_one_step_is_woken_by_its_name_and_the_others_wait_on(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.parked()
    nap, other = (tables.step(run, step_name=name, **SLEEP) for name in ("nap", "nap:1"))
    call(ow.get_run(run), "wake", "nap:1")
    assert is_due(tables, run)
    assert end_of(tables, nap, "resumeAt").year == 2099
    assert end_of(tables, other, "resumeAt").year < 2099


def test_a_run_that_is_to_start_later_or_to_be_retried_is_due_now(
    ow: OpenWorkflow, tables: Tables
) -> None:
    later = tables.pending(available_at=from_now(3600))
    retried = tables.pending(available_at=from_now(3600), attempts=1, error=ERROR)
    failed = tables.step(retried, status="failed", error=ERROR)
    for run in (later, retried):
        ow.get_run(run).wake()
        assert is_due(tables, run)
        assert tables.fetch(run)["status"] == "pending"
    stored = tables.fetch(failed, "step_attempts")["error"]
    assert datetime.fromisoformat(stored.pop("retryAt")) <= from_now(0)
    assert stored == ERROR


def test_a_run_that_is_due_stays_due(ow: OpenWorkflow, tables: Tables) -> None:
    run = tables.pending()
    before = tables.fetch(run)
    ow.get_run(run).wake()
    assert tables.fetch(run) == before


def test_a_step_that_the_code_gave_up_does_not_make_a_waiting_run_due(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.parked()
    tables.step(run, status="failed", error=ERROR)
    child = tables.child(run)
    with pytest.raises(RunNotWakeable, match=f"waits for its child runs.*{child}"):
        ow.get_run(run).wake()
    assert not is_due(tables, run)


# --- what is refused -------------------------------------------------------------------------


@sync_and_async
@pytest.mark.parametrize("status", ["completed", "failed", "canceled"])
def test_a_run_that_has_ended_is_refused(
    ow: OpenWorkflow, tables: Tables, status: str, call: Call
) -> None:
    run = tables.run(status=status, available_at=None, worker_id=None)
    step = tables.step(run, **SLEEP)
    with pytest.raises(RunNotWakeable, match=f"with status {status}: only a run") as caught:
        call(ow.get_run(run), "wake")
    assert (caught.value.run_id, caught.value.status) == (run, status)
    assert end_of(tables, step, "resumeAt").year == 2099


def test_a_run_that_a_worker_executes_is_refused(ow: OpenWorkflow, tables: Tables) -> None:
    run = tables.run()
    step = tables.step(run, **SLEEP)
    with pytest.raises(RunNotWakeable, match="a worker is executing it"):
        ow.get_run(run).wake()
    assert end_of(tables, step, "resumeAt").year == 2099


def test_a_wait_for_a_child_run_is_refused_and_the_child_run_is_named(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.parked()
    child = tables.child(run, worker_id=None)
    with pytest.raises(RunNotWakeable, match=f"Wake or cancel those: {child}"):
        ow.get_run(run).wake()
    with pytest.raises(RunNotWakeable, match=f"step 's' waits for a child run.*{child}"):
        ow.get_run(run).wake("s")
    tables.step(run, step_name="nap", **SLEEP)
    ow.get_run(run).wake()
    assert is_due(tables, run)


def test_a_wait_for_a_limit_is_refused_and_those_of_steps_end(
    ow: OpenWorkflow, tables: Tables
) -> None:
    limits = Limits(tables)
    limits.declare()
    runs = [tables.pending(available_at=from_now(number - 9)) for number in range(2)]
    assert limits.claim() == runs[:1]
    with pytest.raises(RunNotWakeable, match="it waits for a limit, which wake does not end"):
        ow.get_run(runs[1]).wake()
    assert limits.claim() == []
    nap = tables.step(runs[1], step_name="nap", **SLEEP)
    ow.get_run(runs[1]).wake("nap")
    assert end_of(tables, nap, "resumeAt").year < 2099
    limits.end(runs[0])
    assert limits.claim() == runs[1:]


def test_a_step_that_does_not_wait_is_refused_and_those_that_do_are_named(
    ow: OpenWorkflow, tables: Tables
) -> None:
    run = tables.parked()
    tables.step(run, step_name="nap", **SLEEP)
    with pytest.raises(RunNotWakeable, match=r"step 'nab' does not wait.*that wait: 'nap'"):
        ow.get_run(run).wake("nab")
    assert not is_due(tables, run)


@sync_and_async
@pytest.mark.parametrize("step", ["", 7, "a\0b", "\ud800"])
def test_what_is_no_name_of_a_step_is_refused(ow: OpenWorkflow, step: Any, call: Call) -> None:
    with pytest.raises(ConfigurationError, match=r"step: .* must be the name of a step"):
        call(ow.get_run("x"), "wake", step)


@sync_and_async
def test_an_unknown_run_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    with pytest.raises(RunNotFound):
        call(ow.get_run("unknown"), "wake")


# --- with workers and broken connections -------------------------------------------------------


FLOWS = """
    from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step

    ow = OpenWorkflow()
    slowly = RetryPolicy(initial_interval="1h", maximum_attempts=2)
    tried = []

    def fail_once() -> str:
        tried.append(1)
        if len(tried) == 1:
            raise ValueError("not yet")
        return "done"

    @ow.workflow
    def patient(step: Step) -> list[object]:
        step.sleep("nap", "3d")
        signal = step.wait_for_signal("go", timeout="3d")
        return [signal, step.run("try", fail_once, retry=slowly)]
"""


def test_a_worker_goes_on_with_a_run_that_is_woken(
    ow: OpenWorkflow, tables: Tables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "flows.py").write_text(dedent(FLOWS))
    monkeypatch.chdir(tmp_path)
    handle = ow.run_workflow("patient")
    worker = ow.new_worker(processes=1, concurrency=1, modules=["flows.py"])
    worker.start()
    try:
        for name in ("nap", "go", "try"):
            eventually(partial(is_paused, tables, handle.id, name))
            handle.wake()
        assert handle.result(timeout=30) == [None, "done"]
    finally:
        worker.stop()


def is_paused(tables: Tables, run: str, step: str) -> bool:
    """Whether the run waits at this step, and no worker has it."""
    at = [row for row in tables.steps_of(run) if row["step_name"] == step]
    return bool(at) and at[-1]["status"] != "completed" and not tables.fetch(run)["worker_id"]


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@sync_and_async
@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
def test_a_wake_up_whose_answer_was_lost_is_done(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    tables: Tables,
    call: Call,
    lose: Callable[[Proxy], None],
) -> None:
    run = tables.parked()
    tables.step(run, **SLEEP)
    call(through_proxy.get_run(run), "status")
    lose(proxy)
    call(through_proxy.get_run(run), "wake")
    proxy.wait_for_drop()
    assert is_due(tables, run)
