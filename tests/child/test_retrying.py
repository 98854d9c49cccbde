"""What is retried and what is not, sync and async, on real Postgres."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from owsuper import AsyncStep, NonRetryableError, RetryPolicy, StepFailed
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

SOON = RetryPolicy(initial_interval="1ms", maximum_attempts=5)


class DeclinedError(NonRetryableError):
    """What an application derives from it."""


def failing(calls: list[str], *errors: BaseException) -> Callable[[], str]:
    """A function that raises ``errors`` in turn, then returns."""
    left = list(errors)

    def function() -> str:
        calls.append("called")
        if left:
            raise left.pop(0)
        return "done"

    return function


@pytest.fixture
def calls() -> list[str]:
    return []


@sync_and_async
class TestSteps:
    def test_with_retry_on_only_such_failures_are_retried(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            retry = RetryPolicy(initial_interval="1ms", retry_on=ConnectionError)
            yield step.run("a", failing_twice, retry=retry)

        failing_twice = failing(calls, ConnectionResetError("busy"), ValueError("wrong"))
        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "wrong")
        assert len(calls) == 2

    def test_what_is_never_retried_fails_at_once_and_can_be_caught(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            retry = RetryPolicy(never_retry=lambda error: "gone" in str(error))
            try:
                yield step.run("a", failing(calls, ValueError("gone")), retry=retry)
            except StepFailed as failed:
                caught = failed.error.message
            yield step.sleep("nap", "1h")
            return caught

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["output"] == "gone"
        assert len(calls) == 1

    def test_an_error_that_says_so_itself_is_not_retried_by_step_or_workflow(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", failing(calls, DeclinedError("no funds")), retry=SOON)

        engine.workflow(as_workflow(body), retry=SOON)
        run_id = engine.start()
        row = engine.finish(run_id)

        assert (row["status"], row["attempts"]) == ("failed", 1)
        assert (row["error"]["name"], row["error"]["message"]) == ("DeclinedError", "no funds")
        assert "final" not in row["error"]
        assert len(calls) == 1
        (attempt,) = engine.steps(run_id)
        assert attempt["error"]["final"] is True

    def test_a_predicate_that_fails_makes_the_failure_final_and_the_log_says_so(
        self,
        engine: Engine,
        as_workflow: AsWorkflow,
        calls: list[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def body(step: Any) -> Any:
            retry = RetryPolicy(retry_on=lambda error: error.errno == 5)
            yield step.run("a", failing(calls, ValueError("no status")), retry=retry)

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "no status")
        assert len(calls) == 1
        (record,) = (each for each in caplog.records if each.message == "step failed")
        why = vars(record)["not_retried"]
        assert why.startswith("RetryPolicy.retry_on raised AttributeError: ")

    def test_a_retry_with_jitter_is_due_at_the_same_time_in_every_pass(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            retry = RetryPolicy(initial_interval="1h", maximum_interval="1h", jitter=0.5)
            return (yield step.run("a", failing_once, retry=retry))

        failing_once = failing(calls, ValueError("not yet"))
        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        due = engine.row(run_id)["available_at"]
        (attempt,) = engine.steps(run_id)
        pause = due - attempt["finished_at"]
        assert timedelta(minutes=29, seconds=59) < pause < timedelta(hours=1)

        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET available_at = now()')
        assert engine.execute_once(run_id).outcome == "retrying"
        assert engine.row(run_id)["available_at"] == due
        assert len(calls) == 1


@sync_and_async
class TestWorkflows:
    def test_the_workflows_own_policy_asks_about_what_its_function_raises(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            return flaky()

        flaky = failing(calls, ConnectionError("busy"), ValueError("wrong"))
        retry = RetryPolicy(initial_interval="1ms", retry_on=ConnectionError)
        engine.workflow(as_workflow(body), retry=retry)
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "wrong")
        assert len(calls) == 2

    def test_a_function_that_raises_a_non_retryable_error_fails_its_run(
        self,
        engine: Engine,
        as_workflow: AsWorkflow,
        calls: list[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            return failing(calls, DeclinedError("no"))()

        engine.workflow(as_workflow(body), retry=SOON)
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["name"]) == ("failed", "DeclinedError")
        assert len(calls) == 1
        (record,) = (each for each in caplog.records if each.message == "run failed")
        assert vars(record)["not_retried"] == "NonRetryableError"

    def test_a_predicate_that_fails_ends_the_run_and_the_log_says_so(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", lambda: 1)
            raise ValueError("wrong")

        undecided = RetryPolicy(never_retry=lambda error: None)
        engine.workflow(as_workflow(body), retry=undecided)
        row = engine.finish(engine.start())

        assert (row["status"], row["error"]["message"]) == ("failed", "wrong")
        (record,) = (each for each in caplog.records if each.message == "run failed")
        assert vars(record)["not_retried"] == (
            "RetryPolicy.never_retry returned NoneType, not a bool"
        )


def test_a_task_group_whose_step_is_not_to_be_retried_fails_the_run_at_once(
    engine: Engine, calls: list[str]
) -> None:
    async def workflow(step: AsyncStep) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(step.run("a", failing(calls, DeclinedError("no")), retry=SOON))

    engine.workflow(workflow, retry=SOON)
    row = engine.finish(engine.start())
    assert (row["error"]["name"], row["attempts"], len(calls)) == ("DeclinedError", 1, 1)


@sync_and_async
class TestTheStepLimit:
    def test_it_is_the_workflows_own(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            for _ in range(4):
                yield step.run("a", lambda: 1)

        engine.workflow(as_workflow(body), step_limit=3, retry=SOON)
        run_id = engine.start()
        row = engine.finish(run_id)

        assert (row["status"], row["attempts"]) == ("failed", 1)
        assert row["error"] == {
            "name": "StepLimitExceededError",
            "message": "Exceeded the step limit of 3 attempts (current count: 3)",
            "code": "STEP_LIMIT_EXCEEDED",
            "limit": 3,
            "stepCount": 3,
        }
        assert len(engine.steps(run_id)) == 3
        [failure] = [each for each in caplog.records if each.message == "run failed"]
        assert "step_limit=" in vars(failure)["not_retried"]

    def test_a_run_of_more_attempts_than_are_read_at_once_is_replayed_in_full(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            numbers = []
            for _ in range(2500):
                numbers.append((yield step.run("a", never)))
            yield step.run("last", failing(calls))
            return sum(numbers)

        def never() -> int:
            raise AssertionError("all of these are recorded")

        engine.workflow(as_workflow(body), step_limit=2501)
        run_id = engine.start()
        engine.claim(run_id)
        record(engine, run_id, 2500)

        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == sum(range(2500))
        assert calls == ["called"]

    def test_attempts_that_crashes_abandoned_do_not_push_results_out_of_the_history(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            first = yield step.run("a", lambda: 7)
            yield step.run("b", failing(calls))
            return first

        engine.workflow(as_workflow(body), step_limit=2)
        run_id = engine.start()
        engine.claim(run_id)
        record(engine, run_id, 5000, status="running")
        record(engine, run_id, 1)

        assert engine.execute_once(run_id).outcome == "completed"
        assert engine.row(run_id)["output"] == 0
        assert calls == ["called"]

    def test_a_history_beyond_the_limit_fails_the_run_before_its_function_is_called(
        self, engine: Engine, as_workflow: AsWorkflow, calls: list[str]
    ) -> None:
        def body(step: Any) -> Any:
            calls.append("body")
            yield step.run("a", failing(calls))

        engine.workflow(as_workflow(body), step_limit=2, retry=SOON)
        run_id = engine.start()
        engine.claim(run_id)
        record(engine, run_id, 3)
        row = engine.finish(run_id)

        assert row["error"]["code"] == "STEP_LIMIT_EXCEEDED"
        assert (row["error"]["limit"], row["error"]["stepCount"]) == (2, 3)
        assert calls == []


def record(engine: Engine, run_id: str, count: int, status: str = "completed") -> None:
    """Give a run ``count`` attempts of the step ``a``, with results from 0 on; make it due."""
    engine.conn.execute(
        f"""INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,
            step_name, kind, status, config, output, created_at, started_at, updated_at)
        SELECT 'default', gen_random_uuid()::text, $1,
            CASE n WHEN 0 THEN 'a' ELSE 'a:' || n END, 'function', $3, '{{}}',
            to_jsonb(n), date_trunc('milliseconds', clock_timestamp()),
            clock_timestamp() + n * interval '1 us', now()
        FROM generate_series(0, $2 - 1) AS n""",
        [run_id, count, status],
    )
    engine.conn.execute(
        f'UPDATE "{engine.schema}".workflow_runs SET available_at = now(), worker_id = NULL'
    )
