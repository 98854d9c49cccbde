"""What ends a test ends it at once, and is no failure of a step that would be repeated."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, Step
from owsuper.testing import fail_once, run_in_process

THRICE = RetryPolicy(maximum_attempts=3)

ENDS: dict[str, Callable[[], Any]] = {
    "an interrupt": lambda: _raise(KeyboardInterrupt()),
    "a debugger that is left": lambda: _raise(BdbQuit()),
    "pytest's debugger that is left": lambda: pytest.exit("Quitting debugger"),
    "pytest.fail": lambda: pytest.fail("it must not be charged"),
    "pytest.skip": lambda: pytest.skip("not here"),
}


def _raise(exc: BaseException) -> None:
    raise exc


@pytest.fixture
def ow() -> OpenWorkflow:
    return OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")


def in_step(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    @ow.workflow
    def main(step: Step) -> None:
        try:
            step.run("charge", int)
        except Exception as exc:
            raise AssertionError("the workflow saw a failure") from exc

    run_in_process(main, steps={"charge": end})


def in_async_step(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    async def charge() -> None:
        end()

    @ow.workflow
    async def main(step: AsyncStep) -> None:
        await asyncio.gather(step.run("charge", charge, timeout="1h"), step.sleep("nap", "1d"))

    run_in_process(main)


def in_thread(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    @ow.workflow
    def main(step: Step) -> None:
        step.submit("charge", end).result()

    run_in_process(main)


def in_child(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    @ow.workflow
    def ship(step: Step) -> None: ...

    @ow.workflow
    def main(step: Step) -> None:
        step.run_workflow(ship)

    run_in_process(main, children={"ship": lambda _: end()})


def in_workflow(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    @ow.workflow(retry=THRICE)
    def main(step: Step) -> None:
        end()

    run_in_process(main)


def in_async_workflow(ow: OpenWorkflow, end: Callable[[], Any]) -> None:
    @ow.workflow(retry=THRICE)
    async def main(step: AsyncStep) -> None:
        end()

    run_in_process(main)


@pytest.mark.parametrize("name", ENDS)
@pytest.mark.parametrize(
    "place", [in_step, in_async_step, in_thread, in_child, in_workflow, in_async_workflow]
)
def test_it_ends_the_test_wherever_it_is_raised(
    ow: OpenWorkflow, name: str, place: Callable[..., None]
) -> None:
    calls: list[int] = []

    def end() -> None:
        calls.append(1)
        ENDS[name]()

    with pytest.raises(BaseException) as raised:  # noqa: PT011 - compared below
        place(ow, end)
    with pytest.raises(BaseException) as expected:  # noqa: PT011 - likewise
        ENDS[name]()
    assert (raised.type, str(raised.value)) == (expected.type, str(expected.value))
    assert calls == [1]


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Shells let the jobs that they start in the background ignore interrupts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("is_async", [False, True])
def test_a_step_that_takes_long_is_interrupted(ow: OpenWorkflow, is_async: bool) -> None:
    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    def nap() -> None:
        interrupt()
        time.sleep(300)

    async def anap() -> None:
        interrupt()
        await asyncio.sleep(300)

    @ow.workflow("sync")
    def main(step: Step) -> None:
        step.run("nap", nap)

    @ow.workflow("async")
    async def amain(step: AsyncStep) -> None:
        await step.run("nap", anap)

    with pytest.raises(KeyboardInterrupt):
        run_in_process(amain if is_async else main)


def test_what_a_test_lets_a_step_raise_is_a_failure_of_the_step(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> int:
        return step.run("charge", int)

    run = run_in_process(main, faults=[fail_once("charge", KeyboardInterrupt())])
    assert run.steps["charge"].attempts == 2


def test_an_exit_is_a_failure_of_the_step_as_in_a_worker(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> int:
        return step.run("charge", lambda: _raise(SystemExit(1)), retry=THRICE)  # type: ignore[return-value]

    error = run_in_process(main).error
    assert error is not None
    assert error.name == "SystemExit"
