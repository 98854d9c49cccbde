"""What the replay decides: about function steps, sleeps, and the end of an execution."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.decisions import (
    Await,
    Diverged,
    Elapsed,
    Execute,
    OverLimit,
    Recall,
    Reject,
    Wait,
)
from owsuper.core.history import History
from owsuper.core.model import (
    RecordedAttempt,
    StepKind,
    StepStatus,
    StepWrite,
)
from owsuper.core.purpose import Purpose, digest
from owsuper.core.replay import Replay, check_step_limit
from owsuper.core.retry import STEP_DEFAULT, RetryPolicy, pause_ms
from owsuper.errors import ConfigurationError
from owsuper.stored_error import StoredError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ONCE = RetryPolicy(maximum_attempts=1)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def numbered() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"attempt-{next(numbers)}"


def replay(*rows: RecordedAttempt, **given: Any) -> Replay:
    return Replay(rows, new_id=numbered(), **given)


def row(status: StepStatus, *, key: str = "charge", **given: Any) -> RecordedAttempt:
    base = RecordedAttempt(
        id="stored",
        step_name=key,
        kind=StepKind.FUNCTION,
        status=status,
        context=None,
        output=None,
        error={"message": "no"} if status == StepStatus.FAILED else None,
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW if status != StepStatus.RUNNING else None,
    )
    return replace(base, **given)


def sleeping(until: str, **given: Any) -> RecordedAttempt:
    context = {"kind": "sleep", "resumeAt": until}
    return row(StepStatus.RUNNING, key="nap", kind=StepKind.SLEEP, context=context, **given)


class TestFunctionSteps:
    def test_a_new_step_is_executed(self) -> None:
        assert replay().decide_function("charge", STEP_DEFAULT, NOW) == Execute("attempt-1", 1)

    def test_a_completed_step_is_recalled(self) -> None:
        memory = replay(row(StepStatus.COMPLETED, output={"paid": 7}))
        assert memory.decide_function("charge", STEP_DEFAULT, NOW) == Recall({"paid": 7})

    def test_an_attempt_that_a_crash_interrupted_is_executed_again(self) -> None:
        memory = replay(row(StepStatus.RUNNING))
        assert memory.decide_function("charge", STEP_DEFAULT, NOW) == Execute("attempt-1", 1)

    def test_a_failed_step_waits_for_its_pause_after_the_stored_failure(self) -> None:
        memory = replay(row(StepStatus.FAILED))

        early = memory.decide_function("charge", STEP_DEFAULT, NOW + seconds(0.4))
        due = memory.decide_function("charge", STEP_DEFAULT, NOW + seconds(1))

        assert early == Wait(NOW + seconds(1), error=StoredError("no"))
        assert due == Execute("attempt-1", 2)

    def test_an_exhausted_step_is_rejected_without_running(self) -> None:
        memory = replay(row(StepStatus.FAILED))
        assert memory.decide_function("charge", ONCE, NOW) == Reject(StoredError("no"))

    def test_a_failure_marked_final_is_rejected_whatever_the_policy(self) -> None:
        memory = replay(row(StepStatus.FAILED, error={"message": "no", "final": True}))
        assert memory.decide_function("charge", STEP_DEFAULT, NOW) == Reject(
            StoredError("no", final=True)
        )

    def test_a_retry_after_the_deadline_rejects_the_step(self) -> None:
        memory = replay(row(StepStatus.FAILED), deadline=NOW + seconds(0.5))
        assert isinstance(memory.decide_function("charge", STEP_DEFAULT, NOW), Reject)

    def test_jitter_makes_the_same_retry_due_at_the_same_time_in_every_process(self) -> None:
        jittery = RetryPolicy(initial_interval="10s", jitter=0.5)

        def due(attempt_id: str) -> datetime:
            memory = replay(row(StepStatus.FAILED, id=attempt_id))
            decision = memory.decide_function("charge", jittery, NOW)
            assert isinstance(decision, Wait)
            return decision.until

        assert due("one") == due("one")
        assert due("one") != due("another")
        assert NOW + seconds(5) <= due("one") <= NOW + seconds(10)

    def test_a_result_recorded_in_this_execution_is_recalled(self) -> None:
        memory = replay()
        memory.record(
            StepWrite("a", "charge", StepKind.FUNCTION, StepStatus.COMPLETED, NOW, NOW), {"x": 1}
        )
        assert memory.decide_function("charge", STEP_DEFAULT, NOW) == Recall({"x": 1})

    def test_one_attempt_more_than_the_limit_is_refused(self) -> None:
        memory = replay(row(StepStatus.COMPLETED, key="a"), row(StepStatus.FAILED), limit=2)
        assert memory.decide_function("new", STEP_DEFAULT, NOW) == OverLimit(2, 2)
        assert memory.decide_function("a", STEP_DEFAULT, NOW) == Recall(None)

    def test_attempts_in_flight_count_towards_the_limit(self) -> None:
        memory = replay(limit=2)
        assert isinstance(memory.decide_function("a", STEP_DEFAULT, NOW), Execute)
        assert isinstance(memory.decide_function("b", STEP_DEFAULT, NOW), Execute)
        assert memory.decide_function("c", STEP_DEFAULT, NOW) == OverLimit(2, 2)
        memory.record(StepWrite("a", "a", StepKind.FUNCTION, StepStatus.COMPLETED, NOW, NOW))
        assert memory.decide_function("c", STEP_DEFAULT, NOW) == OverLimit(2, 2)

    def test_an_attempt_that_is_put_off_does_not_count_until_it_begins(self) -> None:
        memory = replay(limit=1)
        for _ in range(3):
            assert isinstance(memory.decide_function("a", STEP_DEFAULT, NOW), Execute)
            memory.put_off("a")
        assert isinstance(memory.decide_function("b", STEP_DEFAULT, NOW), Execute)
        assert memory.decide_function("a", STEP_DEFAULT, NOW) == OverLimit(1, 1)


class TestSleeps:
    def test_a_new_sleep_is_recorded_with_its_end(self) -> None:
        match replay().decide_sleep("nap", lambda: 1500, NOW):
            case Wait(until, StepWrite() as write):
                assert until == NOW + seconds(1.5)
                assert write.context == {"kind": "sleep", "resumeAt": "2030-01-01T00:00:01.500Z"}
                assert write.status == StepStatus.RUNNING
            case other:
                raise AssertionError(other)

    def test_a_pending_sleep_resumes_without_its_duration(self) -> None:
        def never() -> float:
            raise AssertionError("a recorded sleep has its end")

        memory = replay(sleeping("2030-01-01T00:00:09.000Z"))
        assert memory.decide_sleep("nap", never, NOW) == Wait(NOW + seconds(9))

    def test_an_elapsed_sleep_completes_its_own_row(self) -> None:
        memory = replay(sleeping("2029-12-31T00:00:00.000Z", id="the-row"))
        match memory.decide_sleep("nap", lambda: 0, NOW):
            case Elapsed(write):
                assert (write.attempt_id, write.status) == ("the-row", StepStatus.COMPLETED)
            case other:
                raise AssertionError(other)

    def test_a_sleep_whose_end_cannot_be_read_is_over(self) -> None:
        assert isinstance(replay(sleeping("soon")).decide_sleep("nap", lambda: 0, NOW), Elapsed)

    def test_a_sleep_counts_once_towards_the_limit(self) -> None:
        memory = replay(limit=2)
        first = memory.decide_sleep("nap", lambda: 0, NOW)
        assert isinstance(first, Wait)
        assert first.write is not None
        memory.record(first.write)
        over = memory.decide_sleep("nap", lambda: 0, NOW)
        assert isinstance(over, Elapsed)
        memory.record(over.write)

        assert memory.decide_sleep("nap", lambda: 0, NOW) == Recall(None)
        assert isinstance(memory.decide_function("charge", STEP_DEFAULT, NOW), Execute)


class TestDivergence:
    """Code that is not the code that made the history."""

    def test_a_recorded_sleep_is_no_result_of_a_function(self) -> None:
        for status in (StepStatus.RUNNING, StepStatus.COMPLETED):
            memory = replay(row(status, kind=StepKind.SLEEP))
            decision = memory.decide_function("charge", STEP_DEFAULT, NOW)
            assert decision == Diverged("charge", recorded="sleep", asked="function")

    def test_a_recorded_function_is_no_elapsed_sleep(self) -> None:
        for status in (StepStatus.FAILED, StepStatus.COMPLETED):
            memory = replay(row(status, key="nap"))
            decision = memory.decide_sleep("nap", lambda: 0, NOW)
            assert decision == Diverged("nap", recorded="function", asked="sleep")

    def test_a_function_that_a_crash_interrupted_decides_nothing(self) -> None:
        memory = replay(row(StepStatus.RUNNING, key="nap"))
        assert memory.check_kind("nap", StepKind.WORKFLOW) is None
        assert isinstance(memory.decide_sleep("nap", lambda: 1000, NOW), Wait)

    @pytest.mark.parametrize("kind", StepKind)
    def test_every_kind_is_checked_in_the_same_way(self, kind: StepKind) -> None:
        memory = replay(row(StepStatus.COMPLETED, kind=kind))
        for asked in StepKind:
            wrong = memory.check_kind("charge", asked)
            assert wrong == (None if asked == kind else Diverged("charge", kind, asked))

    def test_completed_steps_that_the_code_never_calls_are_unreached_in_order(self) -> None:
        memory = replay(
            row(StepStatus.COMPLETED, key="b"),
            row(StepStatus.COMPLETED, key="a"),
            row(StepStatus.FAILED, key="c"),
            row(StepStatus.COMPLETED, key="d"),
        )
        memory.asked.next_key("a")
        assert memory.unreached() == ["b", "d"]

    def test_a_step_that_this_execution_completes_is_not_unreached(self) -> None:
        memory = replay()
        key = memory.asked.next_key("a")
        memory.record(StepWrite("1", key, StepKind.FUNCTION, StepStatus.COMPLETED, NOW, NOW))
        assert memory.unreached() == []

    def test_an_execution_is_beyond_its_history_at_the_first_step_without_an_attempt(self) -> None:
        memory = replay(row(StepStatus.COMPLETED, key="a"), row(StepStatus.FAILED, key="b"))
        for name in ("a", "b"):
            memory.asked.next_key(name)
        assert not memory.asked.are_beyond
        memory.asked.next_key("b")
        assert memory.asked.are_beyond


class TestTheStepLimit:
    def test_a_history_of_exactly_the_limit_can_be_replayed(self) -> None:
        rows = [row(StepStatus.COMPLETED, key=str(n)) for n in range(3)]
        assert replay(*rows, limit=3).limit_exceeded() is None
        assert replay(*rows, limit=2).limit_exceeded() == OverLimit(2, 3)

    def test_attempts_that_crashes_interrupted_do_not_count(self) -> None:
        rows = [row(StepStatus.RUNNING, id=str(n)) for n in range(5)]
        memory = replay(*rows, limit=1)
        assert memory.limit_exceeded() is None
        assert isinstance(memory.decide_function("charge", STEP_DEFAULT, NOW), Execute)

    @pytest.mark.parametrize("limit", [1, 1_000_000])
    def test_the_limit_is_a_whole_number_up_to_a_million(self, limit: int) -> None:
        assert check_step_limit(limit) == limit

    @pytest.mark.parametrize("limit", [0, -1, 1_000_001, 1.0, "5", True, None])
    def test_another_value_of_the_limit_is_refused(self, limit: Any) -> None:
        with pytest.raises(ConfigurationError, match=r"^step_limit: .* from 1 to 1,000,000"):
            check_step_limit(limit)


POLICIES = st.builds(
    RetryPolicy,
    initial_interval=st.floats(0.001, 100),
    jitter=st.floats(0, 1),
    maximum_attempts=st.integers(0, 5),
)
KEYS = st.sampled_from(["a", "b", "c"])
ROWS = st.lists(
    st.builds(
        row,
        st.sampled_from([StepStatus.RUNNING, StepStatus.COMPLETED, StepStatus.FAILED]),
        key=KEYS,
        kind=st.sampled_from([StepKind.FUNCTION, StepKind.SLEEP]),
        context=st.sampled_from(
            [
                None,
                {"kind": "sleep", "resumeAt": "2030-01-01T00:00:05.000Z"},
                {"kind": "sleep", "resumeAt": "2029-01-01T00:00:05.000Z"},
            ]
        ),
        output=st.integers(),
        id=st.uuids().map(str),
    ),
    max_size=8,
)
QUESTIONS = st.lists(
    st.tuples(st.sampled_from(["function", "sleep"]), KEYS, st.floats(0, 100)), max_size=8
)


def answers(
    rows: Sequence[RecordedAttempt],
    questions: Sequence[tuple[str, str, float]],
    policy: RetryPolicy,
) -> list[Any]:
    memory = replay(*rows)
    given = []
    for kind, key, offset in questions:
        at = NOW + seconds(offset)
        if kind == "function":
            given.append(memory.decide_function(key, policy, at))
        else:
            given.append(memory.decide_sleep(key, lambda: 1000.0, at))
    return given


@given(ROWS, QUESTIONS, POLICIES)
def test_the_same_history_gives_the_same_decisions(
    rows: list[RecordedAttempt], questions: list[tuple[str, str, float]], policy: RetryPolicy
) -> None:
    assert answers(rows, questions, policy) == answers(rows, questions, policy)


@given(ROWS, KEYS, POLICIES, st.floats(0, 100))
def test_a_retry_is_due_when_its_pause_after_the_stored_failure_is_over(
    rows: list[RecordedAttempt], key: str, policy: RetryPolicy, offset: float
) -> None:
    failed = [each for each in rows if each.step_name == key and each.status == "failed"]
    match replay(*rows).decide_function(key, policy, NOW + seconds(offset)):
        case Wait(until, error=StoredError()):
            pause = pause_ms(policy, len(failed), failed[-1].id)
            assert NOW + seconds(offset) < until <= NOW + seconds(pause / 1000)
            assert until >= NOW + seconds(pause / 1000) - timedelta(milliseconds=1)
        case Execute(number=number):
            assert number == len(failed) + 1


PURPOSES = st.builds(
    Purpose,
    st.just(StepKind.WORKFLOW),
    st.sampled_from(["pack", "ship"]),
    st.sampled_from([None, "1"]),
    st.sampled_from(["0a", "0b", None]),
) | st.builds(Purpose, st.just(StepKind.SIGNAL_WAIT), st.sampled_from(["go", "stop"]))


@given(PURPOSES, PURPOSES, st.sampled_from(StepStatus), st.booleans())
def test_a_recorded_wait_answers_for_its_own_purpose_alone(
    recorded: Purpose, asked: Purpose, status: StepStatus, says_so: bool
) -> None:
    context = recorded.as_context() if says_so else None
    memory = replay(row(status, key="wait", kind=recorded.kind, context=context))
    decision = memory.decide_wait("wait", asked.kind, asked)
    same = recorded.kind == asked.kind and (not says_so or recorded.is_same(asked))
    assert isinstance(decision, Diverged) == (not same)


def test_a_wait_for_what_is_recorded_reads_no_other_attempt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = Purpose(StepKind.WORKFLOW, "pack", None, "0a")
    rows = [
        row(StepStatus.RUNNING, key=key, kind=StepKind.WORKFLOW, context=asked.as_context())
        for key in ("a", "b", "c")
    ]
    memory = replay(*rows)
    monkeypatch.setattr(History, "keys", lambda _: pytest.fail("the whole history is read"))
    assert memory.decide_wait("b", StepKind.WORKFLOW, asked) == Await(rows[1])


@given(st.permutations(["tea", "ink", "jam"]), st.permutations(["tea", "ink", "jam"]))
def test_branches_get_their_own_answers_or_none(before: list[str], now: list[str]) -> None:
    def purpose(input: str) -> Purpose:
        return Purpose(StepKind.WORKFLOW, "pack", None, digest(f'"{input}"'.encode()))

    def key(memory: Replay) -> str:
        return memory.asked.next_key("pack")

    names = replay()
    rows = [
        row(
            StepStatus.COMPLETED,
            key=key(names),
            kind=StepKind.WORKFLOW,
            context=purpose(input).as_context(),
            output=input,
        )
        for input in before
    ]
    memory = replay(*rows)
    for input in now:
        match memory.decide_wait(key(memory), StepKind.WORKFLOW, purpose(input)):
            case Recall(output):
                assert output == input
            case other:
                assert isinstance(other, Diverged)
                assert before != now


NAMES = st.lists(st.sampled_from(["a", "b", "c", "a:1"]), max_size=8)


def completed_by(memory: Replay, names: Sequence[str]) -> list[RecordedAttempt]:
    return [row(StepStatus.COMPLETED, key=memory.asked.next_key(name)) for name in names]


@given(NAMES, st.integers(0, 8))
def test_code_that_calls_its_steps_in_order_passes_none(names: list[str], done: int) -> None:
    memory = replay(*completed_by(replay(), names[:done]))
    for name in names:
        assert memory.passed(memory.asked.next_key(name)) is None
    assert memory.passed_at_end() is None


@given(NAMES.filter(bool), st.data())
def test_a_step_that_is_renamed_in_such_code_is_said(names: list[str], data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(names) - 1))
    memory = replay(*completed_by(replay(), names))
    for name in names[:place]:
        assert memory.passed(memory.asked.next_key(name)) is None
    passed = memory.passed(memory.asked.next_key("new"))
    assert passed is not None
    assert passed.recorded.split(", ") == list(completed_keys(names))[place:]


def completed_keys(names: Sequence[str]) -> dict[str, None]:
    return dict.fromkeys(each.step_name for each in completed_by(replay(), names))


@given(
    st.lists(st.sampled_from(["old", "other"]), max_size=8),
    st.sets(st.integers(0, 7)),
    st.integers(0, 8),
)
def test_calls_under_a_new_name_keep_their_keys_whatever_was_recorded_and_from_then_on(
    names: list[str], lost: set[int], done: int
) -> None:
    """``lost`` are calls that a crash interrupted while others of their name went on."""

    def keys(memory: Replay) -> list[str]:
        return [
            memory.asked.next_key("new", "old") if name == "old" else memory.asked.next_key(name)
            for name in names
        ]

    old = completed_by(replay(), names[:done])
    recorded = [each for number, each in enumerate(old) if number not in lost]
    first = keys(replay(*recorded))
    for number, attempt in enumerate(old):
        if number not in lost:
            assert first[number] == attempt.step_name
    assert len(set(first)) == len(first)

    more = [row(StepStatus.COMPLETED, key=key) for key in first]
    for count in range(len(more) + 1):
        assert keys(replay(*recorded, *more[:count])) == first


@given(ROWS, KEYS, st.floats(0, 1000))
def test_a_completed_step_is_never_executed_again(
    rows: list[RecordedAttempt], key: str, offset: float
) -> None:
    done = [each for each in rows if each.step_name == key and each.status == "completed"]
    decision = replay(*rows).decide_function(key, STEP_DEFAULT, NOW + seconds(offset))
    if done and done[-1].kind == StepKind.FUNCTION:
        assert decision == Recall(done[-1].output)
    elif done:
        assert decision == Diverged(key, recorded=done[-1].kind, asked="function")
    else:
        assert not isinstance(decision, Recall)
