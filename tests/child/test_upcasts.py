"""Inputs and results that older code stored, upgraded where they do not fit; sync and async."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import OpenWorkflow, Step
from owsuper.errors import ConfigurationError, RegistrationError, StepUsageError
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@dataclass
class Money:
    cents: int
    currency: str


def as_money(stored: Any) -> Any:
    """Earlier code stored a number of euros."""
    return {"cents": stored * 100, "currency": "EUR"}


def money() -> Money:
    return Money(700, "USD")


def typed(fn: Any, input: Any, output: Any) -> Any:
    """``fn`` with these annotations of its input and its result."""
    fn.__annotations__ = {"input": input, "return": output}
    return fn


@sync_and_async
class TestUpcasts:
    def test_the_input_of_an_old_run_is_upgraded_and_a_new_one_is_not(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen: list[Any] = []

        def body(step: Any) -> Any:
            return (yield step.run("first", lambda: 1))

        def main(step: Any, input: Any) -> Any:
            seen.append(input)
            return as_workflow(body)(step)

        if as_workflow.__name__ == "as_async":

            async def main(step: Any, input: Any) -> Any:  # type: ignore[misc]
                seen.append(input)
                return await as_workflow(body)(step)

        workflow = engine.workflow(typed(main, Money, int))
        workflow.upcast(as_money)
        old, new = engine.start(7), engine.start({"cents": 7, "currency": "USD"})
        for run_id in (old, new):
            assert engine.finish(run_id)["status"] == "completed"
        assert seen == [Money(700, "EUR"), Money(7, "USD")]
        assert engine.row(old)["input"] == 7

    def test_the_stored_result_of_a_step_is_upgraded_at_each_replay(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        seen: list[Any] = []

        def body(step: Any) -> Any:
            seen.append((yield step.run("price", money)))
            seen.append((yield step.run("price", money)))
            yield step.sleep("nap", "30m")

        workflow = engine.workflow(as_workflow(body))
        calls: list[Any] = []

        @workflow.upcast(step="price")
        def old_price(stored: Any) -> Any:
            calls.append(stored)
            return Money(stored * 100, "EUR")

        run_id = engine.start()
        for name, output in (("price", "7"), ("price:1", "8")):
            engine.conn.execute(
                f'INSERT INTO "{engine.schema}".step_attempts (namespace_id, id, workflow_run_id,'
                " step_name, kind, status, config, output, created_at, updated_at) VALUES"
                " ('default', $2, $1, $2, 'function', 'completed', '{}', $3::jsonb, now(), now())",
                [run_id, name, output],
            )
        engine.conn.execute(f'UPDATE "{engine.schema}".workflow_runs SET attempts = 1')
        engine.finish(run_id)
        assert seen[:2] == [Money(700, "EUR"), Money(800, "EUR")]
        assert seen == seen[:2] * (len(seen) // 2)
        assert calls[:2] == [7, 8]

        seen.clear()
        calls.clear()
        engine.finish(engine.start())
        assert seen == [Money(700, "USD")] * len(seen)
        assert calls == []

    def test_the_results_of_child_runs_and_the_data_of_signals_are_upgraded(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        @engine.ow.workflow("child")
        def child(step: Step) -> Money:
            raise AssertionError

        child.upcast(result=True)(as_money)
        got: list[Any] = []

        def body(step: Any) -> Any:
            got.append((yield step.run_workflow(child)))
            signal = yield step.wait_for_signal("paid", type=Money)
            got.append(signal.data)

        workflow = engine.workflow(as_workflow(body))
        workflow.upcast(step="paid")(as_money)
        run_id = engine.start()
        engine.execute_once(run_id)
        child_id = engine.steps(run_id)[0]["child_workflow_run_id"]
        engine.conn.execute(
            f"UPDATE \"{engine.schema}\".workflow_runs SET status = 'completed', output = '7',"
            " available_at = NULL, finished_at = now() WHERE id = $1",
            [child_id],
        )
        engine.conn.execute(
            f'UPDATE "{engine.schema}".workflow_runs SET available_at = now() WHERE id = $1',
            [run_id],
        )
        engine.execute_once(run_id)
        engine.ow.send_signal("paid", 8)
        assert engine.finish(run_id)["status"] == "completed"
        assert got[-2:] == [Money(700, "EUR"), Money(800, "EUR")]

    def test_a_recorded_child_run_with_an_old_input_is_the_same(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def child(step: Step, input: Any) -> int:
            return int(step.run("count", lambda: 1))

        def body(step: Any) -> Any:
            return (yield step.run_workflow(holder[-1], inputs[-1]))

        @engine.ow.workflow("child", version="1")
        def old(step: Step, input: int) -> int:
            return 1

        holder: list[Any] = [old]
        inputs: list[Any] = [7]
        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        new_ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/x")
        new = new_ow.workflow("child", version="1")(typed(child, Money, int))
        new.upcast(as_money)
        holder.append(new)
        inputs.append(Money(700, "EUR"))
        engine.finish(engine.steps(run_id)[0]["child_workflow_run_id"])
        assert engine.finish(run_id)["output"] == 1


def test_the_result_of_an_old_run_is_upgraded_for_clients(engine: Engine) -> None:
    @engine.ow.workflow("main")
    def main(step: Step) -> Money:
        return Money(1, "USD")

    main.upcast(result=True)(as_money)
    handle = main.run(idempotency_key="k")
    engine.conn.execute(
        f"UPDATE \"{engine.schema}\".workflow_runs SET status = 'completed', output = '7'"
    )
    assert handle.result(timeout=5) == Money(700, "EUR")
    assert engine.ow.get_run(handle.id).result(timeout=5) == 7


@pytest.mark.parametrize(
    ("upcast", "message"),
    [
        (lambda stored: {"cents": "x"}, "what its upcast .*<lambda> returned"),
        (lambda stored: {object()}, "what its upcast .*<lambda> returned"),
        (lambda stored: stored["amount"], "its upcast .*<lambda> raised KeyError: 'amount'"),
    ],
)
def test_an_upcast_that_fails_is_named(engine: Engine, upcast: Any, message: str) -> None:
    @engine.ow.workflow("main")
    def main(step: Step, input: Money) -> None:
        raise AssertionError("the function was called")

    main.upcast(upcast)
    row = engine.finish(engine.start({"n": 7}))
    assert (row["status"], row["error"]["name"]) == ("failed", "InvalidData")
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(row["error"]["message"])


def test_an_upcast_that_could_never_be_called_or_used_is_refused() -> None:
    ow = OpenWorkflow("postgresql://nobody@127.0.0.1:1/x")

    @ow.workflow
    def untyped(step, input):  # type: ignore[no-untyped-def]
        return input

    @ow.workflow
    def bare(step: Step) -> Money:
        return Money(1, "EUR")

    async def later(stored: Any) -> Any:
        return stored

    for refused, message in (
        (lambda: untyped.upcast(as_money), "its input has no type"),
        (lambda: untyped.upcast(result=True), "its result has no type"),
        (lambda: bare.upcast(as_money), "takes no input"),
        (lambda: bare.upcast(step=""), "Invalid step name"),
        (lambda: bare.upcast(step="a", result=True), "for a step or for the result"),  # type: ignore[call-overload]
        (lambda: bare.upcast(step="a")(7), "not 7"),  # type: ignore[type-var]
        (lambda: bare.upcast(step="a")(later), "not an async function"),
        (lambda: bare.upcast(step="a")(lambda: 1), "takes one argument"),  # type: ignore[type-var]
    ):
        with pytest.raises((ConfigurationError, StepUsageError), match=message):
            refused()
    bare.upcast(step="a")(as_money)
    with pytest.raises(RegistrationError, match="has an upcast of step 'a' already, as_money"):
        bare.upcast(step="a")(as_money)
    bare.upcast(result=True)(as_money)
    with pytest.raises(RegistrationError, match="of its result already"):
        bare.upcast(result=True)(as_money)
