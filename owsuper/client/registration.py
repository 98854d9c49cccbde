"""Making workflows of functions."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, overload

from owsuper.core.replay import STEP_LIMIT
from owsuper.core.retry import RetryPolicy
from owsuper.step import AsyncStep, Step
from owsuper.workflow.definition import Starter, Workflow
from owsuper.workflow.registry import Registry

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741


class Decorator(Protocol):
    """Makes a workflow of a function; the step's class decides about its colour."""

    @overload
    def __call__(
        self, fn: Callable[[AsyncStep, I], Coroutine[Any, Any, O]], /
    ) -> Workflow[I, O]: ...
    @overload
    def __call__(
        self, fn: Callable[[AsyncStep], Coroutine[Any, Any, O]], /
    ) -> Workflow[None, O]: ...
    @overload
    def __call__(self, fn: Callable[[Step, I], O], /) -> Workflow[I, O]: ...
    @overload
    def __call__(self, fn: Callable[[Step], O], /) -> Workflow[None, O]: ...


class Registration(Starter):
    """The half of OpenWorkflow that needs no database."""

    def __init__(self) -> None:
        self.registry = Registry()

    @overload
    def workflow(
        self, fn: Callable[[AsyncStep, I], Coroutine[Any, Any, O]], /
    ) -> Workflow[I, O]: ...
    @overload
    def workflow(
        self, fn: Callable[[AsyncStep], Coroutine[Any, Any, O]], /
    ) -> Workflow[None, O]: ...
    @overload
    def workflow(self, fn: Callable[[Step, I], O], /) -> Workflow[I, O]: ...
    @overload
    def workflow(self, fn: Callable[[Step], O], /) -> Workflow[None, O]: ...
    @overload
    def workflow(
        self,
        name: str | None = None,
        /,
        *,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_limit: int = STEP_LIMIT,
    ) -> Decorator: ...
    def workflow(
        self,
        name: Any = None,
        /,
        *,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_limit: int = STEP_LIMIT,
    ) -> Any:
        """Make a function a workflow: ``@ow.workflow`` or ``@ow.workflow("name", ...)``.

        The function is ``def f(step: Step, input: I) -> O`` or ``async def f(step: AsyncStep,
        input: I) -> O``; it may do without the input. Its name is that of the function unless
        given. Runs keep the ``version`` that they were started with, and only a worker that
        knows a workflow of exactly that name and version executes them. ``retry`` says how
        often the function is repeated when it raises; without it, the run fails at once.
        ``step_limit`` is how many step attempts a run may have, failed ones included.

        Raises ConfigurationError for a function that cannot be a workflow, RegistrationError
        when name and version are taken.
        """
        bare = None if name is None or isinstance(name, str) else name

        def define(fn: Callable[..., Any]) -> Workflow[Any, Any]:
            called = None if bare else name
            workflow = Workflow[Any, Any](
                self, fn, name=called, version=version, retry=retry, step_limit=step_limit
            )
            self.registry.add(workflow)
            return workflow

        return define(bare) if bare else define
