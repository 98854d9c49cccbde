"""Operations: the code that sync and async executions share is a generator of them.

A generator yields operations and receives their results. An operation is a function without
arguments. In an execution of a ``def`` workflow it blocks; in an execution of an ``async def``
workflow it returns an awaitable. ``Pause`` stands for blocking the branch, which a submitted
step does without a thread.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from owsuper.core.decisions import Wait
from owsuper.core.steps.effects import Pause

T = TypeVar("T")
Operations = Generator[Callable[[], Any] | Pause, Any, T]


def run_to_pause(operations: Operations[Any]) -> Pause:
    """Run operations up to the next Pause, or on from one.

    Raises StopIteration with the generator's value when there are no more operations.
    """
    operation = next(operations)
    while not isinstance(operation, Pause):
        try:
            result = operation()
        except BaseException as exc:
            operation = operations.throw(exc)
        else:
            operation = operations.send(result)
    return operation


def _no_pause(wait: Wait) -> Any:
    raise AssertionError(f"only steps pause, not {wait}")


def drive(operations: Operations[T], block: Callable[[Wait], object] = _no_pause) -> T:
    """Run all operations in this thread; ``block`` is called for each Pause.

    Returns the generator's value.
    """
    try:
        operation = next(operations)
        while True:
            try:
                result = block(operation.wait) if isinstance(operation, Pause) else operation()
            except BaseException as exc:
                operation = operations.throw(exc)
            else:
                operation = operations.send(result)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        operations.close()


async def drive_async(
    operations: Operations[T], block: Callable[[Wait], Awaitable[object]] = _no_pause
) -> T:
    """Await all operations in this task; ``block`` is awaited for each Pause.

    Returns the generator's value.
    """
    try:
        operation = next(operations)
        while True:
            try:
                if isinstance(operation, Pause):
                    result = await block(operation.wait)
                else:
                    result = await operation()
            except BaseException as exc:
                operation = operations.throw(exc)
            else:
                operation = operations.send(result)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        operations.close()


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling ``function`` returns a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 -- asked of its kind, not whether it is
    )
