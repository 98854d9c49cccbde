"""Runs whose waits were ended by hand go on at once; sync and async."""

from __future__ import annotations

from typing import Any

from owsuper import RetryPolicy
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async


@sync_and_async
class TestWaking:
    def test_sleeps_and_waits_end_as_if_their_times_had_come(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            yield step.sleep("nap", "3d")
            return (yield step.wait_for_signal("go", timeout="3d"))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        for _ in ("nap", "go"):
            assert engine.execute_once(run_id).outcome == "parked"
            engine.ow.get_run(run_id).wake()
        assert engine.finish(run_id)["output"] is None
        assert engine.statuses(run_id) == [("nap", "completed"), ("go", "completed")]

    def test_a_signal_that_has_arrived_wins(self, engine: Engine, as_workflow: AsWorkflow) -> None:
        def body(step: Any) -> Any:
            signal = yield step.wait_for_signal("go", timeout="3d")
            return None if signal is None else signal.data

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).wake()
        engine.ow.send_signal("go", 7)
        assert engine.finish(run_id)["output"] == 7

    def test_the_pause_before_a_retry_of_a_step_ends(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls
    ) -> None:
        slowly = RetryPolicy(initial_interval="1h", maximum_interval="1h")
        charge = calls("charge", ValueError(), "paid")

        def body(step: Any) -> Any:
            return (yield step.run("charge", charge, retry=slowly))

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "retrying"
        engine.ow.get_run(run_id).wake()
        assert engine.finish(run_id)["output"] == "paid"
        assert calls.made == ["charge", "charge"]

    def test_the_wait_of_one_branch_ends_and_the_other_goes_on(
        self, engine: Engine, as_workflow: AsWorkflow
    ) -> None:
        def body(step: Any) -> Any:
            child = step.submit_workflow("other")
            yield step.sleep("nap", "3d")
            return (yield child)

        engine.workflow(as_workflow(body))
        run_id = engine.start()
        engine.execute_once(run_id)
        engine.ow.get_run(run_id).wake("nap")
        assert engine.execute_once(run_id).outcome == "parked"
        assert dict(engine.statuses(run_id)) == {"other": "running", "nap": "completed"}
