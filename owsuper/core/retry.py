"""Retry policies: how long to wait after a failure, and when to give up."""

from __future__ import annotations

import hashlib
import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias

from owsuper.core.durations import Duration, add_ms, milliseconds
from owsuper.core.time_outs import step_failure
from owsuper.errors import (
    ConfigurationError,
    InvalidDuration,
    NonRetryableError,
    StepTimedOut,
)
from owsuper.stored_error import StoredError

DEADLINE_ERROR = {"message": "Workflow run deadline exceeded"}
"""The stored error of a run that failed at its deadline."""

_LONGEST_MS = milliseconds("100y")

FailureFilter: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
)
"""An exception type, several exception types, or a predicate."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to retry a failed step or workflow, and how long to wait in between.

    The pause after the n-th failure is ``initial_interval`` times ``backoff_coefficient`` to the
    power n - 1, at most ``maximum_interval``. An interval is a timedelta, a number of seconds, or
    text such as ``"500ms"``. ``maximum_attempts`` includes the first attempt; 0 means no limit.
    ``jitter``, from 0 to 1, is the random share of each pause: with 0.25, a pause has between
    three quarters and the whole of its length.

    ``retry_on`` limits retries to some failures. ``never_retry`` excludes failures and wins over
    ``retry_on``. Each is an exception type, a tuple of exception types, or a function that takes
    the exception and returns a bool. A NonRetryableError is never retried.

    The defaults apply to a step without a policy. A *workflow* without a policy has one attempt;
    a workflow with ``retry=RetryPolicy()`` has ten.

    Raises ConfigurationError, which names the field.
    """

    initial_interval: Duration = "1s"
    backoff_coefficient: float = 2.0
    maximum_interval: Duration = "100s"
    maximum_attempts: int = 10
    jitter: float = 0.0
    retry_on: FailureFilter | None = None
    never_retry: FailureFilter | None = None

    initial_ms: float = field(init=False, repr=False, compare=False)
    maximum_ms: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_coefficient(self.backoff_coefficient)
        _check_attempts(self.maximum_attempts)
        _check_jitter(self.jitter)
        _check_failures("retry_on", self.retry_on)
        _check_failures("never_retry", self.never_retry)
        set_field = object.__setattr__  # the class is frozen
        set_field(self, "initial_ms", _interval_ms("initial_interval", self.initial_interval))
        set_field(self, "maximum_ms", _interval_ms("maximum_interval", self.maximum_interval))


def _interval_ms(name: str, value: Duration) -> float:
    try:
        ms = milliseconds(value)
    except InvalidDuration as error:
        raise ConfigurationError(f"RetryPolicy.{name}: {error}") from None
    if not 0 < ms <= _LONGEST_MS:
        raise ConfigurationError(
            f"RetryPolicy.{name}: {value!r} must be longer than zero and at most 100 years"
        )
    return ms


def _check_coefficient(value: Any) -> None:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not 0 < value < math.inf  # false for NaN too
    ):
        raise ConfigurationError(
            f"RetryPolicy.backoff_coefficient: {value!r} must be a finite number above zero"
        )


def _check_attempts(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigurationError(
            f"RetryPolicy.maximum_attempts: {value!r} must be a whole number, 0 for no limit"
        )


def _check_jitter(value: Any) -> None:
    # false for NaN too
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"RetryPolicy.jitter: {value!r} must be a number from 0 to 1")


def _check_failures(field: str, value: Any) -> None:
    """Raise ConfigurationError, which names the ``field``, if ``value`` is no filter."""
    if value is None or _is_exception_type(value):
        return
    if isinstance(value, tuple) and all(map(_is_exception_type, value)):
        return
    if not callable(value) or isinstance(value, type):
        raise ConfigurationError(
            f"RetryPolicy.{field}: {value!r:.100} must be an exception type, a tuple of exception"
            " types, or a function that takes the exception and returns a bool"
        )
    if inspect.iscoroutinefunction(value):
        raise ConfigurationError(
            f"RetryPolicy.{field}: {value!r:.100} is an async function. Use a def function that"
            " returns a bool."
        )


def _is_exception_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


STEP_DEFAULT = RetryPolicy()
WORKFLOW_DEFAULT = RetryPolicy(maximum_attempts=1)


