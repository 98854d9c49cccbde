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
from owsuper.errors import ConfigurationError, InvalidDuration, NonRetryableError
from owsuper.stored_error import StoredError

DEADLINE_ERROR = {"message": "Workflow run deadline exceeded"}
"""Stored as the error of a run that ended because its deadline passed."""

_LONGEST_MS = milliseconds("100y")

Failures: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
)
"""Those of a type, those of any of several types, or those of which a predicate is true."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to repeat what failed, and how long to wait in between.

    The n-th failure is followed by a pause of ``initial_interval`` times
    ``backoff_coefficient`` to the power n - 1, at most ``maximum_interval``. Intervals
    are a timedelta, seconds, or text such as ``"500ms"``. ``maximum_attempts`` counts the
    first attempt too; 0 means without limit. ``jitter``, from 0 to 1, is the share of each pause
    that is left to chance: with 0.25 it is between three quarters and the whole of it.

    ``retry_on`` says what is repeated at all, and ``never_retry`` what is not, whatever
    ``retry_on`` says: an exception type, a tuple of them, or a function that is given the
    exception and returns a bool. A NonRetryableError is never repeated.

    The defaults are those of a step without a policy. A *workflow* without a policy is not
    repeated at all, while one with ``retry=RetryPolicy()`` is attempted ten times.

    Raises ConfigurationError, which names the field.
    """

    initial_interval: Duration = "1s"
    backoff_coefficient: float = 2.0
    maximum_interval: Duration = "100s"
    maximum_attempts: int = 10
    jitter: float = 0.0
    retry_on: Failures | None = None
    never_retry: Failures | None = None

    initial_ms: float = field(init=False, repr=False, compare=False)
    maximum_ms: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_coefficient(self.backoff_coefficient)
        _check_attempts(self.maximum_attempts)
        _check_jitter(self.jitter)
        _check_failures("retry_on", self.retry_on)
        _check_failures("never_retry", self.never_retry)
        # Frozen: this is the one moment at which a field may be set.
        put = object.__setattr__
        put(self, "initial_ms", _interval_ms("initial_interval", self.initial_interval))
        put(self, "maximum_ms", _interval_ms("maximum_interval", self.maximum_interval))


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
    """Raise ConfigurationError, which names the ``field``, if ``value`` is no Failures."""
    if value is None or _is_exception_type(value):
        return
    if isinstance(value, tuple) and all(map(_is_exception_type, value)):
        return
    if not callable(value) or isinstance(value, type):
        raise ConfigurationError(
            f"RetryPolicy.{field}: {value!r:.100} must be an exception type, a tuple of them, or a"
            " function that is given the exception and returns a bool"
        )
    if inspect.iscoroutinefunction(value):
        raise ConfigurationError(
            f"RetryPolicy.{field}: {value!r:.100} is an async function, which nobody awaits. Use a"
            " def function that returns a bool."
        )


def _is_exception_type(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, BaseException)


STEP_DEFAULT = RetryPolicy()
WORKFLOW_DEFAULT = RetryPolicy(maximum_attempts=1)


def backoff_ms(policy: RetryPolicy, n: int) -> float:
    """Milliseconds to wait after the ``n``-th failure, without jitter."""
    try:
        growth = float(policy.backoff_coefficient) ** max(0, n - 1)
    except OverflowError:
        growth = math.inf
    return min(policy.initial_ms * growth, policy.maximum_ms)


def pause_ms(policy: RetryPolicy, n: int, seed: str) -> float:
    """Milliseconds to wait after the ``n``-th failure.

    The jitter is as good as random, and the same for the same ``seed``: whoever looks at that
    failure again, in another process, must find it due at the same time.
    """
    pause = backoff_ms(policy, n)
    return pause * (1 - policy.jitter * _fraction(seed)) if policy.jitter else pause


def _fraction(seed: str) -> float:
    """A number from 0 to 1, evenly distributed over seeds."""
    digest = hashlib.blake2b(seed.encode(), digest_size=8).digest()
    return int.from_bytes(digest) / (2**64 - 1)


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at ``at``."""

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
    """What follows the failure number ``failures`` (from 1) of what ``policy`` covers.

    An error marked ``final`` is never repeated. ``seed`` is that of the jitter.
    """
    if deadline is not None and now >= deadline:
        return GiveUp(dict(DEADLINE_ERROR))
    if error.final or 0 < policy.maximum_attempts <= failures:
        return GiveUp(error.to_json())
    at = add_ms(now, pause_ms(policy, failures, seed))
    if deadline is not None and at >= deadline:
        return GiveUp(error.to_json())
    return RetryAt(at)


# --- which failures are repeated -----------------------------------------------------------------

_Quantifier: TypeAlias = Callable[[Iterable[bool]], bool]


class _NoAnswerError(Exception):
    """A predicate says neither yes nor no; the message says what it does instead."""


def no_retry_reason(policy: RetryPolicy, exc: BaseException) -> str | None:
    """Why ``policy`` does not repeat what raised ``exc``, however many attempts are left.

    None where it does. Of an exception group, as a TaskGroup raises it, every member must be
    among ``retry_on`` and none among ``never_retry``; a predicate is given the group itself. A
    predicate that raises or says no bool makes the failure final: to repeat it could go on for
    ever. Never raises.
    """
    if _is_a(exc, NonRetryableError, any):
        return "NonRetryableError"
    try:
        if policy.never_retry is not None and _among(exc, policy.never_retry, "never_retry", any):
            return "RetryPolicy.never_retry"
        if policy.retry_on is not None and not _among(exc, policy.retry_on, "retry_on", all):
            return "RetryPolicy.retry_on"
    except _NoAnswerError as reason:
        return str(reason)
    return None


def _among(exc: BaseException, failures: Failures, field: str, of_group: _Quantifier) -> bool:
    """Whether ``exc`` is one of ``failures``. Raises _NoAnswerError."""
    if isinstance(failures, (type, tuple)):
        return _is_a(exc, failures, of_group)
    try:
        answer: Any = failures(exc)
    except BaseException as broken:  # user code
        summary = StoredError.from_exception(broken).summary()
        raise _NoAnswerError(f"RetryPolicy.{field} raised {summary}") from None
    if not isinstance(answer, bool):
        raise _NoAnswerError(f"RetryPolicy.{field} returned {type(answer).__name__}, not a bool")
    return answer


def _is_a(
    exc: BaseException,
    types: type[BaseException] | tuple[type[BaseException], ...],
    of_group: _Quantifier,
) -> bool:
    if isinstance(exc, types):
        return True
    return isinstance(exc, BaseExceptionGroup) and of_group(
        _is_a(each, types, of_group) for each in exc.exceptions
    )
