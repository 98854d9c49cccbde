"""Whatever user code raises, of any class and anywhere, ends as a failure of the step or the run.

Some exceptions have a meaning of their own in generators, in asyncio or in threads. None of them
may stop the engine, or be taken for something that happened to the engine.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from owsuper import AsyncStep, RetryPolicy, Step
from owsuper.stored_error import EngineError, StoredError
from tests.child.conftest import Calls, Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

pytestmark = pytest.mark.slow

ONCE = RetryPolicy(maximum_attempts=1)


class OfItsOwn(BaseException):
    pass


class Silent(Exception):
    def __str__(self) -> str:
        raise StopIteration


EXCEPTIONS = [
    StopIteration("nothing left"),
    StopAsyncIteration("nothing left"),
    GeneratorExit("closed"),
    SystemExit(3),
    KeyboardInterrupt("ctrl-c"),
    asyncio.CancelledError("cancelled"),
    concurrent.futures.CancelledError("cancelled"),
    asyncio.InvalidStateError("state"),
    TimeoutError("late"),
    MemoryError("much"),
    RecursionError("deep"),
    OSError(24, "Too many open files"),
    RuntimeError("can't start new thread"),
    OfItsOwn("own"),
    Silent("silent"),
    BaseExceptionGroup("group", [StopIteration("inner"), SystemExit(1)]),
]
every_exception = pytest.mark.parametrize("raised", EXCEPTIONS, ids=lambda exc: type(exc).__name__)
# A lack of memory while the engine converts a value is the engine's: see test_engine_errors.
every_exception_of_a_hook = pytest.mark.parametrize(
    "raised",
    [each for each in EXCEPTIONS if not isinstance(each, MemoryError)],
    ids=lambda exc: type(exc).__name__,
)


def names_of(raised: BaseException) -> set[str]:
    """The names under which ``raised`` may be stored: Python itself replaces it in a coroutine."""
    replaced = isinstance(raised, (StopIteration, StopAsyncIteration))
    return {type(raised).__name__} | ({"RuntimeError"} if replaced else set())


@sync_and_async
@every_exception
class TestSteps:
    @pytest.mark.parametrize("kind", ["function", "coroutine", "awaitable"])
    def test_a_function_fails_its_attempt_and_the_next_attempt_is_made(
        self, engine: Engine, as_workflow: AsWorkflow, kind: str, raised: BaseException
    ) -> None:
        calls = Calls()
        call = calls("a", raised, "fine")

        async def coroutine() -> Any:
            await asyncio.sleep(0)
            return call()

        class Awaitable:
            def __await__(self) -> Any:
                yield from asyncio.sleep(0).__await__()
                return call()

        function: Callable[[], Any] = call
        if kind != "function":
            function = coroutine if kind == "coroutine" else Awaitable

        def body(step: Any) -> Any:
            return (yield step.run("a", function, retry=RetryPolicy(initial_interval="1ms")))

        engine.workflow(as_workflow(body))
        row = engine.finish(run_id := engine.start())

        assert (row["status"], row["output"]) == ("completed", "fine")
        assert engine.statuses(run_id) == [("a", "failed"), ("a", "completed")]
        assert engine.steps(run_id)[0]["error"]["name"] in names_of(raised)
        assert calls.made == ["a", "a"]

    def test_a_submitted_step_fails_too(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls, raised: BaseException
    ) -> None:
        def body(step: Any) -> Any:
            yield step.submit("a", calls("a", raised), retry=ONCE)

        engine.workflow(as_workflow(body))
        row = engine.finish(run_id := engine.start())

        assert row["status"] == "failed"
        assert engine.statuses(run_id) == [("a", "failed")]

    def test_the_workflow_function_fails_its_run(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls, raised: BaseException
    ) -> None:
        def body(step: Any) -> Any:
            yield step.run("a", calls("a"))
            calls("body", raised)()

        engine.workflow(as_workflow(body))
        row = engine.finish(engine.start())

        assert row["status"] == "failed"
        assert row["error"]["name"] in names_of(raised)


@every_exception
def test_a_branch_of_parallel_fails_the_run(engine: Engine, raised: BaseException) -> None:
    calls = Calls()

    def body(step: Step) -> None:
        step.parallel(calls("one", raised), calls("two"))

    engine.workflow(body)

    assert engine.finish(engine.start())["status"] == "failed"
    assert sorted(calls.made) == ["one", "two"]


@every_exception
def test_a_function_that_async_code_sends_to_a_thread_fails_the_step(
    engine: Engine, raised: BaseException
) -> None:
    calls = Calls()

    async def in_a_thread() -> Any:
        return await asyncio.to_thread(calls("a", raised))

    async def body(step: AsyncStep) -> None:
        await step.run("a", in_a_thread, retry=ONCE)

    engine.workflow(body)
    row = engine.finish(run_id := engine.start())

    assert row["status"] == "failed"
    assert engine.statuses(run_id) == [("a", "failed")]


@every_exception
def test_a_callback_of_a_submitted_step_does_not_stop_its_run(
    engine: Engine, raised: BaseException
) -> None:
    calls = Calls()
    added = threading.Event()

    def body(step: Step) -> Any:
        future = step.submit("a", added.wait)
        future.add_done_callback(lambda _: calls("callback", raised)())
        added.set()
        return future.result()

    engine.workflow(body)
    row = engine.finish(engine.start())

    assert (row["status"], row["output"]) == ("completed", True)
    assert calls.made == ["callback"]


HOOK: list[BaseException] = []  # what the hooks below raise


@dataclass
class Picky:
    value: int

    def __post_init__(self) -> None:
        if HOOK:
            raise HOOK[0]


@sync_and_async
@every_exception_of_a_hook
class TestHooksOfTypes:
    """A type's own code is called when a value is converted: input, results of steps and runs."""

    @pytest.fixture(autouse=True)
    def hook(self, raised: BaseException) -> Any:
        HOOK.clear()
        yield
        HOOK.clear()

    def test_a_result_that_its_type_refuses_fails_the_step_and_is_not_produced_again(
        self, engine: Engine, as_workflow: AsWorkflow, calls: Calls, raised: BaseException
    ) -> None:
        def produce() -> Any:
            calls.made.append("a")
            HOOK.append(raised)
            return {"value": 1}

        def body(step: Any) -> Any:
            yield step.run("a", produce, type=Picky)

        engine.workflow(as_workflow(body))
        row = engine.finish(run_id := engine.start())

        assert row["status"] == "failed"
        assert engine.statuses(run_id) == [("a", "failed")]
        assert calls.made == ["a"]

    def test_an_input_that_its_type_refuses_fails_the_run(
        self, engine: Engine, as_workflow: AsWorkflow, raised: BaseException
    ) -> None:
        HOOK.append(raised)
        if "async" in repr(as_workflow):

            async def main(step: AsyncStep, input: Picky) -> None:
                raise AssertionError

            engine.workflow(main)
        else:

            def main_(step: Step, input: Picky) -> None:
                raise AssertionError

            engine.workflow(main_)

        assert engine.finish(engine.start({"value": 1}))["status"] == "failed"


@every_exception_of_a_hook
def test_a_result_of_the_run_that_its_type_refuses_fails_the_run(
    engine: Engine, raised: BaseException
) -> None:
    def body(step: Step) -> Picky:
        result = Picky(1)
        HOOK.append(raised)
        return result

    engine.workflow(body)
    try:
        assert engine.finish(engine.start())["status"] == "failed"
    finally:
        HOOK.clear()


def test_an_error_of_the_engine_cannot_be_stored_as_a_failure() -> None:
    with pytest.raises(TypeError, match="Give the run back"):
        StoredError.from_exception(EngineError("no database"))
