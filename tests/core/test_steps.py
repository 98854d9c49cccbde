"""The step protocol, driven without IO: a store in memory, a clock by hand, crashes anywhere."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core import codec
from owsuper.core.decisions import Diverged, OverLimit
from owsuper.core.model import RecordedAttempt, StepStatus, StepWrite
from owsuper.core.replay import Replay
from owsuper.core.retry import STEP_DEFAULT, RetryPolicy
from owsuper.core.steps.effects import Call, CallError, CallResult, Flush, Pause, Record
from owsuper.core.steps.function import FunctionStep, function_step
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.steps.sleep import sleep_step
from owsuper.errors import NonDeterminismError, NonRetryableError, StepFailed, StepLimitExceeded

START = datetime(2030, 1, 1, tzinfo=UTC)


class Crash(BaseException):
    """The process dies here."""


class Leave(BaseException):
    """The run parks here."""


@dataclass
class World:
    """A run's rows, its clock, and how many effects its process survives."""

    rows: dict[str, RecordedAttempt] = field(default_factory=dict)
    clock: datetime = START
    survives: int = 10**9
    ids: itertools.count[int] = field(default_factory=itertools.count)
    limit: int = 1000

    def process(self) -> Process:
        return Process(self)

    def now(self) -> datetime:
        return self.clock


