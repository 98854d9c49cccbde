"""Runs that continue as new: one successor, with all that is inherited; sync and async."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import AsyncStep, RunCanceled, Step
from owsuper.errors import InvalidData, StepUsageError
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.client.conftest import eventually


@dataclass
class Count:
    left: int
    done: int = 0


def chain(engine: Engine, first: str) -> list[dict[str, Any]]:
    """Execute a chain of runs to its end; their rows."""
    rows = [engine.finish(first)]
    while after := (rows[-1]["context"] or {}).get("continuedAs"):
        rows.append(engine.finish(after))
    return rows


def count_down(engine: Engine, calls: Calls, *, is_async: bool) -> None:
    tick = calls("tick")
    if is_async:

        @engine.ow.workflow("main")
        async def down(step: AsyncStep, input: Count) -> int:
            await step.run("tick", tick)
            if input.left:
                step.continue_as_new(Count(input.left - 1, input.done + 1))
            return input.done

    else:

        @engine.ow.workflow("main")
        def main(step: Step, input: Count) -> int:
            step.run("tick", tick)
            if input.left:
                step.continue_as_new(Count(input.left - 1, input.done + 1))
            return input.done


@pytest.mark.parametrize("is_async", [False, True])
def test_each_run_starts_its_successor_without_a_history(
    engine: Engine, calls: Calls, is_async: bool
) -> None:
    count_down(engine, calls, is_async=is_async)
    first = engine.start({"left": 3})
    engine.conn.execute(
        f"UPDATE \"{engine.schema}\".workflow_runs SET idempotency_key = 'k',"
        " deadline_at = now() + interval '1 hour',"
        """ context = '{"traceContext": {"traceparent": "t"}}'"""
    )
    rows = chain(engine, first)
    assert [row["input"]["left"] for row in rows] == [3, 2, 1, 0]
    assert {row["status"] for row in rows} == {"completed"}
    assert [row["output"] for row in rows] == [None, None, None, 3]
    assert {(row["idempotency_key"], row["deadline_at"]) for row in rows} == {
        ("k", rows[0]["deadline_at"])
    }
    ids = [row["id"] for row in rows]
    trace = {"traceContext": {"traceparent": "t"}}
    assert [row["context"] for row in rows] == [
        trace | {"continuedAs": ids[1]},
        *(
            trace | {"continuedFrom": before, "firstRun": first, "continuedAs": after}
            for before, after in zip(ids, ids[2:], strict=False)
        ),
        trace | {"continuedFrom": ids[2], "firstRun": first},
    ]
    assert [engine.statuses(run_id) for run_id in ids] == [[("tick", "completed")]] * 4
    assert calls.made == ["tick"] * 4
    handle = engine.ow.get_run(first)
    assert handle.result(timeout=5) == 3
    details = [engine.ow.get_run(run_id).details() for run_id in ids]
    assert [each.continued_from for each in details] == [None, *ids[:-1]]
    assert [each.continued_as for each in details] == [*ids[1:], None]


@sync_and_async
class TestContinuing:
    def test_a_parent_gets_the_result_of_the_last_run(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            return (yield step.run_workflow("child", {"left": 2}))

        @engine.ow.workflow("child")
        def child(step: Step, input: Count) -> int:
            step.run("tick", calls("tick"))
            if input.left:
                step.continue_as_new(Count(input.left - 1, input.done + 1))
            return input.done

        engine.workflow(as_workflow(body))
        parent = engine.start()
        assert engine.execute_once(parent).outcome == "parked"
        [wait] = engine.steps(parent)
        parked = engine.row(parent)["available_at"]
        first = wait["child_workflow_run_id"]
        rows = [engine.finish(first)]
        assert engine.row(parent)["available_at"] == parked  # it is not woken for nothing
        [wait] = engine.steps(parent)
        assert wait["child_workflow_run_id"] == rows[0]["context"]["continuedAs"]
        rows += chain(engine, wait["child_workflow_run_id"])
        assert {row["parent_step_attempt_id"] for row in rows} == {wait["id"]}
        assert engine.finish(parent)["output"] == 2

    def test_the_successor_may_have_another_workflow(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @engine.ow.workflow("main", version="2")
        def newer(step: Step, input: int) -> int:
            return input * 2

        def body(step: Any) -> Any:
            yield
            step.continue_as_new(4, workflow=newer)

        engine.workflow(as_workflow(body))
        rows = chain(engine, engine.start())
        assert [(row["version"], row["output"]) for row in rows] == [(None, None), ("2", 8)]

    def test_what_catches_everything_changes_nothing(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield
            try:
                step.continue_as_new()
            except BaseException:
                return "caught"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "completed"
        row = engine.row(run_id)
        assert (row["output"], "continuedAs" in row["context"]) == (None, True)

    def test_steps_that_still_run_are_recorded_first(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            step.submit("slow", calls("slow"))
            yield step.run("fast", calls("fast"))
            step.continue_as_new()

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        recorded = engine.statuses(run_id)
        assert ("fast", "completed") in recorded
        assert ("slow", "running") not in recorded

    def test_it_must_be_called_by_the_workflow_function(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("inner", lambda: step.continue_as_new())

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert row["status"] == "failed"
        assert (
            "continue_as_new() was called inside the function of step 'inner'"
            in (row["error"]["message"])
        )

    def test_what_is_no_workflow_and_an_input_that_does_not_fit_are_refused(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @engine.ow.workflow("other")
        def other(step: Step, input: int) -> None:
            pass

        def body(step: Any) -> Any:
            yield
            with pytest.raises(StepUsageError, match=r"continue_as_new\(workflow='other'\)"):
                step.continue_as_new(1, workflow="other")
            with pytest.raises(InvalidData, match="input"):
                step.continue_as_new("one", workflow=other)
            return "went on"

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert (row["output"], row["context"]) == ("went on", None)

    def test_a_strict_workflow_may_not_pass_recorded_steps(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            if not calls.made:
                yield step.run("old", calls("old"))
                yield step.sleep("nap", "30m")
            step.continue_as_new()

        engine.workflow(as_workflow(body), strict=True)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        row = engine.finish(run_id)
        assert (row["status"], row["error"]["name"]) == ("failed", "NonDeterminismError")
        assert row["context"] is None


def test_a_branch_may_not_continue_as_new(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> None:
        step.parallel(step.continue_as_new)

    row = engine.finish(engine.start())
    assert "in a branch beside the workflow function" in row["error"]["message"]


def test_a_step_that_nobody_awaits_is_named(engine: Engine) -> None:
    @engine.ow.workflow("main")
    async def main(step: AsyncStep) -> None:
        step.run("forgotten", lambda: 1)  # type: ignore[unused-coroutine]
        step.continue_as_new()

    row = engine.finish(engine.start())
    assert "step.run('forgotten') was called, and nobody awaits it" in row["error"]["message"]


def test_a_run_that_was_canceled_has_no_successor(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> None:
        engine.ow.get_run(step.run_id).cancel()
        step.continue_as_new()

    run_id = engine.start()
    assert engine.execute_once(run_id).outcome == "lost"
    assert engine.row(run_id)["context"] is None
    count = f'SELECT count(*) FROM "{engine.schema}".workflow_runs'
    assert engine.conn.execute(count.encode()).fetchone() == (1,)


def test_a_parent_that_typescript_executes_does_not_take_the_end_of_a_run_for_that_of_the_chain(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> None:
        step.run_workflow("child")

    @engine.ow.workflow("child")
    def child(step: Step) -> None:
        step.continue_as_new()

    parent = engine.start()
    engine.execute_once(parent)
    first = engine.steps(parent)[0]["child_workflow_run_id"]
    runs = f'"{engine.schema}".workflow_runs'
    reads = f"UPDATE {runs} SET worker_id = 'peer', updated_at = now() + interval '1h' WHERE id ="
    engine.conn.execute(f"{reads} $1".encode(), [parent])
    with ThreadPoolExecutor(1) as thread:
        ended = thread.submit(engine.execute_once, first)
        eventually(lambda: "might read the end of this run" in caplog.text)
        assert engine.row(first)["status"] == "running"
        assert engine.steps(parent)[0]["child_workflow_run_id"] == first
        engine.conn.execute(f"UPDATE {runs} SET worker_id = NULL WHERE id = $1".encode(), [parent])
        assert ended.result().outcome == "completed"
    after = engine.row(first)["context"]["continuedAs"]
    assert engine.steps(parent)[0]["child_workflow_run_id"] == after


@pytest.mark.parametrize("children", [False, True])
def test_a_chain_is_canceled_by_any_of_its_runs(engine: Engine, children: bool) -> None:
    @engine.ow.workflow("main")
    def main(step: Step, input: int) -> None:
        if input:
            step.continue_as_new(input - 1)
        step.run_workflow("other")

    @engine.ow.workflow("other")
    def other(step: Step) -> None:
        step.sleep("nap", "30m")
        step.continue_as_new()

    first = engine.start(1)
    engine.execute_once(first)
    last = engine.row(first)["context"]["continuedAs"]
    engine.execute_once(last)
    child = engine.steps(last)[0]["child_workflow_run_id"]
    engine.finish(child)
    engine.ow.get_run(first).cancel(children=children)
    after = engine.row(child)["context"]["continuedAs"]
    assert [engine.row(run_id)["status"] for run_id in (first, last, child)] == [
        "completed",
        "canceled",
        "completed",
    ]
    assert engine.row(after)["status"] == ("canceled" if children else "pending")
    with pytest.raises(RunCanceled):
        engine.ow.get_run(first).result(timeout=5)
