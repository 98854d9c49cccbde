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
from types import TracebackType
from typing import Any, TypeAlias

from owsuper.child.execution.drive import is_async
from owsuper.core.steps.effects import CallError, Stored
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

    The contexts see what the call raised, and cannot change how the step ended: what is stored
    stands, and what is not stored is no success.
    """
    if is_async(function):

        async def acall() -> Any:
            ending = _Ending()
            try:
                async with AsyncExitStack() as stack:
                    with ending:
                        await _aenter(stack, contexts)
                        ending.take(await function())
            except Exception as exc:
                return ending.answer_after(exc)
            return ending.answer()

        return acall

    def call() -> Any:
        ending = _Ending()
        try:
            with ExitStack() as stack, ending:
                _enter(stack, contexts)
                ending.take(function())
        except Exception as exc:
            return ending.answer_after(exc)
        return ending.answer()

    return call


class _Ending:
    """How a call and its transaction ended, whatever the contexts around them do after that."""

    def __init__(self) -> None:
        self._answer: Any = None
        self._error: BaseException | None = None
        self._traceback: TracebackType | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._error = error

    def take(self, answer: Any) -> None:
        """Note the answer. Raises what the function of the step raised, for the contexts to see."""
        self._answer = answer
        if isinstance(answer, CallError):
            self._traceback = answer.exception.__traceback__
            raise answer.exception

    def answer(self) -> Any:
        """Return the answer. If there is none, raises what the call or a context has raised."""
        if self._answer is None:
            assert self._error is not None
            raise self._error
        if isinstance(self._answer, CallError):
            self._answer.exception.__traceback__ = self._traceback
        return self._answer

    def answer_after(self, exc: Exception) -> Any:
        """Return the answer, after ``exc`` has come out of the contexts.

        Raises ``exc`` if a context has raised it, and nothing is stored.
        """
        if isinstance(self._answer, Stored):
            _log.error(
                "around_steps: the step is stored, and a context manager raised", exc_info=exc
            )
        elif not isinstance(self._answer, CallError) or self._answer.exception is not exc:
            raise exc
        return self.answer()


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


async def _aenter(stack: AsyncExitStack, contexts: Contexts) -> None:
    for context in contexts:
        manager = context()
        if isinstance(manager, AbstractAsyncContextManager):
            await stack.enter_async_context(manager)
        else:
            stack.enter_context(manager)


async def _await_within(contexts: Contexts, make: Callable[[], Awaitable[Any]]) -> Any:
    async with AsyncExitStack() as stack:
        await _aenter(stack, contexts)
        return await make()
    return None  # a manager has suppressed an exception