class Process:
    """One execution of the run. Its unwritten records are lost with its process."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.replay = Replay(
            world.rows.values(), new_id=lambda: f"id-{next(world.ids)}", limit=world.limit
        )
        self.unwritten: list[StepWrite] = []

    def now(self) -> datetime:
        return self.world.clock

    def limit_error(self, over: OverLimit) -> StepLimitExceeded:
        return StepLimitExceeded(over.limit, over.count)

    def check_passed(self, key: str) -> None:
        if (passed := self.replay.passed(key)) is not None:
            raise self.diverge(passed)

    def diverge(self, diverged: Diverged) -> NonDeterminismError:
        return NonDeterminismError(diverged.key, diverged.recorded, diverged.asked)

    def live(self) -> None:
        """One instruction of a process that may die at any of them."""
        if self.world.survives == 0:
            raise Crash
        self.world.survives -= 1

    def run(
        self, name: str, function: Callable[[], Any], policy: RetryPolicy = STEP_DEFAULT
    ) -> Any:
        step = FunctionStep(self.replay.asked.next_key(name), function, policy)
        return self.drive(function_step(self, step))

    def sleep(self, name: str, ms: float) -> None:
        self.drive(sleep_step(self, self.replay.asked.next_key(name), lambda: ms))

    def drive(self, steps: StepGenerator) -> Any:
        try:
            effect = next(steps)
            while True:
                self.live()
                effect = steps.send(self.perform(effect))
        except StopIteration as done:
            return done.value

    def perform(self, effect: Any) -> Any:
        match effect:
            case Flush():
                self.write()
            case Call():
                try:
                    return CallResult(effect.function())
                except Exception as exc:
                    return CallError(exc)
            case Record(write):
                self.unwritten.append(write)
            case Pause(wait):
                self.write()
                self.world.clock = max(self.world.clock, wait.until)
                raise Leave
        return None

    def write(self) -> None:
        self.live()
        for write in self.unwritten:
            self.world.rows[write.attempt_id] = RecordedAttempt(
                id=write.attempt_id,
                step_name=write.step_name,
                kind=write.kind,
                status=write.status,
                context=write.context,
                output=codec.as_stored(codec.decode(write.output_json)),  # as jsonb would
                error=write.error.to_json() if write.error else None,
                created_at=write.started_at,
                started_at=write.started_at,
                finished_at=write.finished_at,
            )
        self.unwritten.clear()


def until_done(world: World, body: Callable[[Process], Any], crashes: list[int]) -> Any:
    """Run ``body`` in process after process: each dies after so many instructions, but the last."""
    deaths = iter(crashes)
    while True:
        world.survives = next(deaths, 10**9)
        process = world.process()
        try:
            result = body(process)
            process.write()
        except (Crash, Leave):
            continue
        return result


@given(st.lists(st.integers(0, 14), max_size=12))
def test_a_crash_between_any_two_effects_repeats_at_most_the_unwritten_steps(
    crashes: list[int],
) -> None:
    world = World()
    began: list[str] = []

    def step(name: str) -> Callable[[], str]:
        def function() -> str:
            for earlier in "abc"[: "abc".index(name)]:
                assert any(
                    row.step_name == earlier and row.status == StepStatus.COMPLETED
                    for row in world.rows.values()
                ), f"{name} began before the result of {earlier} was written"
            began.append(name)
            return name.upper()

        return function

    def body(process: Process) -> list[str]:
        first = process.run("a", step("a"))
        process.sleep("nap", 1000)
        return [first, process.run("b", step("b")), process.run("c", step("c"))]

    assert until_done(world, body, crashes) == ["A", "B", "C"]
    assert sorted(set(began)) == ["a", "b", "c"]
    assert len(began) <= 3 + len(crashes)
    naps = [row for row in world.rows.values() if row.step_name == "nap"]
    assert [row.status for row in naps] == [StepStatus.COMPLETED], "a pending sleep never restarts"


def test_a_failure_that_will_be_retried_never_reaches_user_code() -> None:
    world = World()
    outcomes = iter([ValueError("one"), ValueError("two"), "fine"])
    seen: list[BaseException] = []

    def function() -> str:
        outcome = next(outcomes)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def body(process: Process) -> Any:
        try:
            return process.run("risky", function)
        except Exception as exc:
            seen.append(exc)
            raise

    assert until_done(world, body, []) == "fine"
    assert seen == []
    assert world.clock == START + timedelta(seconds=1 + 2)


def test_an_exhausted_step_raises_step_failed_and_again_on_replay_without_running() -> None:
    world = World()
    calls: list[int] = []

    def function() -> None:
        calls.append(1)
        raise ValueError("no luck")

    def body(process: Process) -> str:
        try:
            process.run("risky", function, RetryPolicy(maximum_attempts=2))
        except StepFailed as failed:
            caught = f"{failed.step}: {failed} ({failed.error.name})"
        process.sleep("nap", 10)
        return caught

    assert until_done(world, body, []) == "risky: no luck (ValueError)"
    assert len(calls) == 2


def test_in_the_execution_that_ran_the_step_the_original_exception_is_the_cause() -> None:
    boom = ValueError("boom")

    def function() -> None:
        raise boom

    with pytest.raises(StepFailed) as failed:
        World().process().run("risky", function, RetryPolicy(maximum_attempts=1))
    assert failed.value.__cause__ is boom


def test_a_result_that_cannot_be_stored_fails_the_step_without_calling_it_again() -> None:
    world = World()
    calls: list[int] = []

    def function() -> Any:
        calls.append(1)
        return {"items": [1.5, float("nan")]}

    def body(process: Process) -> str:
        try:
            process.run("measure", function)
        except StepFailed as failed:
            return str(failed)
        raise AssertionError("stored what cannot be stored")

    for _ in range(2):
        message = until_done(world, body, [])
        assert "result.items[1] of step 'measure'" in message
    assert calls == [1]


@pytest.mark.parametrize(
    ("policy", "error"),
    [
        (STEP_DEFAULT, NonRetryableError("no")),
        (RetryPolicy(never_retry=ValueError), ValueError("no")),
        (RetryPolicy(retry_on=lambda error: 1 / 0 > 1), ValueError("no")),
    ],
    ids=["by itself", "by type", "by a predicate that fails"],
)
def test_a_failure_that_is_not_retried_stays_final_under_every_later_policy(
    policy: RetryPolicy, error: Exception
) -> None:
    world = World()
    calls: list[int] = []
    policies = iter([policy, STEP_DEFAULT])

    def function() -> None:
        calls.append(1)
        raise error

    def body(process: Process) -> str:
        try:
            process.run("risky", function, next(policies))
        except StepFailed as failed:
            caught = str(failed)
        process.sleep("nap", 10)
        return caught

    assert until_done(world, body, []) == "no"
    assert calls == [1]
    assert world.clock == START + timedelta(milliseconds=10), "it was not waited for a retry"
    [failure] = [row.error for row in world.rows.values() if row.error]
    assert failure["final"] is True
    assert "no_retry_reason" not in failure


@given(st.floats(0, 1), st.integers(1, 5), st.lists(st.integers(0, 14), max_size=6))
def test_with_jitter_a_run_that_wakes_on_time_goes_on_at_once(
    jitter: float, failures: int, crashes: list[int]
) -> None:
    """Were a later process to reckon otherwise than the one that parked, it would park again."""
    world = World()
    began: list[datetime] = []
    executions: list[datetime] = []

    def function() -> str:
        began.append(world.clock)
        if len(began) <= failures:
            raise ValueError("not yet")
        return "fine"

    def body(process: Process) -> Any:
        executions.append(world.clock)
        return process.run("risky", function, RetryPolicy(jitter=jitter))

    assert until_done(world, body, crashes) == "fine"
    assert len(executions) <= len(began) + len(crashes)


def test_a_step_of_another_kind_is_an_error_that_names_both_kinds() -> None:
    world = World()
    first = world.process()
    first.run("a", lambda: 1)
    first.run("b", lambda: 2)
    first.write()

    second = world.process()
    second.run("a", lambda: 1)
    with pytest.raises(NonDeterminismError, match=r"'b' .*'function'") as diverged:
        second.sleep("b", 10)
    assert "is recorded as a step of kind 'function', but" in str(diverged.value)
    assert "now calls a step of kind 'sleep'. The" in str(diverged.value)
    assert (diverged.value.step, diverged.value.recorded, diverged.value.asked) == (
        "b",
        "function",
        "sleep",
    )


def test_first_execution_and_replay_give_the_same_value() -> None:
    world = World()
    values = []

    def body(process: Process) -> None:
        values.append(process.run("odd", lambda: {"bb": (1, 2), "a": 1e16, "z": -0.0}))
        process.sleep("nap", 10)

    until_done(world, body, [])

    first, replayed = values
    assert first == replayed == {"a": 10**16, "bb": [1, 2], "z": 0.0}
    assert list(first) == list(replayed) == ["a", "z", "bb"]
    assert type(first["a"]) is type(replayed["a"])


def test_the_step_limit_stops_the_run() -> None:
    process = World(limit=1).process()
    process.run("a", lambda: 1)
    with pytest.raises(StepLimitExceeded, match=r"limit of 1 attempts \(current count: 1\)"):
        process.run("b", lambda: 2)
