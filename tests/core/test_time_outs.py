"""Time-outs of steps: which values they may have, how they are stored, and who retries them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from owsuper.core.decisions import Execute, Reject, Wait
from owsuper.core.model import RecordedAttempt
from owsuper.core.replay import Replay
from owsuper.core.retry import RetryPolicy
from owsuper.core.time_outs import check_timeout, step_failure, time_out_error, timeout_of
from owsuper.errors import InvalidDuration, StepFailed, StepTimedOut
from owsuper.stored_error import StoredError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
KILLED = time_out_error("fetch", 30, killed=True)


def failed(error: StoredError) -> RecordedAttempt:
    return RecordedAttempt(
        id="1",
        step_name="fetch",
        kind="function",
        status="failed",
        context=None,
        output=None,
        error=error.to_json(),
        created_at=NOW,
        started_at=NOW,
        finished_at=NOW,
    )


def decide(policy: RetryPolicy, error: StoredError, seconds: float = 100) -> object:
    ids = map(str, count(2))
    replay = Replay([failed(error)], new_id=lambda: next(ids))
    key = replay.asked.next_key("fetch")
    return replay.decide_function(key, policy, NOW + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("value", "seconds"), [("30s", 30), (1.5, 1.5), (timedelta(minutes=2), 120), ("100y", None)]
)
def test_a_time_out_is_a_duration_above_zero(value: Any, seconds: float | None) -> None:
    checked = check_timeout(value, "step_timeout")
    assert seconds is None or checked == seconds


@pytest.mark.parametrize("value", [0, -1, "0s", "101y", "30", "soon", True, object()])
def test_any_other_time_out_is_refused_with_the_name_of_the_parameter(value: Any) -> None:
    with pytest.raises(InvalidDuration, match=r"^step_timeout: "):
        check_timeout(value, "step_timeout")
    with pytest.raises(InvalidDuration, match=r"^Step 'fetch': timeout: "):
        timeout_of(value, 5.0, "fetch")


def test_the_default_is_for_steps_without_a_time_out_of_their_own() -> None:
    assert timeout_of(None, 5.0, "fetch") == 5.0
    assert timeout_of("30s", 5.0, "fetch") == 30.0
    assert timeout_of(None, None, "fetch") is None


def test_the_stored_error_says_which_step_and_how_long() -> None:
    error = time_out_error("fetch", 30)
    assert error.name == "StepTimedOut"
    assert error.message == "Step 'fetch' did not end within its timeout of 30 s"
    killed = time_out_error("fetch", 0.25, killed=True, stack="here").to_json()
    assert killed == {
        "name": "StepTimedOut",
        "message": "Step 'fetch' did not end within its timeout of 0.25 s, and did not stop, so its"
        " process was killed",
        "stack": "here",
    }


def test_user_code_can_tell_a_time_out_from_other_failures_also_on_replay() -> None:
    stored = StoredError.from_json(KILLED.to_json())
    assert isinstance(step_failure("fetch", stored), StepTimedOut)
    other = step_failure("fetch", StoredError("refused", name="ConnectionError"))
    assert type(other) is StepFailed


def test_a_time_out_is_retried_like_any_failure() -> None:
    policy = RetryPolicy(maximum_attempts=2, initial_interval="10s")
    assert isinstance(decide(policy, KILLED, seconds=9), Wait)
    assert decide(policy, KILLED, seconds=11) == Execute("2", 2)
    assert isinstance(decide(RetryPolicy(maximum_attempts=1), KILLED), Reject)


@pytest.mark.parametrize(
    ("policy", "retried"),
    [
        (RetryPolicy(never_retry=StepTimedOut), False),
        (RetryPolicy(never_retry=ValueError), True),
        (RetryPolicy(retry_on=StepTimedOut), True),
        (RetryPolicy(retry_on=ConnectionError), False),
        (RetryPolicy(retry_on=lambda exc: isinstance(exc, StepTimedOut)), True),
        (RetryPolicy(never_retry=lambda exc: "30 s" in str(exc)), False),
    ],
)
def test_the_filters_of_a_policy_apply_to_a_time_out_that_the_supervisor_has_stored(
    policy: RetryPolicy, retried: bool
) -> None:
    decision = decide(policy, KILLED)
    assert isinstance(decision, Execute if retried else Reject)


def test_the_filters_are_not_asked_again_about_other_stored_failures() -> None:
    def must_not_be_called(exc: BaseException) -> bool:
        raise AssertionError(exc)

    error = StoredError("refused", name="ConnectionError")
    assert isinstance(decide(RetryPolicy(never_retry=must_not_be_called), error), Execute)
