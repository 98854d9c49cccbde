"""Code without a step object knows which run and step it belongs to."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import Any

import pytest

from owsuper import AsyncStep, Current, RetryPolicy, Step, current, current_step
from owsuper.errors import StepUsageError
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

QUICK = RetryPolicy(initial_interval="1ms")


def where() -> tuple[str | None, int | None]:
    here = current()
    assert here is not None
    return here.step, here.attempt


async def awhere() -> tuple[str | None, int | None]:
    await asyncio.sleep(0)
    return await asyncio.create_task(_awhere())


async def _awhere() -> tuple[str | None, int | None]:
    return where()


@sync_and_async
@pytest.mark.parametrize("function", [where, awhere])
def test_a_function_knows_its_step_and_attempt(
    engine: Engine, as_workflow: AsWorkflow, function: Any
) -> None:
    tries: list[Any] = []

    def flaky() -> Any:
        tries.append(where())
        if len(tries) < 3:
            raise ValueError("again")
        return where()

    def body(step: Any) -> Any:
        first = yield step.run("look", function)
        second = yield step.run("look", function)
        third = yield step.run("flaky", flaky, retry=QUICK)
        return [first, second, third, where()]

    engine.workflow(as_workflow(body))
    row = engine.finish(engine.start())
    assert row["output"] == [["look", 1], ["look:1", 1], ["flaky", 3], [None, None]]
    assert tries == [("flaky", 1), ("flaky", 2), ("flaky", 3)]


def test_the_run_is_named_with_its_workflow_and_version(engine: Engine) -> None:
    found: list[Current | None] = []
    engine.workflow(lambda step: found.append(current()))
    run_id = engine.start()
    engine.finish(run_id)
    assert found == [Current(run_id, "main", None, None, None)]


def test_branches_and_threads_of_def_workflows_know_their_run(engine: Engine) -> None:
    def deep(name: str) -> Any:
        step = current_step()
        assert isinstance(step, Step)
        return step.run(name, where)

    def main(step: Step) -> Any:
        branches = step.parallel(*(partial(deep, name) for name in "ab"))
        return [*branches, step.submit("c", where).result(), deep("d")]

    engine.workflow(main)
    assert engine.finish(engine.start())["output"] == [["a", 1], ["b", 1], ["c", 1], ["d", 1]]


def test_tasks_of_async_workflows_know_their_run(engine: Engine) -> None:
    async def deep(name: str) -> Any:
        step = current_step()
        assert isinstance(step, AsyncStep)
        return await step.run(name, where)

    async def main(step: AsyncStep) -> Any:
        return await asyncio.gather(*(asyncio.create_task(deep(name)) for name in "abc"))

    engine.workflow(main)
    assert engine.finish(engine.start())["output"] == [["a", 1], ["b", 1], ["c", 1]]


def test_there_is_nothing_outside_of_a_run_nor_after_one(engine: Engine) -> None:
    engine.workflow(lambda step: None)
    engine.finish(engine.start())
    found: list[Current | None] = [current()]
    thread = threading.Thread(target=lambda: found.append(current()))
    thread.start()
    thread.join()
    assert found == [None, None]
    with pytest.raises(StepUsageError, match="was called outside of a run"):
        current_step()


def test_steps_do_not_nest_through_current_step(engine: Engine) -> None:
    def nested() -> None:
        current_step()

    engine.workflow(lambda step: step.run("outer", nested))
    row = engine.finish(engine.start())
    assert "was called in the function of step 'outer'" in row["error"]["message"]
