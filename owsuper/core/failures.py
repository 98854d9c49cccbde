"""Which failures a retry policy repeats: told by their type, or by what a predicate answers.

It is asked once, when the exception is there; what it said is stored with the failure, so that
a replay in another process, which has no exception to ask about, decides the same.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from owsuper.core.model import StoredError
from owsuper.errors import ConfigurationError, NonRetryableError

if TYPE_CHECKING:
    from owsuper.core.retry import RetryPolicy

Failures: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]
)
"""Those of a type, those of any of several types, or those of which a predicate is true."""

_Quantifier: TypeAlias = Callable[[Iterable[bool]], bool]


class _NoAnswerError(Exception):
    """A predicate says neither yes nor no; the message says what it does instead."""


def why_final(policy: RetryPolicy, exc: BaseException) -> str | None:
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


def check_failures(field: str, value: Any) -> None:
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
