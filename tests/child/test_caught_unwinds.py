"""Code that catches what ends its execution, and calls steps again and again."""

from __future__ import annotations

import threading
import time
from typing import Any

from owsuper import Step
from owsuper.ipc.messages import CAUGHT_UNWIND
from tests.child.conftest import KILL_GRACE, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async
from tests.child.test_step_time_outs import Gate, gate, in_thread

__all__ = ["gate"]


@sync_and_async
def test_if_it_goes_on_for_ever_it_is_reported_with_its_stack(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    over = threading.Event()

    def body(step: Any) -> Any:
        while not over.is_set():
            try:
                yield step.sleep("nap", 3600)
            except BaseException:
                continue

    engine.workflow(as_workflow(body))
    outcome = in_thread(engine, engine.start())
    overdue = engine.overdue.get(timeout=60)
    over.set()
    assert (overdue.reason, overdue.slot, overdue.steps) == (CAUGHT_UNWIND, 0, ())
    assert "test_caught_unwinds.py" in overdue.stack
    assert outcome() == "parked"


@sync_and_async
def test_if_it_stops_calling_steps_it_is_not_reported(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    def body(step: Any) -> Any:
        for _ in range(100):
            try:
                yield step.sleep("nap", 3600)
            except BaseException:
                continue
        time.sleep(3 * KILL_GRACE)

    engine.workflow(as_workflow(body))
    assert engine.execute_once(engine.start()).outcome == "parked"
    assert engine.overdue.empty()


def test_it_is_not_reported_while_a_step_beside_it_is_executed(engine: Engine, gate: Gate) -> None:
    over = threading.Event()

    def body(step: Step) -> None:
        step.submit("long", gate)
        assert gate.entered.wait(60)
        while not over.is_set():
            try:
                step.run("next", lambda: None)
            except BaseException:
                time.sleep(0.001)

    engine.workflow(body)
    outcome = in_thread(engine, engine.start())
    assert gate.entered.wait(60)
    [execution] = engine.executor.executions.values()
    execution.stop_at_next_step()
    time.sleep(4 * KILL_GRACE)
    assert engine.overdue.empty()
    gate.release()
    assert engine.overdue.get(timeout=60).reason == CAUGHT_UNWIND
    over.set()
    assert outcome() == "released"
