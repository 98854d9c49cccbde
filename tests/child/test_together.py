"""Waits side by side, sync and async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest

from owsuper import AsyncStep, Step
from owsuper.errors import StepUsageError
from tests.child.conftest import Engine


def sync_waits(engine: Engine, seconds: float) -> None:
    def body(step: Step) -> list[Any]:
        return step.parallel(
            partial(step.sleep, "pause", seconds), partial(step.wait_for_signal, "go")
        )

    engine.workflow(body)


def async_waits(engine: Engine, seconds: float) -> None:
    async def body(step: AsyncStep) -> list[Any]:
        return await asyncio.gather(step.sleep("pause", seconds), step.wait_for_signal("go"))

    engine.workflow(body)


sync_and_async = pytest.mark.parametrize("define", [sync_waits, async_waits], ids=["sync", "async"])


@sync_and_async
def test_waits_side_by_side_are_all_kept_and_the_first_wakes_the_run(
    engine: Engine, define: Callable[[Engine, float], None]
) -> None:
    for _ in range(10):
        engine.ow.registry._workflows.clear()
        define(engine, 3600)
        run_id = engine.start()
        assert engine.execute_once(run_id).outcome == "parked"
        assert sorted(engine.statuses(run_id)) == [("go", "running"), ("pause", "running")]
        row = engine.row(run_id)
        assert timedelta(minutes=59) < row["available_at"] - row["created_at"] < timedelta(hours=2)


@sync_and_async
def test_a_signal_beside_a_sleep_is_taken_up_once_and_then_the_run_sleeps(
    engine: Engine, define: Callable[[Engine, float], None]
) -> None:
    define(engine, 3600)
    run_id = engine.start()
    engine.execute_once(run_id)
    asleep = engine.row(run_id)["available_at"]
    engine.ow.send_signal("go", 1)
    assert engine.execute_once(run_id).outcome == "parked"
    assert sorted(engine.statuses(run_id)) == [("go", "completed"), ("pause", "running")]
    assert engine.row(run_id)["available_at"] == asleep


@sync_and_async
def test_a_sleep_that_ends_first_does_not_end_the_wait_beside_it(
    engine: Engine, define: Callable[[Engine, float], None]
) -> None:
    define(engine, 0.05)
    run_id = engine.start()
    while ("pause", "completed") not in engine.statuses(run_id):
        assert engine.execute_once(run_id).outcome == "parked"
    assert sorted(engine.statuses(run_id)) == [("go", "running"), ("pause", "completed")]
    engine.ow.send_signal("go", 1)
    assert engine.finish(run_id)["output"] == [None, {"data": 1}]


def sync_busy(engine: Engine, freed: threading.Event) -> None:
    def body(step: Step) -> None:
        def free() -> None:
            step.wait_for_signal("go")
            step.run("free", freed.set)

        step.parallel(partial(step.run, "busy", freed.wait, 30), free)

    engine.workflow(body)


def async_busy(engine: Engine, freed: threading.Event) -> None:
    async def body(step: AsyncStep) -> None:
        async def free() -> None:
            await step.wait_for_signal("go")
            await step.run("free", freed.set)

        await asyncio.gather(step.run("busy", freed.wait, 30), free())

    engine.workflow(body)


@pytest.mark.parametrize("define", [sync_busy, async_busy], ids=["sync", "async"])
def test_an_answer_is_noticed_while_another_branch_keeps_the_run_busy(
    engine: Engine, define: Callable[[Engine, threading.Event], None]
) -> None:
    freed = threading.Event()
    define(engine, freed)
    run_id = engine.start()
    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(engine.execute_once, run_id)
        while ("go", "running") not in engine.statuses(run_id):
            pass
        engine.ow.send_signal("go")
        assert ended.result().outcome == "completed"


class TestBranches:
    def test_they_run_at_the_same_time_and_their_results_come_in_order(
        self, engine: Engine
    ) -> None:
        def branch(step: Step, name: str) -> list[str]:
            return [step.run(f"{name} {number}", str, f"{name}{number}") for number in range(3)]

        def body(step: Step) -> list[list[str]]:
            return step.parallel(*(partial(branch, step, name) for name in "abc"))

        engine.workflow(body)
        run_id = engine.start()
        output = engine.finish(run_id)["output"]
        assert output == [[f"{name}{number}" for number in range(3)] for name in "abc"]

    def test_all_are_waited_for_and_then_the_first_error_is_raised(self, engine: Engine) -> None:
        def fails(step: Step) -> None:
            raise ValueError("the first")

        def works(step: Step) -> str:
            step.sleep("pause", 0.01)
            return step.run("work", str, "done")

        def body(step: Step) -> None:
            step.parallel(partial(fails, step), partial(works, step))

        engine.workflow(body)
        run_id = engine.start()
        row = engine.finish(run_id)
        assert row["error"]["message"] == "the first"
        assert ("work", "completed") in engine.statuses(run_id)

    def test_branches_have_branches(self, engine: Engine) -> None:
        def inner(step: Step, name: str) -> list[str]:
            return step.parallel(
                *(partial(step.run, f"{name}{number}", str, f"{name}{number}") for number in "12")
            )

        def body(step: Step) -> list[list[str]]:
            return step.parallel(*(partial(inner, step, name) for name in "ab"))

        engine.workflow(body)
        assert engine.finish(engine.start())["output"] == [["a1", "a2"], ["b1", "b2"]]

    def test_what_is_not_callable_is_refused(self, engine: Engine) -> None:
        def body(step: Step) -> None:
            with pytest.raises(StepUsageError, match="not callable"):
                step.parallel("x")

        engine.workflow(body)
        engine.finish(engine.start())
