"""``ow.around_steps``: context managers around the functions of steps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any, Self

import pytest

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from owsuper.errors import ConfigurationError, StepFailed
from owsuper.testing import run_in_process
from tests.child.conftest import Engine
from tests.child.sync_and_async import AsWorkflow, sync_and_async

events: list[str] = []
inside: ContextVar[str] = ContextVar("inside", default="outside")


@pytest.fixture(autouse=True)
def no_events() -> None:
    events.clear()


@contextlib.contextmanager
def noted(name: str = "with") -> Iterator[None]:
    thread = threading.get_ident()
    events.append(f"enter {name}")
    token = inside.set(name)
    try:
        yield
    finally:
        inside.reset(token)
        events.append(f"leave {name}, same thread: {thread == threading.get_ident()}")


class Both:
    """A context manager of both kinds."""

    def __enter__(self) -> Self:
        events.append("enter")
        return self

    def __exit__(self, *_: object) -> None:
        events.append("leave")

    async def __aenter__(self) -> Self:
        events.append("aenter")
        return self

    async def __aexit__(self, *_: object) -> None:
        events.append("aleave")


def where() -> str:
    events.append("step")
    return inside.get()


async def awhere() -> str:
    return where()


def application(*contexts: Any) -> tuple[Any, Any, Any]:
    """A ``def`` workflow, one whose lambda returns a coroutine, and an ``async def`` workflow."""
    ow = OpenWorkflow()
    for context in contexts:
        assert ow.around_steps(context) is context

    @ow.workflow
    def sync(step: Step) -> list[str]:
        return [inside.get(), step.run("where", where), inside.get()]

    @ow.workflow
    def returned(step: Step) -> str:
        return step.run("where", lambda: awhere())

    @ow.workflow
    async def asynchronous(step: AsyncStep) -> list[str]:
        return [inside.get(), await step.run("where", awhere), await step.run("there", where)]

    return sync, returned, asynchronous


def test_the_function_is_called_within_them_and_the_workflow_function_is_not() -> None:
    sync, _, _ = application(noted, lambda: noted("inner"))
    assert run_in_process(sync).result == ["outside", "inner", "outside"]
    assert events == [
        *("enter with", "enter inner", "step"),
        *("leave inner, same thread: True", "leave with, same thread: True"),
    ]


def test_async_functions_are_awaited_within_them_and_others_called_in_threads() -> None:
    _, _, asynchronous = application(noted)
    assert run_in_process(asynchronous).result == ["outside", "with", "with"]
    assert events == ["enter with", "step", "leave with, same thread: True"] * 2


def test_an_awaitable_that_a_lambda_returns_is_awaited_within_them() -> None:
    _, returned, _ = application(noted)
    assert run_in_process(returned).result == "with"
    assert events[-3:] == ["enter with", "step", "leave with, same thread: True"]


def test_a_manager_of_both_kinds_is_entered_as_the_function_is_called() -> None:
    sync, _, asynchronous = application(Both)
    run_in_process(sync)
    assert events == ["enter", "step", "leave"]
    events.clear()
    run_in_process(asynchronous)
    assert events == ["aenter", "step", "aleave", "enter", "step", "leave"]


def test_an_async_manager_is_refused_by_functions_that_are_not_async() -> None:
    @contextlib.asynccontextmanager
    async def asynchronous_only() -> AsyncIterator[None]:
        yield

    sync, _, _ = application(asynchronous_only)
    run = run_in_process(sync)
    with pytest.raises(Exception, match="not a context manager that a function can enter"):
        _ = run.result


def test_what_a_manager_raises_is_raised_by_the_step() -> None:
    @contextlib.contextmanager
    def refusing() -> Iterator[None]:
        yield
        raise LookupError("no session")

    ow = OpenWorkflow()
    ow.around_steps(refusing)

    @ow.workflow
    def caught(step: Step) -> str:
        try:
            step.run("where", where, retry=None)
        except StepFailed as failed:
            return str(failed.error.message)
        return "nothing"

    run = run_in_process(caught)
    assert run.result == "no session"
    assert run.steps["where"].attempts > 1


def test_results_have_the_type_that_the_function_declares() -> None:
    ow = OpenWorkflow()
    ow.around_steps(noted)

    def pair() -> tuple[int, str]:
        return (1, "a")

    @ow.workflow
    def typed(step: Step) -> bool:
        return isinstance(step.run("pair", pair), tuple)

    assert run_in_process(typed).result is True


def test_a_function_that_needs_arguments_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="around_steps calls"):
        OpenWorkflow().around_steps(lambda request: noted())  # type: ignore[type-var]


# --- steps in a transaction ----------------------------------------------------------------


@contextlib.contextmanager
def in_vain() -> Iterator[None]:
    events.append("enter")
    raise LookupError("no session")
    yield


@contextlib.contextmanager
def careless() -> Iterator[None]:
    events.append("enter")
    yield
    events.append("leave")
    raise LookupError("too late")


@sync_and_async
def test_they_are_entered_before_the_transaction_and_left_after_its_commit(
    engine: Engine, as_workflow: AsWorkflow, caplog: pytest.LogCaptureFixture
) -> None:
    engine.services.around_steps = (careless,)
    engine.workflow(as_workflow(store))
    row = engine.finish(engine.start())
    assert (row["status"], row["output"]) == ("completed", 3)
    assert events == ["enter", "leave"]
    assert engine.statuses(row["id"]) == [("do", "completed")]
    assert "the step is stored, and a context manager raised" in caplog.text


@sync_and_async
def test_one_that_cannot_be_entered_fails_the_step_and_its_function_is_not_called(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    engine.services.around_steps = (in_vain,)
    engine.workflow(as_workflow(store))
    row = engine.finish(engine.start())
    assert (row["status"], row["error"]["message"]) == ("failed", "no session")
    assert engine.statuses(row["id"]) == [("do", "failed")]


@contextlib.contextmanager
def suppressing() -> Iterator[None]:
    try:
        yield
    except ValueError as exc:
        events.append(f"saw {exc}")


@sync_and_async
def test_they_see_what_the_function_raises_and_do_not_make_it_a_success(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    engine.services.around_steps = (suppressing,)
    engine.workflow(as_workflow(refuse))
    row = engine.finish(engine.start())
    assert (row["status"], row["error"]["message"]) == ("failed", "wrong")
    assert "around.py" not in row["error"]["stack"]
    assert events == ["saw wrong"]
    assert engine.statuses(row["id"]) == [("do", "failed")]


@sync_and_async
def test_one_that_cannot_be_entered_is_no_success_if_another_suppresses_that(
    engine: Engine, as_workflow: AsWorkflow
) -> None:
    engine.services.around_steps = (lambda: contextlib.suppress(LookupError), in_vain)
    engine.workflow(as_workflow(store))
    row = engine.finish(engine.start())
    assert (row["status"], row["error"]["message"]) == ("failed", "no session")
    assert engine.statuses(row["id"]) == [("do", "failed")]


def store(step: Any) -> Any:
    once = RetryPolicy(maximum_attempts=1)
    return (yield step.transaction("do", afn if isinstance(step, AsyncStep) else fn, retry=once))


def refuse(step: Any) -> Any:
    once = RetryPolicy(maximum_attempts=1)
    refusing = arefusing if isinstance(step, AsyncStep) else refusing_function
    return (yield step.transaction("do", refusing, retry=once))


def refusing_function(conn: object) -> None:
    raise ValueError("wrong")


async def arefusing(conn: object) -> None:
    raise ValueError("wrong")


def fn(conn: object) -> int:
    return 3


async def afn(conn: object) -> int:
    return 3
