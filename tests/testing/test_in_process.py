"""Runs in the process of a test: no worker, no database, no waiting."""

from __future__ import annotations

import asyncio
import inspect
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from owsuper import AsyncStep, OpenWorkflow, RetryPolicy, RunStatus, Step, StepFailed
from owsuper.errors import (
    ChildFailed,
    ConfigurationError,
    InvalidData,
    NonRetryableError,
    RunCanceled,
    RunExists,
    RunFailed,
    RunNotCancelable,
    RunNotFound,
    RunNotRerunnable,
    RunNotWakeable,
)
from owsuper.testing import (
    InProcessWorker,
    crash_after,
    crash_in,
    fail,
    fail_once,
    in_process,
    run_in_process,
    survives_crashes,
)

AsWorkflow = Callable[[Callable[..., Any]], Callable[..., Any]]


def as_async(body: Callable[..., Any]) -> Callable[..., Any]:
    """An ``async def`` workflow that awaits what ``body`` yields."""

    async def workflow(step: AsyncStep, input: Any = None) -> Any:
        calls = body(step, input)
        try:
            call = next(calls)
            while True:
                try:
                    value = await call
                except Exception as exc:
                    call = calls.throw(exc)
                else:
                    call = calls.send(value)
        except StopIteration as end:
            return end.value

    return workflow


def as_sync(body: Callable[..., Any]) -> Callable[..., Any]:
    """A ``def`` workflow of the steps that ``body`` calls and yields."""

    def workflow(step: Step, input: Any = None) -> Any:
        calls = body(_Lazy(step), input)
        try:
            call = next(calls)
            while True:
                try:
                    value = call()
                except Exception as exc:
                    call = calls.throw(exc)
                else:
                    call = calls.send(value)
        except StopIteration as end:
            return end.value

    return workflow


