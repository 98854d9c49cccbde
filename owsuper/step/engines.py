"""The engine behind a step object: an execution of the workflow function."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

if TYPE_CHECKING:
    from owsuper.core.attributes import AttributeChanges
    from owsuper.core.model import ClaimedRun
    from owsuper.core.replay import Replay
    from owsuper.step.requests import Request, Startable


class Engine(Protocol):
    """What both engines do about the run itself."""

    told_run: ClaimedRun
    """The run that user code is told to be in."""
    replay: Replay

    def patched(self, name: str) -> bool:
        """Whether the run takes the new branch of a patch."""
        ...

    def set_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Report how far the run is."""
        ...

    def set_attributes(self, changes: AttributeChanges) -> None:
        """Change attributes of the run."""
        ...

    def continue_as_new(self, input: Any, workflow: Startable[Any, Any] | None) -> NoReturn:
        """End the run, and begin its successor."""
        ...


class SyncEngine(Engine, Protocol):
    """Executes the steps of a ``def`` workflow."""

    def call(self, request: Request) -> Any:
        """Execute or recall the step; return its result."""
        ...

    def submit(self, request: Request, joined: bool = False) -> Future[Any]:
        """Begin the step in a thread; return a future of its result.

        ``joined`` says that user code gets all results together, in the order of the calls.
        """
        ...

    def parallel(self, branches: tuple[Callable[[], Any], ...]) -> list[Any]:
        """Call each branch in a thread; return their results in order."""
        ...


class AsyncEngine(Engine, Protocol):
    """Executes the steps of an ``async def`` workflow.

    Both methods check and name the step before they return, because the names depend on the order
    of the calls, not on the order in which the results are awaited.
    """

    def call(self, request: Request) -> Coroutine[Any, Any, Any]:
        """Return a coroutine that executes or recalls the step and returns its result."""
        ...

    def submit(self, request: Request, joined: bool = False) -> Awaitable[Any]:
        """Begin the step as a task; return an awaitable of its result.

        ``joined`` says that user code gets all results together, in the order of the calls.
        """
        ...
