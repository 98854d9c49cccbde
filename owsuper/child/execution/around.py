"""The context managers of ``around_steps``, around the functions of steps."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from functools import wraps
from typing import Any, TypeAlias

from owsuper.child.execution.drive import is_async
from owsuper.core.steps.effects import Stored
from owsuper.errors import ConfigurationError

Contexts: TypeAlias = Sequence[Callable[[], Any]]

_log = logging.getLogger("owsuper.child")


def around(contexts: Contexts, fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fn`` within ``contexts``, the first of them outermost; async if ``fn`` is."""
    if is_async(fn):

        @wraps(fn)
        async def acall(*args: Any) -> Any:
            return await _await_within(contexts, lambda: fn(*args))

        return acall

    @wraps(fn)
    def call(*args: Any) -> Any:
        value = None
        with ExitStack() as stack:
            _enter(stack, contexts)
            value = fn(*args)
        # A lambda may return a coroutine, which is awaited elsewhere.
        return _await_within(contexts, lambda: value) if inspect.isawaitable(value) else value

    return call


def around_transaction(contexts: Contexts, function: Callable[[], Any]) -> Callable[[], Any]:
    """Return ``function``, which makes a call and commits its result, within ``contexts``.

    What is stored stands: an exception after it is logged.
    """
    if is_async(function):

        async def acall() -> Any:
            answers: list[Any] = []

            async def answer() -> None:
                answers.append(await function())

            try:
                await _await_within(contexts, answer)
            except Exception as exc:
                return _after(answers, exc)
            return answers[0]

        return acall

    def call() -> Any:
        answers: list[Any] = []
        try:
            with ExitStack() as stack:
                _enter(stack, contexts)
                answers.append(function())
        except Exception as exc:
            return _after(answers, exc)
        return answers[0]

    return call


def _after(answers: list[Any], exc: Exception) -> Any:
    """Return the answer if it is stored. Raises ``exc`` otherwise."""
    if not answers or not isinstance(answers[0], Stored):
        raise exc
    _log.error("around_steps: the step is stored, and a context manager raised", exc_info=exc)
    return answers[0]


def _enter(stack: ExitStack, contexts: Contexts) -> None:
    for context in contexts:
        manager = context()
        if not isinstance(manager, AbstractContextManager):
            name = getattr(context, "__qualname__", repr(context))
            raise ConfigurationError(
                f"around_steps: {name} returned {type(manager).__name__}, which is not a context"
                " manager that a function can enter which is not async. Return one with __enter__"
                " and __exit__; it may have __aenter__ and __aexit__, too."
            )
        stack.enter_context(manager)


async def _await_within(contexts: Contexts, make: Callable[[], Awaitable[Any]]) -> Any:
    async with AsyncExitStack() as stack:
        for context in contexts:
            manager = context()
            if isinstance(manager, AbstractAsyncContextManager):
                await stack.enter_async_context(manager)
            else:
                stack.enter_context(manager)
        return await make()
    return None  # a manager has suppressed an exception
