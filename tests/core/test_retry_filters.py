"""Which failures a retry policy repeats."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from owsuper.core.retry import RetryPolicy, no_retry_reason
from owsuper.errors import NonRetryableError


class DeclinedError(NonRetryableError):
    """A card that is declined is declined the next time too."""


def is_repeated(policy: RetryPolicy, error: BaseException) -> bool:
    return no_retry_reason(policy, error) is None


class TestByType:
    def test_without_filters_every_failure_is_retried(self) -> None:
        for error in (ValueError(), SystemExit(), KeyboardInterrupt()):
            assert is_repeated(RetryPolicy(), error)

    def test_with_retry_on_only_matching_failures_are_retried(self) -> None:
        policy = RetryPolicy(retry_on=(ConnectionError, TimeoutError))
        assert is_repeated(policy, ConnectionResetError())
        assert is_repeated(policy, TimeoutError())
        assert no_retry_reason(policy, ValueError()) == "RetryPolicy.retry_on"

    def test_never_retry_wins(self) -> None:
        policy = RetryPolicy(retry_on=OSError, never_retry=FileNotFoundError)
        assert is_repeated(policy, PermissionError())
        assert no_retry_reason(policy, FileNotFoundError()) == "RetryPolicy.never_retry"

    def test_an_empty_tuple_of_types_matches_no_failure(self) -> None:
        assert is_repeated(RetryPolicy(never_retry=()), ValueError())
        assert not is_repeated(RetryPolicy(retry_on=()), ValueError())

    @pytest.mark.parametrize("error", [NonRetryableError("no"), DeclinedError("no")])
    def test_a_non_retryable_error_is_never_retried(self, error: NonRetryableError) -> None:
        for policy in (RetryPolicy(), RetryPolicy(retry_on=NonRetryableError)):
            assert no_retry_reason(policy, error) == "NonRetryableError"


class TestGroups:
    """A TaskGroup raises a group, which is none of the types that its members are."""

    def test_a_group_is_retried_if_all_members_are(self) -> None:
        policy = RetryPolicy(retry_on=ConnectionError)
        assert is_repeated(policy, ExceptionGroup("", [ConnectionError(), BrokenPipeError()]))
        assert not is_repeated(policy, ExceptionGroup("", [ConnectionError(), ValueError()]))

    def test_a_group_with_one_member_in_never_retry_is_not_retried(self) -> None:
        policy = RetryPolicy(never_retry=ValueError)
        nested = ExceptionGroup("", [OSError(), ExceptionGroup("", [ValueError()])])
        assert not is_repeated(policy, nested)
        assert not is_repeated(RetryPolicy(), ExceptionGroup("", [OSError(), DeclinedError()]))

    def test_a_filter_can_name_the_group_type(self) -> None:
        assert is_repeated(RetryPolicy(retry_on=ExceptionGroup), ExceptionGroup("", [ValueError()]))


class TestByPredicate:
    def test_a_predicate_gets_the_exception(self) -> None:
        policy = RetryPolicy(retry_on=lambda error: "busy" in str(error))
        assert is_repeated(policy, ValueError("busy"))
        assert not is_repeated(policy, ValueError("gone"))

    def test_a_predicate_gets_the_group_itself(self) -> None:
        group = ExceptionGroup("", [ValueError()])
        asked: list[BaseException] = []

        def remember(error: BaseException) -> bool:
            asked.append(error)
            return False

        assert is_repeated(RetryPolicy(never_retry=remember), group)
        assert asked == [group]

    @pytest.mark.parametrize("field", ["retry_on", "never_retry"])
    @pytest.mark.parametrize("broken", [KeyError("status"), SystemExit(1)])
    def test_a_predicate_that_raises_makes_the_failure_final(
        self, field: str, broken: BaseException
    ) -> None:
        def predicate(error: BaseException) -> bool:
            raise broken

        why = no_retry_reason(RetryPolicy(**{field: predicate}), ValueError())
        assert why == f"RetryPolicy.{field} raised {type(broken).__name__}: {broken}"

    @pytest.mark.parametrize("field", ["retry_on", "never_retry"])
    @pytest.mark.parametrize("answer", [None, 1, 0, "yes"])
    def test_a_predicate_that_returns_no_bool_makes_the_failure_final(
        self, field: str, answer: Any
    ) -> None:
        why = no_retry_reason(RetryPolicy(**{field: lambda error: answer}), ValueError())
        assert why == f"RetryPolicy.{field} returned {type(answer).__name__}, not a bool"


ERRORS = st.sampled_from([ValueError, KeyError, OSError, ConnectionError, DeclinedError])
TYPES = st.none() | ERRORS | st.lists(ERRORS, max_size=3).map(tuple)


@given(TYPES, TYPES, ERRORS)
def test_a_predicate_and_the_types_that_it_checks_agree(
    retry_on: Any, never_retry: Any, error: type[Exception]
) -> None:
    def predicate(types: Any) -> Any:
        return None if types is None else lambda exc: isinstance(exc, types)

    by_type = RetryPolicy(retry_on=retry_on, never_retry=never_retry)
    asked = RetryPolicy(retry_on=predicate(retry_on), never_retry=predicate(never_retry))
    assert no_retry_reason(by_type, error()) == no_retry_reason(asked, error())


@given(TYPES, TYPES, ERRORS)
def test_never_retry_always_wins(retry_on: Any, never_retry: Any, error: type[Exception]) -> None:
    if never_retry is not None and issubclass(error, never_retry):
        policy = RetryPolicy(retry_on=retry_on, never_retry=never_retry)
        assert not is_repeated(policy, error())
