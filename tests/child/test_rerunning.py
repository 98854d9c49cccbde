"""Runs that are repeated from a step on: what is kept is not called again; sync and async."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import NonRetryableError, RetryPolicy, Step, StepFailed
from owsuper.errors import NotSerializable, RunNotRerunnable
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

ONCE = RetryPolicy(maximum_attempts=1)


@dataclass
class Order:
    amount: int


def charge(amount: int) -> str:
    if amount < 0:
        raise NonRetryableError(f"cannot charge {amount}")
    return f"charged {amount}"


@sync_and_async
class TestRerunning:
    def test_steps_before_are_kept_and_bad_input_is_corrected(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        reserve, fails = calls("reserve"), calls("fails", ValueError("no"))

        def body(step: Any) -> Any:
            amount = engine.row(step.run_id)["input"]["amount"]
            first = yield step.run("reserve", reserve)
            yield step.sleep("nap", "30m")
            with suppress(StepFailed):
                yield step.run("fails", fails, retry=ONCE)
            return [first, (yield step.run("charge", charge, amount))]

        engine.workflow(as_workflow(body))
        run_id = engine.start({"amount": -7})
        engine.conn.execute(
            f"UPDATE \"{engine.schema}\".workflow_runs SET idempotency_key = 'k',"
            """ context = '{"traceContext": {"traceparent": "t"}}'"""
        )
        assert engine.finish(run_id)["status"] == "failed"
        before = engine.row(run_id), engine.steps(run_id)

        again = engine.ow.get_run(run_id).rerun("charge", input=Order(7))
        assert again.id != run_id
        row = engine.finish(again.id)
        assert (row["status"], row["output"]) == ("completed", ["RESERVE", "charged 7"])
        assert calls.made == ["reserve", "fails"]
        trace = {"traceContext": {"traceparent": "t"}}
        assert row["context"] == trace | {"rerunOf": run_id}
        assert (row["idempotency_key"], row["deadline_at"], row["parent_step_attempt_id"]) == (
            None,
            None,
            None,
        )
        kept = engine.steps(again.id)[:-1]
        own = {"id", "workflow_run_id", "updated_at"}
        assert [{k: v for k, v in each.items() if k not in own} for each in kept] == [
            {k: v for k, v in each.items() if k not in own} for each in before[1][:-1]
        ]
        changed = {"context", "updated_at"}
        after = engine.row(run_id)
        assert {k: v for k, v in after.items() if k not in changed} == {
            k: v for k, v in before[0].items() if k not in changed
        }
        assert after["context"] == trace | {"rerunAs": again.id}
        assert engine.steps(run_id) == before[1]
        details, old = again.details(), engine.ow.get_run(run_id).details()
        assert (details.rerun_of, details.rerun_as) == (run_id, None)
        assert (old.rerun_of, old.rerun_as) == (None, again.id)
        assert details.began_at is not None
        assert details.began_at >= details.created_at

    def test_without_a_step_the_whole_run_is_repeated(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        first = calls("first")

        def body(step: Any) -> Any:
            return (yield step.run("first", first))

        engine.workflow(as_workflow(body))
        run_id = engine.start({"n": 1})
        engine.finish(run_id)
        again = engine.ow.get_run(run_id).rerun()
        assert engine.row(again.id)["attempts"] == 0
        assert engine.finish(again.id)["input"] == {"n": 1}
        assert calls.made == ["first", "first"]
        nothing = engine.ow.get_run(run_id).rerun(input=None)
        assert engine.finish(nothing.id)["input"] is None

    def test_one_of_several_steps_of_a_name_is_named_with_its_number(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        names = [calls(str(n)) for n in range(4)]

        def body(step: Any) -> Any:
            for fn in names:
                yield step.run("link", fn)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.finish(run_id)
        engine.finish(engine.ow.get_run(run_id).rerun("link:2").id)
        assert calls.made == ["0", "1", "2", "3", "2", "3"]

    def test_a_child_run_of_a_kept_step_is_not_started_again(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        pack = calls("pack")

        @engine.ow.workflow("child")
        def child(step: Step, amount: int) -> str:
            return str(step.run("pack", pack))

        def body(step: Any) -> Any:
            amount = engine.row(step.run_id)["input"]["amount"]
            done = yield step.run_workflow("child", amount)
            return [done, (yield step.run("charge", charge, amount))]

        engine.workflow(as_workflow(body))
        run_id = engine.start({"amount": -7})
        engine.execute_once(run_id)
        engine.finish(engine.steps(run_id)[0]["child_workflow_run_id"])
        assert engine.finish(run_id)["status"] == "failed"
        again = engine.ow.get_run(run_id).rerun("charge", input={"amount": 7})
        assert engine.finish(again.id)["output"] == ["PACK", "charged 7"]
        assert calls.made == ["pack"]

    def test_open_waits_of_kept_steps_go_on(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        pack = calls("pack")
        healed: list[bool] = []

        @engine.ow.workflow("child")
        def child(step: Step) -> str:
            return str(step.run("pack", pack))

        def check() -> None:
            if not healed:
                raise NonRetryableError("ill")

        def body(step: Any) -> Any:
            packed = step.submit_workflow("child")
            yield step.run("begin", lambda: None)
            yield step.sleep("nap", "30m")
            yield step.run("check", check)
            signal = yield step.wait_for_signal("go", timeout="1h")
            return [(yield packed), signal.data]

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.finish(run_id)["status"] == "failed"
        [wait] = [row for row in engine.steps(run_id) if row["kind"] == "workflow"]
        healed.append(True)
        again = engine.ow.get_run(run_id).rerun("check")
        assert engine.execute_once(again.id).outcome == "parked"
        engine.ow.send_signal("go", 7)
        engine.finish(wait["child_workflow_run_id"])
        assert engine.finish(again.id)["output"] == ["PACK", 7]
        assert calls.made == ["pack"]


def test_a_signal_that_was_not_read_is_delivered_again(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> Any:
        signal = step.wait_for_signal("go", timeout="1h")
        step.run("never", lambda: None)
        return signal and signal.data

    run_id = engine.start()
    engine.execute_once(run_id)
    engine.ow.send_signal("go", 7)
    engine.ow.get_run(run_id).cancel()
    engine.conn.execute(
        f'INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,'
        " step_name, kind, status, config, created_at, updated_at)"
        " VALUES ('default', 'x', $1, 'never', 'function', 'failed', '{}', now(), now())",
        [run_id],
    )
    again = engine.ow.get_run(run_id).rerun("never")
    assert engine.finish(again.id)["output"] == 7


@pytest.mark.parametrize("state", ["pending", "parked"])
def test_a_run_that_has_not_ended_is_refused(engine: Engine, state: str) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> None:
        step.sleep("nap", "1h")

    run_id = engine.start()
    if state == "parked":
        engine.execute_once(run_id)
    with pytest.raises(RunNotRerunnable, match=r"it has not ended\. Cancel it first"):
        engine.ow.get_run(run_id).rerun()
    count = f'SELECT count(*) FROM "{engine.schema}".workflow_runs'
    assert engine.conn.execute(count.encode()).fetchone() == (1,)


def test_a_step_that_the_run_does_not_have_is_refused_and_its_steps_are_named(
    engine: Engine,
) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> None:
        step.run("reserve", lambda: None)
        step.run("charge", lambda: None)

    run_id = engine.start()
    engine.finish(run_id)
    with pytest.raises(RunNotRerunnable, match=r"no step 'ship'. Its steps: 'reserve', 'charge'"):
        engine.ow.get_run(run_id).rerun("ship")
    with pytest.raises(NotSerializable, match="input"):
        engine.ow.get_run(run_id).rerun(input=object())
