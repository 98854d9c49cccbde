"""Failed steps and runs: retries, what user code sees, what is stored; sync and async."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import RetryPolicy, StepFailed
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

SOON = RetryPolicy(initial_interval="90s", maximum_attempts=5)
ONCE = RetryPolicy(maximum_attempts=1)


@sync_and_async
class TestFailures:
    @pytest.mark.parametrize("text", ["\x00", "\ud800", "\U0001f600", "x" * 100_000])
    def test_an_error_of_any_text_fails_its_step_and_its_run(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls, text: str
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", calls("a", ValueError(text)), retry=ONCE)
            except StepFailed as failed:
                raise RuntimeError(f"{text} {failed}") from failed

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "failed"
        shown = text.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\u0000")
        assert engine.statuses(run_id) == [("a", "failed")]
        assert engine.row(run_id)["error"]["name"] == "RuntimeError"
        assert engine.row(run_id)["error"]["message"].startswith(shown[:8000])

    def test_a_failed_step_is_retried_in_a_later_execution_and_not_seen_by_user_code(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", calls("a"))
                return (yield step.run("b", flaky, retry=SOON))
            except Exception:
                calls.made.append("seen")
                raise

        flaky = calls("b", ValueError("not yet"), "B")
        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "retrying"
        waiting = engine.row(run_id)
        assert waiting["status"] == "pending"
        assert waiting["error"]["message"] == "not yet"
        assert waiting["error"]["name"] == "ValueError"
        assert waiting["worker_id"] is None
        assert waiting["started_at"] is None

        assert engine.execute_once(run_id).outcome == "completed"
        done = engine.row(run_id)
        assert (done["output"], done["error"]) == ("B", None)
        assert engine.statuses(run_id) == [("a", "completed"), ("b", "failed"), ("b", "completed")]
        assert calls.made == ["a", "b", "b"]

    def test_an_exhausted_step_can_be_caught_and_is_not_run_on_replay(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            try:
                yield step.run("a", calls("a", ValueError("never")), retry=ONCE)
            except StepFailed as failed:
                caught = [failed.step, str(failed), failed.error.name]
            yield step.sleep("nap", "1h")
            return caught

        engine.workflow(as_workflow(body))
        run_id = engine.start()

        assert engine.execute_once(run_id).outcome == "parked"
        assert engine.finish(run_id)["output"] == ["a", "never", "ValueError"]
        assert calls.made == ["a"]

    def test_an_exhausted_step_that_is_not_caught_fails_the_run_with_its_error(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a", KeyError("gone")), retry=ONCE)

        engine.workflow(as_workflow(body), retry=RetryPolicy())
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert row["error"]["name"] == "KeyError"
        assert "tests/child/conftest.py" in row["error"]["stack"]
        assert row["attempts"] == 1

    def test_an_exception_of_the_body_fails_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            raise ValueError("boom")

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "boom")

    def test_waking_up_does_not_use_up_the_workflows_retry_budget(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("one", "1h")
            yield step.sleep("two", "1h")
            flaky()
            return "done"

        flaky = calls("body", ValueError("first"), "fine")
        engine.workflow(
            as_workflow(body), retry=RetryPolicy(initial_interval="1ms", maximum_attempts=2)
        )
        row = engine.finish(engine.start())

        assert (row["status"], row["output"], row["attempts"]) == ("completed", "done", 4)

    def test_the_workflows_budget_ends(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("one", 0.01)
            raise ValueError(f"failure {fail()}")

        fail = calls("body", 1, 2, 3)
        engine.workflow(
            as_workflow(body), retry=RetryPolicy(initial_interval="1ms", maximum_attempts=3)
        )
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "failure 3")

    def test_a_result_that_cannot_be_stored_fails_the_step_and_is_not_produced_again(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a", {"items": [1, float("nan")]}), retry=SOON)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert "items[1]" in row["error"]["message"]
        assert "'a'" in row["error"]["message"]
        assert calls.made == ["a"]

    def test_an_output_that_cannot_be_stored_fails_the_run_once(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            calls.made.append("body")
            return {"when": {1, 2}}

        engine.workflow(as_workflow(body), retry=RetryPolicy())
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert "result.when" in row["error"]["message"]
        assert calls.made == ["a", "body"]

    @pytest.mark.parametrize("where", ["step", "body"])
    def test_sys_exit_is_a_failure_like_any_other(
        self, engine: Engine, as_workflow: AsWorkflow, where: str, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            if where == "step":
                yield step.run("a", calls("a", SystemExit(3)), retry=ONCE)
            yield step.run("b", calls("b"))
            raise SystemExit(3)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["name"]) == ("failed", "SystemExit")
