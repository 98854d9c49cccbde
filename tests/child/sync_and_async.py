"""One test body, two colours: what holds for ``def`` workflows holds for ``async def`` ones.

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


def blocking(body: Body) -> Callable[..., Any]:
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


def awaiting(body: Body) -> Callable[..., Any]:
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


both = pytest.mark.parametrize("colour", [blocking, awaiting], ids=["sync", "async"])