def backoff_ms(policy: RetryPolicy, n: int) -> float:
    """Return the milliseconds to wait after the ``n``-th failure, without jitter."""
    try:
        growth = float(policy.backoff_coefficient) ** max(0, n - 1)
    except OverflowError:
        growth = math.inf
    return min(policy.initial_ms * growth, policy.maximum_ms)


def pause_ms(policy: RetryPolicy, n: int, seed: str) -> float:
    """Return the milliseconds to wait after the ``n``-th failure, with jitter.

    The same ``seed`` gives the same jitter: a replay in another process must find the retry due
    at the same time.
    """
    pause = backoff_ms(policy, n)
    return pause * (1 - policy.jitter * _fraction(seed)) if policy.jitter else pause


def _fraction(seed: str) -> float:
    """Return a number from 0 to 1, uniformly distributed over seeds."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / (2**64 - 1)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Retry at ``at``."""

    at: datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The run fails with ``error`` (as stored)."""

    error: dict[str, Any]


def decide(
    policy: RetryPolicy,
    failures: int,
    deadline: datetime | None,
    now: datetime,
    error: StoredError,
    seed: str = "",
) -> RetryAt | GiveUp:
    """Decide what follows failure number ``failures`` (from 1) under ``policy``.

    A ``final`` error is never retried. ``seed`` is that of the jitter.
    """
    if deadline is not None and now >= deadline:
        return GiveUp(dict(DEADLINE_ERROR))
    if error.final or 0 < policy.maximum_attempts <= failures:
        return GiveUp(error.to_json())
    at = add_ms(now, pause_ms(policy, failures, seed))
    if deadline is not None and at >= deadline:
        return GiveUp(error.to_json())
    return RetryAt(at)


# --- filters of failures -------------------------------------------------------------------------
# A filter is applied once, to the exception. Its result is stored with the failure, so that a
# replay in another process, which has no exception, decides the same.

_Quantifier: TypeAlias = Callable[[Iterable[bool]], bool]


class _InvalidPredicateError(Exception):
    """A predicate raised, or returned no bool; the message says which."""


def no_retry_reason(policy: RetryPolicy, exc: BaseException) -> str | None:
    """Return why ``policy`` does not retry after ``exc``, or None if it does.

    The attempts left do not matter here. In an exception group, as a TaskGroup raises, every
    member must match ``retry_on`` and none may match ``never_retry``; a predicate gets the group
    itself. A predicate that raises, or returns no bool, makes the failure final: otherwise the
    retries might never end. Never raises.
    """
    if _is_instance(exc, NonRetryableError, any):
        return "NonRetryableError"
    try:
        if policy.never_retry is not None and _matches(exc, policy.never_retry, "never_retry", any):
            return "RetryPolicy.never_retry"
        if policy.retry_on is not None and not _matches(exc, policy.retry_on, "retry_on", all):
            return "RetryPolicy.retry_on"
    except _InvalidPredicateError as reason:
        return str(reason)
    return None


def refuses_time_out(policy: RetryPolicy, step: str, error: StoredError) -> bool:
    """Whether ``error`` is that of a time-out after which ``policy`` does not retry.

    The supervisor stores the time-out of a step whose process it had to kill, and has no policy to
    ask. So the filters are applied later, to an exception that is made of what is stored.
    """
    if policy.retry_on is None and policy.never_retry is None:
        return False
    failure = step_failure(step, error)
    return isinstance(failure, StepTimedOut) and no_retry_reason(policy, failure) is not None


def _matches(
    exc: BaseException, failures: FailureFilter, field: str, quantifier: _Quantifier
) -> bool:
    """Whether ``exc`` matches ``failures``. Raises _InvalidPredicateError."""
    if isinstance(failures, (type, tuple)):
        return _is_instance(exc, failures, quantifier)
    try:
        answer: Any = failures(exc)
    except BaseException as broken:  # user code
        summary = StoredError.from_exception(broken).summary()
        raise _InvalidPredicateError(f"RetryPolicy.{field} raised {summary}") from None
    if not isinstance(answer, bool):
        raise _InvalidPredicateError(
            f"RetryPolicy.{field} returned {type(answer).__name__}, not a bool"
        )
    return answer


def _is_instance(
    exc: BaseException,
    types: type[BaseException] | tuple[type[BaseException], ...],
    quantifier: _Quantifier,
) -> bool:
    if isinstance(exc, types):
        return True
    return isinstance(exc, BaseExceptionGroup) and quantifier(
        _is_instance(each, types, quantifier) for each in exc.exceptions
    )
