"""Sleeps that park a run, and when results are written; sync and async."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, as_async, sync_and_async


@sync_and_async
class TestSleeping:
    def test_a_sleep_parks_the_run_until_the_time_that_is_stored(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("before", calls("before"))
            yield step.sleep("nap", "1h")
            return (yield step.run("after", calls("after")))

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        ended = engine.execute_once(run_id)
        parked = engine.row(run_id)
        nap = engine.steps(run_id)[1]
        assert ended.outcome == "parked"
        assert ended.due_in is not None
        assert 0 <= ended.due_in <= 3600
        assert (parked["status"], parked["worker_id"]) == ("running", None)
        until = parked["available_at"].isoformat(timespec="milliseconds").replace("+00:00", "Z")
        assert nap["context"] == {"kind": "sleep", "resumeAt": until}

        assert engine.finish(run_id)["output"] == "AFTER"
        assert engine.statuses(run_id) == [
            ("before", "completed"),
            ("nap", "completed"),
            ("after", "completed"),
        ]
        assert calls.made == ["before", "after"]

    def test_a_run_woken_too_early_parks_again_until_the_same_time(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("nap", 60)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        until = engine.row(run_id)["available_at"]
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')

        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.row(run_id)["available_at"] == until
        assert engine.statuses(run_id) == [("nap", "running")]

    def test_swallowing_what_unwinds_the_body_changes_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.sleep("nap", "1h")
            except BaseException:
                calls.made.append("swallowed")
            try:
                yield step.run("a", calls("a"))
            except BaseException:
                calls.made.append("swallowed again")
            return "too early" if "swallowed" in calls.made[-2:] else "in time"

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        assert calls.made == ["swallowed", "swallowed again"]
        calls.made.clear()
        assert engine.finish(run_id)["output"] == "in time"
        assert calls.made == ["a"]

    def test_a_sleep_of_no_or_negative_length_is_over_at_once(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("none", 0)
            yield step.sleep("negative", "-1s")
            return "awake"

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.finish(run_id)["output"] == "awake"
        assert engine.statuses(run_id) == [("none", "completed"), ("negative", "completed")]

    def test_a_duration_that_cannot_be_read_fails_the_run_and_leaves_no_row(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("nap", "1 fortnight")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)

        assert row["error"]["message"].startswith('Invalid duration format: "1 fortnight"')
        assert engine.steps(run_id) == []


@sync_and_async
class TestWrites:
    def test_a_result_is_written_while_the_body_does_something_else(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            with ThreadPoolExecutor(1) as outside:
                if as_workflow is as_async:
                    yield asyncio.wrap_future(outside.submit(until_written))
                else:
                    outside.submit(until_written).result()
            return "seen"

        def until_written() -> None:
            deadline = time.monotonic() + 60
            while not engine.conn.execute(
                f'SELECT 1 FROM "{engine.schema}".step_attempts'
            ).fetchone():
                assert time.monotonic() < deadline, "the result was not written"

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == "seen"

    def test_a_long_step_has_a_running_row_meanwhile(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def slow() -> str:
            deadline = time.monotonic() + 60
            while not (
                found := engine.conn.execute(
                    f'SELECT id, status FROM "{engine.schema}".step_attempts'
                ).fetchone()
            ):
                assert time.monotonic() < deadline, "no running row appeared"
            return "/".join(found)

        def body(step: Any) -> Any:
            return (yield step.run("slow", slow))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        output = engine.finish(run_id)["output"]

        (step,) = engine.steps(run_id)
        assert output == f"{step['id']}/running"
        assert (step["status"], step["output"]) == ("completed", output)

    def test_an_execution_that_lost_its_lease_starts_no_further_step(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: engine.executor.executions[worker].abandon())
            yield step.run("b", calls("b"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        claimed = engine.claim(run_id)
        worker = claimed.worker_id

        assert engine.execute_once(run_id, claimed).outcome == "lost"
        assert calls.made == []
        assert engine.row(run_id)["worker_id"] == worker, "a lost run is left alone"
