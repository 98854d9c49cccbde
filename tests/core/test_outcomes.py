"""What follows when all branches of a run wait, and when its function ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from owsuper.core.decisions import Raised, Returned, Wait
from owsuper.core.model import Complete, Fail, Park, Retry
from owsuper.core.outcomes import RunRetries, outcome_of_waits
from owsuper.core.retry import RetryPolicy
from owsuper.stored_error import StoredError

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def test_the_earliest_wait_decides_when_the_run_wakes() -> None:
    waits = [Wait(NOW + seconds(9)), Wait(NOW + seconds(3))]
    assert outcome_of_waits(waits) == Park(NOW + seconds(3))


def test_a_run_that_waits_for_retries_alone_is_pending_with_the_error() -> None:
    waits = [Wait(NOW + seconds(3), error=StoredError("no"))]
    assert outcome_of_waits(waits) == Retry(NOW + seconds(3), StoredError("no"), counts=False)


def test_a_run_that_also_sleeps_is_parked_so_that_it_can_be_woken() -> None:
    waits = [Wait(NOW + seconds(3), error=StoredError("no")), Wait(NOW + seconds(9))]
    assert outcome_of_waits(waits) == Park(NOW + seconds(3))


def test_a_return_completes_the_run() -> None:
    assert RunRetries().outcome_of(Returned(b"7"), NOW) == Complete(b"7")


def test_an_exception_fails_the_run_for_good_by_default() -> None:
    end = Raised(StoredError("boom", name="ValueError"))
    assert RunRetries().outcome_of(end, NOW) == Fail({"message": "boom", "name": "ValueError"})


def test_the_workflows_own_policy_retries_it_by_its_own_failures() -> None:
    policy = RetryPolicy(maximum_attempts=3)
    end = Raised(StoredError("boom"))

    first = RunRetries(policy=policy, failures=0).outcome_of(end, NOW)
    second = RunRetries(policy=policy, failures=1).outcome_of(end, NOW)
    third = RunRetries(policy=policy, failures=2).outcome_of(end, NOW)

    assert first == Retry(NOW + seconds(1), StoredError("boom"), counts=True)
    assert second == Retry(NOW + seconds(2), StoredError("boom"), counts=True)
    assert third == Fail({"message": "boom"})


def test_jitter_makes_the_pause_between_two_attempts_of_the_workflow_shorter() -> None:
    policy = RetryPolicy(maximum_attempts=3, jitter=1.0)

    def retried(run_id: str, failures: int = 0) -> datetime:
        retries = RunRetries(policy=policy, run_id=run_id, failures=failures)
        outcome = retries.outcome_of(Raised(StoredError("boom")), NOW)
        assert isinstance(outcome, Retry)
        return outcome.at

    assert retried("run") == retried("run")
    assert NOW <= retried("run") <= NOW + seconds(1)
    assert len({retried("run"), retried("another"), retried("run", failures=1)}) == 3


def test_the_reason_of_a_final_failure_goes_to_the_log_and_is_not_stored() -> None:
    end = Raised(StoredError("boom", no_retry_reason="RetryPolicy.retry_on"), final=True)
    outcome = RunRetries(policy=RetryPolicy()).outcome_of(end, NOW)
    assert outcome == Fail({"message": "boom"})
    assert isinstance(outcome, Fail)
    assert outcome.no_retry_reason == "RetryPolicy.retry_on"


def test_a_final_failure_is_not_retried() -> None:
    policy = RetryPolicy(maximum_attempts=3)
    end = Raised(StoredError("boom", final=True), final=True)
    assert RunRetries(policy=policy).outcome_of(end, NOW) == Fail({"message": "boom"})


def test_after_the_deadline_the_error_is_the_deadline() -> None:
    retries = RunRetries(deadline=NOW - seconds(1))
    assert retries.outcome_of(Raised(StoredError("boom")), NOW) == Fail(
        {"message": "Workflow run deadline exceeded"}
    )
