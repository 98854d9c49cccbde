"""Repeating runs by a client, sync and async: errors, and answers that are lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from owsuper import OpenWorkflow, RunNotFound
from owsuper.errors import ConfigurationError, RunNotRerunnable
from tests.client.sync_and_async import Call, sync_and_async
from tests.db.rows import Tables, from_now
from tests.fixtures.proxy import Proxy


@pytest.fixture
def tables(conn: psycopg.Connection, schema: str) -> Tables:
    return Tables(conn, schema)


@sync_and_async
@pytest.mark.parametrize("step", ["", 7, "a\0b", "\ud800"])
def test_what_is_no_name_of_a_step_is_refused(ow: OpenWorkflow, step: Any, call: Call) -> None:
    with pytest.raises(ConfigurationError, match=r"from_step: .* must be the name of a step"):
        call(ow.get_run("x"), "rerun", step)


@sync_and_async
def test_an_unknown_run_is_not_found(ow: OpenWorkflow, call: Call) -> None:
    with pytest.raises(RunNotFound):
        call(ow.get_run("unknown"), "rerun")


@sync_and_async
def test_a_step_that_was_undone_by_the_run_itself_is_not_kept(
    ow: OpenWorkflow, tables: Tables, call: Call
) -> None:
    run = tables.run(status="completed", worker_id=None, available_at=None)
    for place, name in enumerate(("hotel", "flight", "undo hotel", "last")):
        at = from_now(place - 60)
        context = {"undo": True} if name == "hotel" else None
        tables.step(run, step_name=name, status="completed", context=context, created_at=at)
    with pytest.raises(RunNotRerunnable) as info:
        call(ow.get_run(run), "rerun", "flight")
    assert str(info.value) == (
        f"Cannot rerun workflow run {run} with status completed: step 'hotel', which began before"
        " step 'flight', has been undone since. Rerun it from that step, or from an earlier one."
    )
    assert tables.count("workflow_runs") == 1
    for step in (None, "hotel", "last"):
        call(ow.get_run(run), "rerun", step)


@pytest.fixture
def through_proxy(proxy: Proxy, schema: str) -> Iterator[OpenWorkflow]:
    ow = OpenWorkflow(proxy.url, schema=schema, listen=False)
    yield ow
    ow.close()


@sync_and_async
@pytest.mark.parametrize("lose", [Proxy.lose_answer, Proxy.lose_request])
def test_a_rerun_whose_answer_was_lost_is_done_once(
    through_proxy: OpenWorkflow,
    proxy: Proxy,
    tables: Tables,
    call: Call,
    lose: Callable[[Proxy], None],
) -> None:
    run = tables.run(status="failed", worker_id=None, available_at=None)
    for name in ("a", "b"):
        tables.step(run, step_name=name, status="completed", output=1)
    call(through_proxy.get_run(run), "status")
    lose(proxy)
    again = call(through_proxy.get_run(run), "rerun", "b", input=7)
    proxy.wait_for_drop()
    assert tables.count("workflow_runs") == 2
    row = tables.fetch(again.id)
    assert (row["status"], row["input"], row["attempts"]) == ("pending", 7, 1)
    assert [step["step_name"] for step in tables.steps_of(again.id)] == ["a"]
