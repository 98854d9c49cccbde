"""Steps of an ``async def`` workflow that were called and that nobody awaits."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest

from owsuper import AsyncStep, RetryPolicy, StepFailed
from owsuper.errors import StepUsageError
from tests.child.conftest import Calls, Engine

ONCE = RetryPolicy(maximum_attempts=1)
LATER = RetryPolicy(initial_interval="1h", maximum_interval="1h", maximum_attempts=2)

Workflow = Callable[[AsyncStep], Awaitable[Any]]


def error_of(engine: Engine, workflow: Workflow, **options: Any) -> str:
    """Execute a run of ``workflow``, which must fail; return the message of its error."""
    engine.workflow(workflow, **options)
    row = engine.finish(engine.start())
    assert (row["status"], row["attempts"]) == ("failed", 1)
    assert row["error"]["name"] == "StepUsageError"
    message: str = row["error"]["message"]
    return message


class TestAForgottenAwait:
    """``step.run("charge", charge)`` on a line of its own: the commonest mistake."""

    def test_the_run_fails_and_names_the_step(self, engine: Engine, calls: Calls) -> None:
        async def workflow(step: AsyncStep) -> str:
            step.run("charge", calls("charge"))
            return "charged"

        assert error_of(engine, workflow).startswith("step.run('charge') was called, and nobody")
        assert calls.made == []

    @pytest.mark.parametrize(
        "call",
        [
            lambda step: step.sleep("nap", 1),
            lambda step: step.run_workflow("main"),
            lambda step: step.wait_for_signal("go"),
            lambda step: step.send_signal("go"),
            lambda step: step.run("charge", asyncio.sleep, 0),
        ],
        ids=["sleep", "run_workflow", "wait_for_signal", "send_signal", "async function"],
    )
    def test_every_kind_of_step_is_watched(
        self, engine: Engine, call: Callable[[AsyncStep], Any]
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            call(step)

        assert "nobody awaits it" in error_of(engine, workflow)
        assert len(engine._rows("workflow_runs", "namespace_id", "default")) == 1

    def test_no_retry_policy_repeats_it_and_catching_it_does_not_help(
        self, engine: Engine, calls: Calls
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            step.run("charge", calls("charge"))
            with contextlib.suppress(StepUsageError):
                await step.run("mail", calls("mail"))

        assert "step.run('charge')" in error_of(engine, workflow, retry=RetryPolicy())
        assert calls.made == []

    def test_the_next_step_is_refused_so_that_a_long_wait_hides_nothing(
        self, engine: Engine
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            step.run("charge", lambda: 1)
            await step.sleep("a week", "7d")

        assert "step.run('charge')" in error_of(engine, workflow)

    def test_a_call_that_something_keeps_is_found_at_the_end(self, engine: Engine) -> None:
        kept: list[Any] = []

        async def workflow(step: AsyncStep) -> None:
            kept.append(step.run("charge", lambda: 1))
            await step.run("mail", lambda: 1)

        assert "step.run('charge')" in error_of(engine, workflow)

    def test_a_call_in_a_cycle_is_found_without_the_garbage_collector(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> None:
            cycle: list[Any] = [step.run("charge", lambda: 1)]
            cycle.append(cycle)

        gc.disable()
        try:
            assert "step.run('charge')" in error_of(engine, workflow)
        finally:
            gc.enable()

    def test_a_call_that_is_returned_as_the_result(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> Any:
            return step.run("charge", lambda: 1)

        assert "step.run('charge')" in error_of(engine, workflow)

    def test_a_call_as_the_argument_of_another_step_is_refused_before_that_step(
        self, engine: Engine, calls: Calls
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            user = step.run("fetch", lambda: 1)
            await step.run("mail", calls.made.append, user)

        assert "'mail' was given <step.run('fetch')>" in error_of(engine, workflow)
        assert calls.made == []

    def test_gather_that_is_not_awaited(self, engine: Engine, calls: Calls) -> None:
        async def workflow(step: AsyncStep) -> None:
            asyncio.gather(step.run("a", calls("a")), step.run("b", calls("b")))

        assert "step.run('a')" in error_of(engine, workflow)
        assert calls.made == []

    def test_the_workflows_own_error_comes_first(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> None:
            step.run("charge", lambda: 1)
            raise KeyError("mine")

        engine.workflow(workflow)
        assert engine.finish(engine.start())["error"]["name"] == "KeyError"


class TestATaskThatNobodyAwaits:
    def test_a_task_that_has_not_begun_fails_the_run_and_is_not_begun(
        self, engine: Engine, calls: Calls
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            asyncio.create_task(step.run("charge", calls("charge")))  # noqa: RUF006 - the mistake

        assert "step.run('charge')" in error_of(engine, workflow)
        assert calls.made == []

    @pytest.mark.parametrize("asynchronous", [True, False], ids=["async def", "def"])
    def test_a_step_that_is_running_is_finished_and_recorded_and_the_run_fails(
        self, engine: Engine, asynchronous: bool
    ) -> None:
        begun = asyncio.Event()

        async def work() -> int:
            begun.set()
            await asyncio.sleep(0.05)
            return 1

        def work_in_thread() -> int:
            loop.call_soon_threadsafe(begun.set)
            return 1

        async def workflow(step: AsyncStep) -> None:
            nonlocal loop
            loop = asyncio.get_running_loop()
            fn: Any = work if asynchronous else work_in_thread
            task = asyncio.create_task(step.run("charge", fn))  # noqa: F841, RUF006 - the mistake
            await begun.wait()

        loop: Any = None
        engine.workflow(workflow)
        run_id = engine.start()
        assert engine.finish(run_id)["error"]["name"] == "StepUsageError"
        assert engine.statuses(run_id) == [("charge", "completed")]

    def test_a_step_that_is_done_counts_too_for_a_replay_may_be_faster(
        self, engine: Engine
    ) -> None:
        async def workflow(step: AsyncStep) -> None:
            task = asyncio.create_task(step.run("charge", lambda: 1))  # noqa: F841, RUF006 - the mistake
            await step.sleep("nap", 0.2)

        engine.workflow(workflow)
        row = engine.finish(engine.start())
        assert row["error"]["name"] == "StepUsageError"

    def test_a_set_that_keeps_the_task_alive_awaits_nothing(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> None:
            task = asyncio.create_task(step.run("charge", lambda: 1))
            tasks = {task}
            task.add_done_callback(tasks.discard)

        assert "step.run('charge')" in error_of(engine, workflow)

    def test_a_branch_that_is_in_a_step_at_the_end(self, engine: Engine) -> None:
        async def workflow(step: AsyncStep) -> None:
            async def branch() -> None:
                await step.sleep("an hour", "1h")

            task = asyncio.create_task(branch())  # noqa: F841, RUF006 - the mistake
            await step.run("charge", lambda: 1)
            await asyncio.sleep(0)

        assert "step.sleep('an hour')" in error_of(engine, workflow)

    def test_a_retry_that_waits_is_not_made_after_the_run(
        self, engine: Engine, calls: Calls
    ) -> None:
        """Also of a branch that the workflow has left on purpose."""

        left: list[asyncio.Task[Any]] = []

        async def workflow(step: AsyncStep) -> str:
            failing = step.run("flaky", calls("flaky", ValueError(), "late"), retry=LATER)
            left.append(asyncio.create_task(failing))
            await asyncio.wait(left, timeout=0.001)
            return "done"

        engine.workflow(workflow)
        assert engine.finish(engine.start())["output"] == "done"
        engine.services.loop_thread.begin(asyncio.wait(left)).result()
        assert calls.made == ["flaky"]


async def left_by_wait(step: AsyncStep) -> None:
    fast = asyncio.create_task(step.run("fast", lambda: 1))
    slow = asyncio.create_task(step.wait_for_signal("never"))
    await asyncio.wait({fast, slow}, return_when=asyncio.FIRST_COMPLETED)


async def left_by_gather(step: AsyncStep) -> None:
    async def fail() -> None:
        raise KeyError

    with contextlib.suppress(KeyError):
        await asyncio.gather(fail(), step.sleep("an hour", "1h"), step.run("a", lambda: 1))


async def left_by_a_task_group(step: AsyncStep) -> None:
    async def fail() -> None:
        raise KeyError

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(step.sleep("an hour", "1h"))
    except* KeyError:
        pass


async def left_by_shield(step: AsyncStep) -> None:
    sleeping = asyncio.create_task(step.sleep("an hour", "1h"))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.shield(sleeping)


async def left_by_wait_for(step: AsyncStep) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(step.run("slow", asyncio.Event().wait), 0.01)


async def left_before_it_began(step: AsyncStep) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(step.run("slow", asyncio.Event().wait), 0)


async def cancelled_before_it_began(step: AsyncStep) -> None:
    asyncio.create_task(step.run("a", lambda: 1)).cancel()


async def cancelled_in_a_step(step: AsyncStep) -> None:
    task = asyncio.create_task(step.sleep("an hour", "1h"))
    await asyncio.sleep(0)
    task.cancel()


async def closed(step: AsyncStep) -> None:
    step.run("a", lambda: 1).close()


async def limited_by_a_semaphore(step: AsyncStep) -> None:
    semaphore = asyncio.Semaphore(1)

    async def one(call: Coroutine[Any, Any, Any]) -> Any:
        async with semaphore:
            return await call

    def fail() -> None:
        raise KeyError

    steps = [step.run(name, fail, retry=ONCE) for name in "abc"]
    with contextlib.suppress(StepFailed):
        await asyncio.gather(*map(one, steps))


async def limited_and_out_of_time(step: AsyncStep) -> None:
    semaphore = asyncio.Semaphore(1)

    async def one(call: Coroutine[Any, Any, Any]) -> Any:
        async with semaphore:
            return await call

    steps = [step.run(name, asyncio.Event().wait) for name in "abc"]
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(asyncio.gather(*map(one, steps)), 0.01)
    await step.run("after", lambda: 1)


async def one_after_the_other(step: AsyncStep) -> None:
    def fail() -> None:
        raise KeyError

    steps = [step.run("a", fail, retry=ONCE), step.run("b", lambda: 1)]
    try:
        for each in steps:
            await each
    except StepFailed:
        await step.run("instead", lambda: 1)


async def as_they_complete(step: AsyncStep) -> None:
    for first in asyncio.as_completed([step.run(name, lambda: 1) for name in "abc"]):
        await first
        break


async def polled(step: AsyncStep) -> None:
    task = asyncio.create_task(step.run("a", lambda: 1))
    while not task.done():
        await asyncio.sleep(0.001)


async def through_a_queue(step: AsyncStep) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue()

    async def produce() -> None:
        queue.put_nowait(await step.run("a", lambda: 1))

    task = asyncio.create_task(produce())  # noqa: F841, RUF006 - its result comes through the queue
    await queue.get()


async def submitted(step: AsyncStep) -> None:
    step.submit("a", lambda: 1)
    step.map("b", str, [1, 2])


async def a_task_that_a_steps_function_leaves(step: AsyncStep) -> None:
    async def fn() -> None:
        kept.append(asyncio.create_task(asyncio.sleep(60)))

    kept: list[asyncio.Task[None]] = []
    await step.run("a", fn)
    assert type(kept[0]) is asyncio.Task
    kept[0].cancel()


@pytest.mark.parametrize(
    "workflow",
    [
        left_by_wait,
        left_by_gather,
        left_by_a_task_group,
        left_by_shield,
        left_by_wait_for,
        left_before_it_began,
        cancelled_before_it_began,
        cancelled_in_a_step,
        closed,
        limited_by_a_semaphore,
        limited_and_out_of_time,
        one_after_the_other,
        as_they_complete,
        polled,
        through_a_queue,
        submitted,
        a_task_that_a_steps_function_leaves,
    ],
    ids=lambda workflow: workflow.__name__,
)
def test_steps_that_a_workflow_leaves_on_purpose_are_no_mistake(
    engine: Engine, workflow: Workflow
) -> None:
    engine.workflow(workflow)
    row = engine.finish(engine.start())
    assert (row["status"], row["error"]) == ("completed", None)
