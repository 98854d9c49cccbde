"""Retry policies: how long to wait after a failure, and when to give up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from owsuper.core.durations import Duration, add_ms, milliseconds
from owsuper.core.model import ErrorPayload
from owsuper.errors import ConfigurationError, InvalidDuration

DEADLINE_ERROR = {"message": "Workflow run deadline exceeded"}
"""Stored as the error of a run that ended because its deadline passed."""

_LONGEST_MS = milliseconds("100y")


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to repeat what failed, and how long to wait in between.

    The n-th failure is followed by a pause of ``initial_interval`` times
    ``backoff_coefficient`` to the power n - 1, at most ``maximum_interval``. Intervals
    are a timedelta, seconds, or text such as ``"500ms"``. ``maximum_attempts`` counts the
    first attempt too; 0 means without limit.

    The defaults are those of a step without a policy. A *workflow* without a policy is not
    repeated at all, while one with ``retry=RetryPolicy()`` is attempted ten times.

    Raises ConfigurationError, which names the field.
    """

    initial_interval: Duration = "1s"
    backoff_coefficient: float = 2.0
    maximum_interval: Duration = "100s"
    maximum_attempts: int = 10

    initial_ms: float = field(init=False, repr=False, compare=False)
    maximum_ms: float = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        _check_coefficient(self.backoff_coefficient)
        _check_attempts(self.maximum_attempts)
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


STEP_DEFAULT = RetryPolicy()
WORKFLOW_DEFAULT = RetryPolicy(maximum_attempts=1)


def backoff_ms(policy: RetryPolicy, n: int) -> float:
    """Milliseconds to wait after the ``n``-th failure."""
    try:
        growth = float(policy.backoff_coefficient) ** max(0, n - 1)
    except OverflowError:
        growth = math.inf
    return min(policy.initial_ms * growth, policy.maximum_ms)


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
    error: ErrorPayload,
) -> RetryAt | GiveUp:
    """What follows the failure number ``failures`` (from 1) of what ``policy`` covers.

    An error marked ``final`` is never repeated.
    """
    if deadline is not None and now >= deadline:
        return GiveUp(dict(DEADLINE_ERROR))
    if error.final or 0 < policy.maximum_attempts <= failures:
        return GiveUp(error.to_json())
    at = add_ms(now, backoff_ms(policy, failures))
    if deadline is not None and at >= deadline:
        return GiveUp(error.to_json())
    return RetryAt(at)
