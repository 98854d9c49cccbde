"""One test body for ``def`` and ``async def`` workflows: both must behave the same.

A body is a generator function of a step object. It yields whatever a step method returned:
``value = yield step.run(...)``. As a ``def`` workflow that is the value already (or a future,
from ``submit``); as an ``async def`` workflow it is awaited.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any

import pytest

Body = Callable[..., Generator[Any, Any, Any]]
AsWorkflow = Callable[[Body], Callable[..., Any]]


def as_sync(body: Body) -> Callable[..., Any]:
    """``body`` as the function of a ``def`` workflow."""

    def workflow(step: Any, input: Any = None) -> Any:
        steps = body(step)
        try:
            item = next(steps)
            while True:
                try:
                    value = item.result() if isinstance(item, Future) else item
                except BaseException as exc:
                    item = steps.throw(exc)
                else:
                    item = steps.send(value)
        except StopIteration as done:
            return done.value

    return workflow


def as_async(body: Body) -> Callable[..., Any]:
    """``body`` as the function of an ``async def`` workflow."""

    async def workflow(step: Any, input: Any = None) -> Any:
        steps = body(step)
        try:
            item = next(steps)
            while True:
                try:
                    value = await item if inspect.isawaitable(item) else item
                except BaseException as exc:
                    item = steps.throw(exc)
                else:
                    item = steps.send(value)
        except StopIteration as done:
            return done.value

    return workflow


sync_and_async = pytest.mark.parametrize("as_workflow", [as_sync, as_async], ids=["sync", "async"])