class _Lazy:
    """A step object whose methods return what calls them."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._step, name)
        if not callable(method):
            return method
        return lambda *args, **options: lambda: method(*args, **options)


both = pytest.mark.parametrize("kind", [as_sync, as_async], ids=["def", "async def"])


@pytest.fixture
def ow() -> OpenWorkflow:
    return OpenWorkflow("postgresql://nobody@127.0.0.1:1/nowhere")


def real(*_: Any) -> Any:
    raise AssertionError("the real function was called")


# --- time ------------------------------------------------------------------------------------


@both
def test_days_of_sleep_take_no_time(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def body(step: Any, _: Any) -> Any:
        yield step.sleep("first", "3d")
        yield step.sleep("second", "12h")
        return "awake"

    began = time.monotonic()
    run = run_in_process(ow.workflow("naps")(kind(body)))
    assert (run.result, run.slept) == ("awake", timedelta(days=3, hours=12))
    assert (run.claims, list(run.steps)) == (3, ["first", "second"])
    assert time.monotonic() - began < 30


@both
def test_retries_pass_at_once_and_in_order(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    tries: list[int] = []

    def flaky() -> int:
        tries.append(1)
        if len(tries) < 4:
            raise ValueError(len(tries))
        return len(tries)

    def body(step: Any, _: Any) -> Any:
        return (yield step.run("flaky", flaky, retry=RetryPolicy(initial_interval="1h")))

    run = run_in_process(ow.workflow("tries")(kind(body)))
    assert run.result == 4
    step = run.steps["flaky"]
    assert (step.attempts, step.status, step.output) == (4, "completed", 4)
    assert step.error is not None
    assert step.error.message == "3"


def test_the_clock_moves_by_hand(ow: OpenWorkflow) -> None:
    @ow.workflow
    def nap(step: Step) -> None:
        step.sleep("nap", "3d")

    now = datetime(2030, 5, 1, tzinfo=UTC)
    with InProcessWorker(ow, now=now) as worker:
        run_id = worker.start(nap)
        worker.run_until_idle()
        worker.advance("2d")
        assert worker.read(nap, run_id).status == RunStatus.RUNNING
        with pytest.raises(AssertionError, match="has not ended"):
            _ = worker.read(nap, run_id).result
        worker.advance("1d")
        assert worker.read(nap, run_id).status == RunStatus.COMPLETED
        assert worker.now == now + timedelta(days=3)


def test_time_does_not_go_back(ow: OpenWorkflow) -> None:
    with (
        InProcessWorker(ow) as worker,
        pytest.raises(ConfigurationError, match=r"advance\(-1\): time does not go back"),
    ):
        worker.advance(-1)
    with pytest.raises(ConfigurationError, match="has no time zone"):
        InProcessWorker(ow, now=datetime(2030, 1, 1))


# --- steps -----------------------------------------------------------------------------------


@both
def test_a_step_is_replaced_by_name(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def body(step: Any, amount: Any) -> Any:
        first = yield step.run("charge", real, amount)
        second = yield step.run("charge", real, 2 * amount)
        third = yield step.transaction("store", real, 3)
        return [first, second, third]

    steps = {"charge": lambda amount: f"charged {amount}", "store": lambda number: number + 1}
    run = run_in_process(ow.workflow("shop")(kind(body)), 5, steps=steps)
    assert run.result == ["charged 5", "charged 10", 4]
    assert list(run.steps) == ["charge", "charge:1", "store"]


def test_a_replacement_gives_what_the_real_function_declares(ow: OpenWorkflow) -> None:
    @dataclass
    class Receipt:
        number: int

    def charge() -> Receipt:
        return real()

    charge.__annotations__["return"] = Receipt

    @ow.workflow
    def shop(step: Step) -> int:
        return step.run("charge", charge).number

    assert run_in_process(shop, steps={"charge": lambda: Receipt(7)}).result == 7
    run = run_in_process(shop, steps={"charge": lambda: "no receipt"})
    assert run.error is not None
    assert run.error.name == "InvalidData"


@both
def test_an_async_replacement_is_awaited(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    async def charge(amount: int) -> int:
        await asyncio.sleep(0)
        return amount + 1

    def body(step: Any, _: Any) -> Any:
        return (yield step.run("charge", real, 5))

    assert run_in_process(ow.workflow("shop")(kind(body)), steps={"charge": charge}).result == 6


@both
def test_a_step_fails_once_or_for_good(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def body(step: Any, _: Any) -> Any:
        return (yield step.run("charge", lambda: "done"))

    workflow = ow.workflow("shop")(kind(body))
    run = run_in_process(workflow, faults=[fail_once("charge", TimeoutError("slow"))])
    assert (run.result, run.steps["charge"].attempts) == ("done", 2)

    run = run_in_process(workflow, faults=[fail("charge", TimeoutError("slow"), times=10)])
    assert run.steps["charge"].attempts == 10
    with pytest.raises(RunFailed, match="Workflow shop failed: TimeoutError: slow"):
        _ = run.result


def test_a_pause_before_the_retry_of_a_step_is_no_failure_of_the_workflow(ow: OpenWorkflow) -> None:
    errors = [ValueError("the first time")]

    @ow.workflow(retry=RetryPolicy(maximum_attempts=2))
    def order(step: Step) -> str:
        step.run("charge", lambda: None)
        if errors:
            raise errors.pop()
        return "charged"

    assert run_in_process(order, faults=[fail("charge", OSError(), times=3)]).result == "charged"


@both
def test_a_crash_in_a_step_repeats_that_step_alone(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    calls: list[str] = []

    def body(step: Any, _: Any) -> Any:
        for name in ("pack", "ship", "bill"):
            yield step.run(name, calls.append, name)

    run = run_in_process(ow.workflow("shop")(kind(body)), faults=[crash_in("ship")])
    assert run.status == RunStatus.COMPLETED
    assert calls == ["pack", "ship", "bill"]
    assert run.claims == 2


def test_branches_and_submitted_steps_are_executed(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> Any:
        future = step.submit("later", lambda: 3)
        pair = step.parallel(
            lambda: step.run("a", lambda: 1), lambda: [step.sleep("nap", "1d"), 2][1]
        )
        return [*pair, future.result(), step.map("each", lambda n: n * 10, [1, 2])]

    assert run_in_process(main).result == [1, 2, 3, [10, 20]]


def test_the_code_runs_in_the_thread_of_the_test(ow: OpenWorkflow) -> None:
    threads: list[threading.Thread] = []

    @ow.workflow
    def main(step: Step) -> None:
        threads.append(threading.current_thread())
        step.run("look", lambda: threads.append(threading.current_thread()))

    run_in_process(main)
    assert threads == [threading.current_thread()] * 2


def test_no_thread_is_left(ow: OpenWorkflow) -> None:
    @ow.workflow
    async def main(step: AsyncStep) -> int:
        return await step.run("one", lambda: 1)

    before = threading.active_count()
    for _ in range(5):
        run_in_process(main)
    deadline = time.monotonic() + 30
    while threading.active_count() > before:
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


# --- children and signals ------------------------------------------------------------------------


@both
def test_a_child_run_is_executed_too(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    @ow.workflow
    def ship(step: Step, order: int) -> str:
        step.sleep("wait for the van", "1d")
        return step.run("pack", lambda: f"packed {order}")

    def body(step: Any, order: Any) -> Any:
        return (yield step.run_workflow(ship, order))

    workflow = ow.workflow("shop")(kind(body))
    assert run_in_process(workflow, 5).result == "packed 5"
    assert run_in_process(workflow, 5, steps={"pack": lambda: "faked"}).result == "faked"


@both
@pytest.mark.parametrize("instead", ["fixed", lambda order: f"{order}"], ids=["value", "function"])
def test_a_child_run_is_replaced(ow: OpenWorkflow, kind: AsWorkflow, instead: Any) -> None:
    def body(step: Any, _: Any) -> Any:
        return (yield step.run_workflow("elsewhere", "fixed"))

    run = run_in_process(ow.workflow("shop")(kind(body)), children={"elsewhere": instead})
    assert run.result == "fixed"


@both
def test_a_child_run_fails_as_the_test_says(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def body(step: Any, _: Any) -> Any:
        try:
            yield step.run_workflow("elsewhere")
        except ChildFailed as exc:
            return str(exc)

    children = {"elsewhere": ValueError("no van")}
    assert run_in_process(ow.workflow("shop")(kind(body)), children=children).result == "no van"


@both
def test_a_step_may_wait_for_a_run_in_the_same_process(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def double(step: Any, number: int) -> Any:
        return 2 * (yield step.run("double", lambda: number))

    inner = ow.workflow("inner")(kind(double))

    def body(step: Any, number: int) -> Any:
        return (yield step.run("wait", lambda: run_in_process(inner, number).result))

    assert run_in_process(ow.workflow("main")(kind(body)), 3).result == 6


def test_a_child_run_of_nobody_is_named(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> Any:
        return step.run_workflow("elsewhere")

    with pytest.raises(AssertionError, match=r"no workflow 'elsewhere' \(version: None\) is reg"):
        run_in_process(main)


@both
def test_signals_arrive_when_they_are_waited_for(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    def body(step: Any, _: Any) -> Any:
        first = yield step.wait_for_signal("go")
        yield step.sleep("nap", "1d")
        second = yield step.wait_for_signal("go", name="again")
        third = yield step.wait_for_signal("stop", timeout="1h")
        return [first.data, second.data, third]

    workflow = ow.workflow("waits")(kind(body))
    assert run_in_process(workflow, signals=[("go", 1), ("go", {"n": 2})]).result == [
        1,
        {"n": 2},
        None,
    ]


@both
def test_a_run_sends_a_signal_to_another(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    @ow.workflow
    def waits(step: Step) -> Any:
        signal = step.wait_for_signal("go")
        return signal and signal.data

    def sends(step: Any, _: Any) -> Any:
        yield step.sleep("nap", "1h")
        return (yield step.send_signal("go", 7))

    sender = ow.workflow("sends")(kind(sends))
    with InProcessWorker(ow) as worker:
        waiting, sending = worker.start(waits), worker.start(sender)
        worker.finish(sending)
        worker.finish(waiting)
        assert worker.read(waits, waiting).result == 7
        assert worker.read(sender, sending).result == [waiting]


def test_a_signal_that_is_kept_waits_for_its_receiver(ow: OpenWorkflow) -> None:
    @ow.workflow
    def waits(step: Step) -> Any:
        signal = step.wait_for_signal("go")
        return signal and signal.data

    with InProcessWorker(ow) as worker:
        assert worker.send_signal("go", 1) == []
        assert worker.send_signal("go", 2, buffer=True) == []
        run_id = worker.start(waits)
        worker.finish(run_id)
        assert worker.read(waits, run_id).result == 2


def test_a_run_hears_at_once_what_it_sends_to_itself(ow: OpenWorkflow) -> None:
    @ow.workflow
    async def talks(step: AsyncStep) -> Any:
        heard, _ = await asyncio.gather(
            step.wait_for_signal("go", timeout="1d"), step.send_signal("go", 7)
        )
        return heard and heard.data

    with InProcessWorker(ow) as worker:
        began, run_id = worker.now, worker.start(talks)
        worker.finish(run_id)
        assert (worker.read(talks, run_id).result, worker.now) == (7, began)


def test_a_canceled_run_ends(ow: OpenWorkflow) -> None:
    @ow.workflow
    def nap(step: Step) -> None:
        step.sleep("nap", "1d")

    with InProcessWorker(ow) as worker:
        run_id = worker.start(nap)
        worker.run_until_idle()
        worker.cancel(run_id)
        worker.finish(run_id)
        with pytest.raises(RunCanceled):
            _ = worker.read(nap, run_id).result


# --- mistakes --------------------------------------------------------------------------------


def test_what_is_not_used_is_named(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> int:
        return step.run("charge", lambda: 1)

    with pytest.raises(AssertionError, match="no step with this name was executed: 'chrage'"):
        run_in_process(main, steps={"chrage": real})
    with pytest.raises(AssertionError, match="the step was not executed as often: 'ship'"):
        run_in_process(main, faults=[crash_in("ship")])
    with pytest.raises(AssertionError, match="signals: nothing waited for 'go' before the run"):
        run_in_process(main, signals=[("go", 1)])
    with pytest.raises(ConfigurationError, match=r"steps\['charge'\]: expected a function to"):
        run_in_process(main, steps={"charge": 5})  # type: ignore[dict-item]


def test_a_child_run_that_is_not_started_is_named(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> int:
        return step.run("charge", lambda: 1)

    with pytest.raises(AssertionError, match=r"no child run .* was started: 'shp'"):
        run_in_process(main, children={"shp": 1})


def test_a_worker_names_at_its_end_what_was_not_used(ow: OpenWorkflow) -> None:
    with (
        pytest.raises(AssertionError, match="no step with this name was executed: 'chrage'"),
        InProcessWorker(ow, steps={"chrage": real}),
    ):
        pass
    with pytest.raises(ZeroDivisionError), InProcessWorker(ow, steps={"chrage": real}):
        raise ZeroDivisionError


def test_crashes_at_any_moment_do_not_hide_a_misspelled_name(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> Any:
        return step.run("charge", real)

    with pytest.raises(AssertionError, match="no step with this name was executed: 'chrage'"):
        survives_crashes(main, steps={"chrage": lambda: 1})


def test_a_fault_happens_in_each_test_that_uses_it(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> int:
        return step.run("charge", lambda: 1)

    faults = [fail_once("charge", TimeoutError())]
    for _ in range(2):
        assert run_in_process(main, faults=faults).steps["charge"].attempts == 2


WRONG: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no exception": (lambda _: fail_once("charge", "no"), "pass an exception to raise"),  # type: ignore[arg-type]
    "no failures": (lambda _: fail("charge", ValueError(), times=0), "fails at least once"),
    "no commit": (lambda _: crash_after("3"), "commits are counted from 1"),  # type: ignore[arg-type]
    "one fault": (lambda main: run_in_process(main, faults=crash_in("a")), "expected a list of"),  # type: ignore[call-overload]
    "no fault": (lambda main: run_in_process(main, faults=["a"]), "expected what fail, .*'a'"),  # type: ignore[list-item]
    "a list of steps": (lambda main: run_in_process(main, steps=["a"]), "steps: expected a dict"),  # type: ignore[call-overload]
    "a list of children": (
        lambda main: run_in_process(main, children=["a"]),  # type: ignore[call-overload]
        "children: expected a dict",
    ),
    "a name for a signal": (
        lambda main: run_in_process(main, signals=["paid"]),  # type: ignore[list-item]
        "signals: expected a list of pairs .*'paid'",
    ),
    "a dict of signals": (
        lambda main: run_in_process(main, signals={"paid": 1}),  # type: ignore[dict-item]
        "signals: expected a list of pairs",
    ),
    "a function": (lambda _: run_in_process(real), "expected a workflow, .*not <function real"),  # type: ignore[call-overload]
    "a workflow": (lambda main: InProcessWorker(main), "expected the OpenWorkflow"),
    "a local time": (
        lambda main: run_in_process(main, now=datetime(2026, 1, 1)),
        "has no time zone",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_argument_is_named_before_anything_is_executed(ow: OpenWorkflow, name: str) -> None:
    main = ow.workflow("main")(lambda step: None)
    call, message = WRONG[name]
    with pytest.raises(ConfigurationError, match=message):
        call(main)


@pytest.mark.parametrize("method", ["finish", "cancel", "wake", "rerun", "last_of"])
def test_a_run_that_does_not_exist_is_named(ow: OpenWorkflow, method: str) -> None:
    with InProcessWorker(ow) as worker, pytest.raises(RunNotFound, match="run nope does not exist"):
        getattr(worker, method)("nope")


def test_what_has_ended_is_canceled_as_in_a_database(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step, count: int) -> int:
        if count:
            step.continue_as_new(count - 1)
        step.sleep("nap", "1d")
        return count

    with InProcessWorker(ow) as worker:
        run_id = worker.start(main, 1)
        worker.run_until_idle()
        for _ in range(2):
            worker.cancel(run_id)
        assert worker.read(main, run_id).status == "completed"
        assert worker.read(main, worker.last_of(run_id)).status == "canceled"
        done = worker.start(main, 0)
        worker.finish(done)
        with pytest.raises(RunNotCancelable, match="with status completed"):
            worker.cancel(done)
        assert worker.read(main, done).result == 0


def test_an_input_that_does_not_fit_is_refused(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step, input: int) -> int:
        return input

    with pytest.raises(InvalidData, match="input"):
        run_in_process(main, "five")  # type: ignore[misc]


def no_session() -> Any:
    raise AssertionError("a session was made")


@both
@pytest.mark.parametrize("options", [{}, {"session": no_session}, {"using": "default"}])
def test_a_transaction_without_a_replacement_fails_the_test_at_once(
    ow: OpenWorkflow, kind: AsWorkflow, options: dict[str, Any]
) -> None:
    compensated = []

    def body(step: Any, _: Any) -> Any:
        try:
            yield step.transaction("reserve", real, **options)
        except Exception:
            compensated.append(1)
            raise

    main = ow.workflow("main", retry=RetryPolicy())(kind(body))
    wanted = r"step 'reserve' is a transaction, and .* Pass steps=\{'reserve': function\}"
    with pytest.raises(AssertionError, match=wanted):
        run_in_process(main)
    with pytest.raises(AssertionError, match=wanted):
        survives_crashes(main)
    assert compensated == []


@both
def test_a_transaction_with_a_replacement_needs_no_database(
    ow: OpenWorkflow, kind: AsWorkflow
) -> None:
    def body(step: Any, _: Any) -> Any:
        return (yield step.transaction("reserve", real, 5, session=no_session))

    main = ow.workflow("main")(kind(body))
    run = run_in_process(
        main, steps={"reserve": lambda n: n + 1}, faults=[fail_once("reserve", TimeoutError())]
    )
    assert (run.result, run.steps["reserve"].attempts) == (6, 2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"steps": {"ship": real, "charge": lambda: 1}},
        {"signals": [("go", 1)], "steps": {"charge": lambda: 1}},
        {"faults": [crash_in("ship")], "steps": {"charge": lambda: 1}},
        {"patches": {"tax": False}, "steps": {"charge": lambda: 1}},
    ],
    ids=["steps", "signals", "faults", "patches"],
)
def test_what_is_not_used_because_the_run_failed_says_how(
    ow: OpenWorkflow, arguments: dict[str, Any]
) -> None:
    @ow.workflow
    def main(step: Step) -> None:
        step.run("charge", real, 5, retry=RetryPolicy(maximum_attempts=1))
        step.patched("tax")
        step.wait_for_signal("go")
        step.run("ship", real)

    how = r"The run of main failed: TypeError: .*takes 0 positional arguments"
    with pytest.raises(AssertionError, match=how) as caught:
        run_in_process(main, **arguments)
    assert "Traceback" in caught.value.__notes__[0]


def test_tests_share_replacements_that_some_of_them_do_not_need(ow: OpenWorkflow) -> None:
    @ow.workflow
    def order(step: Step, cents: int) -> str:
        if cents < 0:
            return step.run("refund", real)
        return step.run("charge", real)

    fakes = {"refund": lambda: "refunded", "charge": lambda: "charged"}
    assert run_in_process(order, 5, steps=fakes, allow_unused=True).result == "charged"
    assert survives_crashes(order, -5, steps=fakes, allow_unused=True).result == "refunded"
    with pytest.raises(AssertionError, match="was executed: 'refund'"):
        run_in_process(order, 5, steps=fakes)
    with pytest.raises(AssertionError, match="was executed: 'charge'"):
        survives_crashes(order, -5, steps=fakes)
    with pytest.raises(AssertionError, match="signals: nothing waited for 'go'"):
        run_in_process(order, 5, steps=fakes, allow_unused=True, signals=[("go", 1)])


@both
def test_a_replacement_of_a_step_without_a_result_returns_none(
    ow: OpenWorkflow, kind: AsWorkflow
) -> None:
    def notify() -> None:
        raise AssertionError("the real function was called")

    def body(step: Any, _: Any) -> Any:
        return (yield step.run("notify", notify))

    main = ow.workflow("main")(kind(body))
    assert run_in_process(main, steps={"notify": lambda: None}).result is None
    run = run_in_process(main, steps={"notify": lambda: 7})
    assert run.error is not None
    assert "the replacement returned 7, and the function" in run.error.message
    assert run.steps["notify"].attempts == 1

    async def seven() -> int:
        return 7

    assert run_in_process(main, steps={"notify": seven}).error is not None


def test_a_failed_step_is_an_error_of_the_run(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> Any:
        try:
            step.run("charge", real, retry=RetryPolicy(maximum_attempts=1))
        except StepFailed as exc:
            return str(exc)

    assert run_in_process(main).result == "the real function was called"


# --- crashes ---------------------------------------------------------------------------------


@both
def test_a_workflow_survives_crashes_after_each_commit(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    @ow.workflow
    def ship(step: Step) -> str:
        return step.run("pack", lambda: "packed")

    def body(step: Any, n: Any) -> Any:
        first = yield step.run("first", lambda: n)
        yield step.sleep("nap", "1d")
        signal = yield step.wait_for_signal("go")
        return [first, signal.data, (yield step.run_workflow(ship))]

    workflow = ow.workflow("main")(kind(body))
    run = survives_crashes(workflow, 5, signals=[("go", 1)])
    assert run.result == [5, 1, "packed"]


@both
def test_keys_and_signals_that_are_made_of_ids_survive(ow: OpenWorkflow, kind: AsWorkflow) -> None:
    @ow.workflow
    def ship(step: Step) -> str:
        return step.run("pack", lambda: f"{step.run_id}:pack")

    @ow.workflow
    def breaks(step: Step) -> None:
        step.run("break", real, retry=RetryPolicy(maximum_attempts=1))

    def body(step: Any, left: Any) -> Any:
        charged = yield step.run("charge", lambda: f"{step.run_id}:charge")
        yield step.wait_for_signal(f"approve:{step.run_id}")
        shipped = yield step.run_workflow(ship)
        try:
            yield step.run_workflow(breaks)
        except StepFailed as exc:
            return [charged, shipped, str(exc)]

    workflow = ow.workflow("main")(kind(body))
    signals = [("approve:order-5", None)]
    run = survives_crashes(workflow, 5, id="order-5", signals=signals)
    assert (run.id, run.result[0]) == ("order-5", "order-5:charge")
    again = run_in_process(workflow, 5, id="order-5", signals=signals)
    assert (again.id, again.result) == (run.id, run.result)


def test_a_key_survives_without_a_chosen_id_and_in_a_chain(ow: OpenWorkflow) -> None:
    @ow.workflow
    def down(step: Step, left: int) -> str:
        key = step.run("charge", lambda: f"{step.run_id}:charge")
        return step.continue_as_new(left - 1) if left else key

    run = survives_crashes(down, 2)
    assert run.result == f"{run.id}:charge"
    assert run_in_process(down, 0).id != run_in_process(down, 0).id


def test_an_id_that_a_run_cannot_have_is_refused(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> None: ...

    with pytest.raises(ConfigurationError):
        run_in_process(main, id="")
    with pytest.raises(ConfigurationError):
        survives_crashes(main, id="")


def test_chance_in_a_workflow_does_not_survive(ow: OpenWorkflow) -> None:
    @ow.workflow
    def main(step: Step) -> list[float]:
        chance = random.random()
        step.run("first", lambda: 1)
        step.sleep("nap", "1d")
        return [chance]

    with pytest.raises(AssertionError, match="does not survive a crash after commit 1 of"):
        survives_crashes(main)


def test_every_public_name_is_documented_and_the_list_is_sorted() -> None:
    from owsuper import testing

    assert all(inspect.getdoc(getattr(testing, name)) for name in testing.__all__)
    assert sorted(set(testing.__all__)) == list(testing.__all__)


def test_what_a_run_waits_for_is_ended_by_hand() -> None:
    ow = OpenWorkflow()
    calls: list[str] = []

    def charge() -> str:
        calls.append("charge")
        if len(calls) == 1:
            raise ValueError("declined")
        return "paid"

    @ow.workflow
    def order(step: Step) -> list[Any]:
        step.sleep("nap", "3d")
        signal = step.wait_for_signal("go", timeout="3d")
        hourly = RetryPolicy(initial_interval="1h")
        return [signal, step.run("charge", charge, retry=hourly)]

    with InProcessWorker(ow) as worker:
        run_id = worker.start(order)
        began = worker.now
        for step in ("nap", "go", None):
            worker.run_until_idle()
            worker.wake(run_id, step)
        worker.run_until_idle()
        assert worker.read(order, run_id).result == [None, "paid"]
        assert worker.now == began
        with pytest.raises(RunNotWakeable, match="no wait to end"):
            worker.wake(run_id)


def test_the_test_chooses_the_id_of_a_run() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def order(step: Step, input: int) -> str:
        return step.run_id

    @ow.workflow
    def ship(step: Step) -> None:
        pass

    with InProcessWorker(ow) as worker:
        assert worker.start(order, 1, id="order-1") == worker.start(order, 2, id="order-1")
        worker.run_until_idle()
        assert worker.read(order, "order-1").result == "order-1"
        with pytest.raises(RunExists):
            worker.start(ship, id="order-1")


@pytest.mark.parametrize("is_async", [False, True])
def test_a_chain_of_runs_is_executed_to_its_end(is_async: bool) -> None:
    ow = OpenWorkflow()

    @ow.workflow("down")
    def down(step: Step, left: int) -> str:
        step.sleep("nap", "1h")
        if left:
            step.continue_as_new(left - 1)
        return "liftoff"

    @ow.workflow("down", version="async")
    async def adown(step: AsyncStep, left: int) -> str:
        await step.sleep("nap", "1h")
        if left:
            step.continue_as_new(left - 1)
        return "liftoff"

    @ow.workflow
    def parent(step: Step, left: int) -> str:
        return step.run_workflow(down, left)

    workflow = adown if is_async else down
    run = run_in_process(workflow, 3)
    assert (run.result, run.slept) == ("liftoff", timedelta(hours=1))
    assert run.continued_from is not None
    waited = run_in_process(parent, 3)
    assert (waited.result, waited.claims) == ("liftoff", 2)
    assert survives_crashes(workflow, 2).result == "liftoff"
    with InProcessWorker(ow) as worker:
        first = worker.start(workflow, 5)
        worker.advance("150m")
        third = worker.last_of(first)
        assert worker.read(workflow, first).continued_as is not None
        assert worker.tables.runs[third].input_json == b"3"


def test_a_chain_without_an_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_process, "_MOST_EXECUTIONS", 200)
    ow = OpenWorkflow()

    @ow.workflow
    def endless(step: Step) -> None:
        step.sleep("nap", "1s")
        step.continue_as_new()

    with InProcessWorker(ow) as worker:
        run_id = worker.start(endless)
        with pytest.raises(AssertionError, match="makes no progress"):
            worker.finish(run_id)


@pytest.mark.parametrize("is_async", [False, True])
def test_both_branches_of_a_patch_are_tested(is_async: bool) -> None:
    ow = OpenWorkflow()

    @ow.workflow("bill")
    def bill(step: Step) -> str:
        return "taxed" if step.patched("tax") else "not taxed"

    @ow.workflow("bill", version="async")
    async def abill(step: AsyncStep) -> str:
        return "taxed" if step.patched("tax") else "not taxed"

    workflow = abill if is_async else bill
    assert run_in_process(workflow).result == "taxed"
    assert run_in_process(workflow, patches={"tax": False}).result == "not taxed"
    with pytest.raises(AssertionError, match="the code did not ask for 'toll'"):
        run_in_process(workflow, patches={"toll": False})
    assert survives_crashes(workflow).result == "taxed"


def test_a_run_is_repeated_from_a_step_on_with_another_input() -> None:
    ow = OpenWorkflow()
    calls: list[str] = []

    @ow.workflow
    def child(step: Step, input: int) -> int:
        return input

    @ow.workflow
    def order(step: Step, amount: int) -> str:
        step.run("reserve", calls.append, "reserve")
        step.run_workflow(child, amount)
        step.run("check", check, amount)
        return f"charged {amount}"

    def check(amount: int) -> None:
        if amount < 0:
            raise NonRetryableError("bad")

    with InProcessWorker(ow) as worker:
        run_id = worker.start(order, -7)
        with pytest.raises(RunNotRerunnable, match="has not ended"):
            worker.rerun(run_id)
        worker.finish(run_id)
        with pytest.raises(RunNotRerunnable, match="no step 'ship'"):
            worker.rerun(run_id, "ship")
        again = worker.rerun(run_id, "check", input=7)
        worker.finish(again)
        assert worker.read(order, again).result == "charged 7"
        assert calls == ["reserve"]
        worker.finish(worker.rerun(run_id))
        assert calls == ["reserve", "reserve"]


def test_a_compatible_version_takes_runs_of_older_ones() -> None:
    ow = OpenWorkflow()

    @ow.workflow
    def parent(step: Step) -> Any:
        return step.run_workflow("child", version="1")

    @ow.workflow("child", version="2", compatible_with=["1"])
    def child(step: Step) -> str | None:
        step.sleep("nap", "1h")
        return step.version

    assert run_in_process(parent).result == "2"


@pytest.mark.parametrize("is_async", [False, True])
def test_the_last_progress_of_a_run_is_known(is_async: bool) -> None:
    ow = OpenWorkflow()

    def copy(report: Callable[..., None]) -> None:
        for number in range(3):
            report(number + 1, 4, "copying")

    def workflow(step: Step) -> None:
        step.set_progress(0)
        step.run("copy", copy, step.set_progress)
        step.sleep("nap", "1h")

    async def async_workflow(step: AsyncStep) -> None:
        step.set_progress(0)
        await step.run("copy", copy, step.set_progress)
        await step.sleep("nap", "1h")

    run = run_in_process(ow.workflow("main")(async_workflow if is_async else workflow))
    assert run.progress is not None
    assert (run.progress.done, run.progress.total) == (3, 4)
    assert (run.progress.message, run.progress.step) == ("copying", "copy")
