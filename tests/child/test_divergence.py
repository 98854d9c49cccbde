"""A workflow that was changed while its runs were under way, sync and async."""

from __future__ import annotations

from typing import Any

import pytest

from owsuper import RetryPolicy
from owsuper.errors import NonDeterminismError
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

UNREACHED = "recorded steps that this code never reached"


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the log says of steps that were not reached."""
    return [each.message for each in caplog.records if each.message.startswith(UNREACHED)]


@sync_and_async
class TestAnotherKind:
    @pytest.mark.parametrize("nap", [0, 60], ids=["over", "pending"])
    def test_a_sleep_that_became_a_function_fails_the_run_whatever_is_caught(
        self, engine: Engine, as_workflow: AsWorkflow, nap: float
    ) -> None:
        caught: list[BaseException] = []
        called: list[str] = []

        def body(step: Any) -> Any:
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.sleep("pause", nap)
                yield step.sleep("stop here", 60)
            try:
                yield step.run("pause", called.append, "called")
            except Exception as error:
                caught.append(error)
            yield step.run("next", called.append, "called")

        engine.workflow(as_workflow(body), retry=RetryPolicy())
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')
        row = engine.finish(run_id)

        assert (row["status"], row["attempts"]) == ("failed", 2)
        assert row["error"]["name"] == "NonDeterminismError"
        assert "Step 'pause'" in row["error"]["message"]
        assert isinstance(caught[0], NonDeterminismError)
        assert (caught[0].recorded, caught[0].asked) == ("sleep", "function")
        assert called == []

    def test_a_function_that_became_a_sleep_fails_the_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.run("pause", lambda: 1)
                yield step.sleep("stop here", "1h")
            yield step.sleep("pause", 60)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)

        assert row["error"]["name"] == "NonDeterminismError"
        assert dict(engine.statuses(run_id))["pause"] == "completed"


@sync_and_async
class TestUnreachedSteps:
    def test_a_run_that_completes_without_them_completes_and_says_so_once(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.run("b", lambda: 1)
                yield step.run("c", lambda: 1)
            yield step.sleep("nap", "1h")
            return "done"

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        row = engine.finish(run_id)

        assert (row["output"], row["attempts"]) == ("done", 2)
        assert warnings(caplog) == [
            f"{UNREACHED}: b, c; was the workflow changed while runs were in progress?"
        ]
        (record,) = (each for each in caplog.records if each.message.startswith(UNREACHED))
        assert vars(record)["run_id"] == run_id

    def test_a_run_that_waits_in_a_new_step_says_so_once(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.run("old", lambda: 1)
                yield step.run("older", lambda: 1)
                yield step.sleep("stop here", 60)
            yield step.sleep("new", 60)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for _ in range(3):
            assert engine.execute_once(run_id).outcome == "parked"
            engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')

        assert len(warnings(caplog)) == 1
        assert f"{UNREACHED}: old, older;" in warnings(caplog)[0]

    def test_of_many_the_first_are_named(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            if engine.row(step.run_id)["attempts"] == 1:
                yield step.map("old", str, range(25))
            yield step.sleep("nap", "1h")

        engine.workflow(as_workflow(body))
        engine.finish(engine.start())

        [message] = warnings(caplog)
        assert message.count("old") == 10
        assert " and 15 more; " in message

    def test_code_that_was_not_changed_says_nothing(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        attempts: list[str] = []

        def flaky() -> None:
            attempts.append("")
            if len(attempts) == 1:
                raise ValueError("not yet")

        def body(step: Any) -> Any:
            results = []
            for future in [step.submit(name, lambda: 1) for name in "ab"]:
                results.append((yield future))
            yield step.sleep("nap", "1h")
            yield step.run("c", flaky, retry=RetryPolicy(initial_interval="100ms"))
            yield step.sleep("another", "1h")
            return results

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert (row["output"], row["attempts"]) == ([1, 1], 4)
        assert warnings(caplog) == []
