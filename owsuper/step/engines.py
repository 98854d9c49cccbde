"""What stands behind a step object: a pass of the workflow, in one of two colours."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun
    from owsuper.step.requests import Request


class SyncEngine(Protocol):
    """Runs the steps of a ``def`` workflow."""

    run: ClaimedRun

    def call(self, request: Request) -> Any: ...
    def submit(self, request: Request) -> Future[Any]: ...
    def parallel(self, branches: tuple[Callable[[], Any], ...]) -> list[Any]: ...


class AsyncEngine(Protocol):
    """Runs the steps of an ``async def`` workflow.

    What is asked for is checked and named before anybody awaits it: the order of the calls counts.
    """

    run: ClaimedRun

    def call(self, request: Request) -> Coroutine[Any, Any, Any]: ...
    def submit(self, request: Request) -> Awaitable[Any]: ...
