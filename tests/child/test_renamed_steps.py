"""Steps that were renamed while runs were in progress: with ``formerly=``, and without."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from owsuper import AsyncStep, RetryPolicy, Step
from owsuper.errors import NonDeterminismError, StepUsageError
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)


def is_first(engine: Engine, step: Any) -> bool:
    return bool(engine.row(step.run_id)["attempts"] == 1)


def wake(engine: Engine) -> None:
    engine.conn.execute(
        f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE'
        " workflow_name = 'main'"
    )


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The warnings that a new step takes the place of a recorded one."""
    return [each.message for each in caplog.records if " is new, and the code" in each.message]


@sync_and_async
class TestFormerly:
    @pytest.mark.parametrize(
        "call",
        [
            lambda step, name, **old: step.run(name, str, 1, **old),
            lambda step, name, **old: step.submit(name, str, 1, **old),
            lambda step, name, **old: step.map(name, str, [1, 2], **old),
            lambda step, name, **old: step.sleep(name, 0, **old),
            lambda step, name, **old: step.sleep_until(name, step.created_at, **old),
            lambda step, name, **old: step.send_signal("go", name=name, **old),
            lambda step, name, **old: step.wait_for_signal("go", timeout=0, name=name, **old),
        ],
        ids=["run", "submit", "map", "sleep", "sleep_until", "send_signal", "wait_for_signal"],
    )
    def test_a_renamed_step_of_every_kind_keeps_what_is_recorded(
        self, engine: Engine, as_workflow: AsWorkflow, call: Callable[..., Any]
    ) -> None:
        def body(step: Any) -> Any:
            name = {"name": "new", "formerly": "old"} if renamed else {"name": "old"}
            results.append((yield call(step, name.pop("name"), **name)))
            yield step.sleep("nap", 60)

        results: list[Any] = []
        renamed = False
        engine.workflow(as_workflow(body))
        run_id = engine.start()
        while "nap" not in dict(engine.statuses(run_id)):
            engine.execute_once(run_id)
        ids = [row["id"] for row in engine.steps(run_id)]

        renamed = True
        wake(engine)
        assert engine.execute_once(run_id).outcome == "parked"
        assert results[-1] == results[0]
        assert [row["id"] for row in engine.steps(run_id)] == ids

    def test_a_renamed_child_workflow_keeps_its_child_run(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            if is_first(engine, step):
                yield step.run_workflow("old", 1)
            yield step.run_workflow("new", 1, formerly="old")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for _ in range(2):
            assert engine.execute_once(run_id).outcome == "parked"
            wake(engine)
        assert engine.statuses(run_id) == [("old", "running")]

    def test_the_attempts_of_a_step_that_is_retried_count_on(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            policy = RetryPolicy(initial_interval="10ms", maximum_attempts=2)
            if is_first(engine, step):
                yield step.run("old", calls("old", KeyError()), retry=policy)
            yield step.run("new", calls("new", KeyError()), retry=policy, formerly="old")

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert row["status"] == "failed"
        assert calls.made in (["old", "new"], ["old", "old"])

    def test_of_calls_of_one_name_each_keeps_its_own(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        def body(step: Any) -> Any:
            first = is_first(engine, step)
            got: list[int] = []
            for number in range(2 if first else 4):
                name = {"name": "old"} if first else {"name": "new", "formerly": "old"}
                run = calls(f"{name['name']} {number}", number)
                got.append((yield step.run(name.pop("name"), run, **name)))
            yield step.sleep("first nap" if first else "nap", "1h")
            return got

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())
        assert (row["output"], row["attempts"]) == ([0, 1, 2, 3], 3)
        assert calls.made == ["old 0", "old 1", "new 2", "new 3"]

    def test_a_new_run_records_the_new_name(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        def body(step: Any) -> Any:
            yield step.run("new", str, 1, formerly="old")
            yield step.sleep("nap", "1h")

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        assert engine.statuses(run_id) == [("new", "completed"), ("nap", "completed")]

    @pytest.mark.parametrize("formerly", ["", "new", 7])
    def test_an_old_name_that_can_be_none_is_refused(
        self, engine: Engine, as_workflow: AsWorkflow, formerly: Any
    ) -> None:
        def body(step: Any) -> Any:
            with pytest.raises(StepUsageError, match="name"):
                yield step.run("new", str, 1, formerly=formerly)

        engine.workflow(as_workflow(body))
        assert engine.finish(engine.start())["status"] == "completed"


NEW_STEPS = [
    lambda step, fn: step.run("charge-card", fn),
    lambda step, fn: step.sleep("charge-card", 60),
    lambda step, fn: step.run_workflow("charge-card"),
    lambda step, fn: step.wait_for_signal("charge-card"),
    lambda step, fn: step.send_signal("charge-card"),
]
KINDS = ["run", "sleep", "run_workflow", "wait_for_signal", "send_signal"]


@sync_and_async
class TestWithoutFormerly:
    def body(self, engine: Engine, new: Callable[..., Any], fn: Callable[[], Any]) -> Any:
        """Call ``a`` and ``charge``; when called again, ``new`` at the place of ``charge``."""

        def body(step: Any) -> Any:
            yield step.run("a", str, 1)
            if is_first(engine, step):
                yield step.run("charge", str, 1)
                yield step.sleep("nap", "1h")
            else:
                yield new(step, fn)

        return body

    @pytest.mark.parametrize("new", NEW_STEPS, ids=KINDS)
    def test_it_is_said_before_the_new_step_begins(
        self,
        engine: Engine,
        as_workflow: AsWorkflow,
        caplog: pytest.LogCaptureFixture,
        new: Callable[..., Any],
    ) -> None:
        said_before: list[str] = []
        body = self.body(engine, new, lambda: said_before.extend(said(caplog)))
        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for _ in range(2):
            engine.execute_once(run_id)

        assert said(caplog) == said_before or new is not NEW_STEPS[0]
        [message] = said(caplog)
        assert message.startswith("Step 'charge-card' is new, and the code has not called")
        assert "recorded: charge, nap. If one of them was renamed, give" in message
        [record] = (each for each in caplog.records if " is new, and" in each.message)
        assert (vars(record)["run_id"], vars(record)["step"]) == (run_id, "charge-card")

    @pytest.mark.parametrize("new", NEW_STEPS, ids=KINDS)
    def test_a_strict_workflow_fails_before_the_new_step_begins(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls, new: Callable[..., Any]
    ) -> None:
        body = self.body(engine, new, calls("charge-card"))
        engine.workflow(as_workflow(body), strict=True, retry=RetryPolicy())
        run_id = engine.start()
        row = engine.finish(run_id)

        assert (row["status"], row["attempts"]) == ("failed", 2)
        assert row["error"]["name"] == "NonDeterminismError"
        assert calls.made == []
        assert "charge-card" not in dict(engine.statuses(run_id))
        assert engine._rows("workflow_runs", "workflow_name", "charge-card") == []

    def test_a_strict_workflow_that_returns_without_a_recorded_step_fails(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            if is_first(engine, step):
                yield step.run("charge", str, 1)
            yield step.sleep("nap", "1h")

        engine.workflow(as_workflow(body), strict=True)
        row = engine.finish(engine.start())
        assert row["error"]["name"] == "NonDeterminismError"
        assert "The code has returned" in row["error"]["message"]

    def test_it_is_said_after_steps_that_were_joined(
        self, engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
    ) -> None:
        def body(step: Any) -> Any:
            yield step.map("part", str, range(3))
            if is_first(engine, step):
                yield step.run("charge", str, 1)
                yield step.sleep("nap", "1h")
            yield step.run("charge-card", str, 1)

        engine.workflow(as_workflow(body))
        engine.finish(engine.start())
        assert len(said(caplog)) == 1


def retried(engine: Engine) -> Callable[..., Any]:
    attempts: list[int] = []

    def flaky() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise KeyError

    def body(step: Any) -> Any:
        yield step.run("flaky", flaky, retry=RetryPolicy(initial_interval="100ms"))
        yield step.run("next", str, 1)
        yield step.sleep("nap", "1h")
        yield step.run("last", str, 1)

    return body


def failed_and_handled(engine: Engine) -> Callable[..., Any]:
    def body(step: Any) -> Any:
        try:
            yield step.run("bad", lambda: 1 / 0, retry=ONCE)
        except Exception:
            yield step.run("instead", str, 1)
        yield step.sleep("nap", "1h")
        yield step.run("last", str, 1)

    return body


def repeated(engine: Engine) -> Callable[..., Any]:
    def body(step: Any) -> Any:
        for number in range(3):
            yield step.run("turn", str, number)
            yield step.sleep("nap", "1h")

    return body


def run_again_by_its_own_policy(engine: Engine) -> Callable[..., Any]:
    def body(step: Any) -> Any:
        yield step.run("a", str, 1)
        if is_first(engine, step):
            raise KeyError
        yield step.run("b", str, 1)

    return body


def fanned_out_with_gaps(engine: Engine) -> Callable[..., Any]:
    """A process died while the first of three parallel steps was running."""

    def body(step: Any) -> Any:
        if is_first(engine, step):
            yield step.run("part:1", str, 1)
            yield step.run("part:2", str, 1)
            yield step.sleep("nap", "1h")
        yield step.map("part", str, range(3))
        if not is_first(engine, step):
            yield step.sleep("nap", "1h")

    return body


@sync_and_async
@pytest.mark.parametrize(
    "make",
    [retried, failed_and_handled, repeated, run_again_by_its_own_policy, fanned_out_with_gaps],
    ids=lambda make: make.__name__,
)
def test_code_that_was_not_changed_is_never_blamed(
    engine: Engine,
    as_workflow: AsWorkflow,
    caplog: pytest.LogCaptureFixture,
    make: Callable[[Engine], Callable[..., Any]],
) -> None:
    policy = RetryPolicy(initial_interval="10ms", maximum_attempts=3)
    engine.workflow(as_workflow(make(engine)), strict=True, retry=policy)
    assert engine.finish(engine.start())["error"] is None
    assert said(caplog) == []


class TestOtherOrders:
    """Code whose order depends on which branch is faster is right, since names identify steps."""

    def test_steps_that_follow_others_as_they_complete(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            first = is_first(engine, step)
            for name in "ab" if first else "ba":
                for done in asyncio.as_completed([step.run(name, str, name)]):
                    await step.run(f"after-{await done}", str, 1)
                    if first:
                        await step.sleep("nap", "1h")

        engine.workflow(workflow, strict=True)
        assert engine.finish(engine.start())["error"] is None
        assert said(caplog) == []

    def test_branches_of_an_async_workflow(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            async def branch(name: str) -> None:
                await step.run(name, str, 1)
                if name == "b" or not is_first(engine, step):
                    await step.run(f"{name}-2", str, 1)
                await step.sleep(f"{name}-nap", 0.05)

            await asyncio.gather(branch("a"), branch("b"))
            await step.run("last", str, 1)

        engine.workflow(workflow, strict=True)
        assert engine.finish(engine.start())["error"] is None
        assert said(caplog) == []

    def test_branches_of_a_def_workflow(
        self, engine: Engine, caplog: pytest.LogCaptureFixture
    ) -> None:
        def workflow(step: Step) -> None:
            def branch(name: str) -> None:
                step.run(name, str, 1)
                if name == "b" or not is_first(engine, step):
                    step.run(f"{name}-2", str, 1)
                step.sleep(f"{name}-nap", 0.05)

            step.parallel(lambda: branch("a"), lambda: branch("b"))
            step.run("last", str, 1)

        engine.workflow(workflow, strict=True)
        assert engine.finish(engine.start())["error"] is None
        assert said(caplog) == []


def test_catching_the_error_of_a_strict_workflow_does_not_help(engine: Engine) -> None:
    def workflow(step: Step) -> None:
        if is_first(engine, step):
            step.run("old", str, 1)
            step.sleep("nap", "1h")
        with pytest.raises(NonDeterminismError):
            step.run("new", str, 1)

    engine.workflow(workflow, strict=True)
    assert engine.finish(engine.start())["error"]["name"] == "NonDeterminismError"
