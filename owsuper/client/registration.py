"""The decorator that turns a function into a workflow."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar, overload

from owsuper.core.replay import STEP_LIMIT
from owsuper.core.retry import RetryPolicy
from owsuper.errors import ConfigurationError
from owsuper.step import AsyncStep, Step
from owsuper.workflow.definition import Starter, Workflow
from owsuper.workflow.registry import Registry

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise
Hook = TypeVar("Hook", bound=Callable[[], object])


class Decorator(Protocol):
    """Turns a function into a workflow: sync or async, by the class of its step."""

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
    """The methods of OpenWorkflow that need no database."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.process_hooks: list[Callable[[], object]] = []

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
        strict: bool = False,
    ) -> Decorator: ...
    def workflow(
        self,
        name: Any = None,
        /,
        *,
        version: str | None = None,
        retry: RetryPolicy | None = None,
        step_limit: int = STEP_LIMIT,
        strict: bool = False,
    ) -> Any:
        """Make a function a workflow: ``@ow.workflow`` or ``@ow.workflow("name", ...)``.

        The function is ``def f(step: Step, input: I) -> O`` or ``async def f(step: AsyncStep,
        input: I) -> O``. The input may be left out. The workflow has the function's name unless
        a name is given. A run keeps the ``version`` with which it was started, and only a worker
        that has a workflow of exactly this name and version executes the run. ``retry`` is the
        policy for a function that raises; without a policy, the run fails at once.
        ``step_limit`` is the number of step attempts that a run may have, including failed ones.
        ``strict`` fails a run with NonDeterminismError whose code begins a new step, or returns,
        without having called the steps that are recorded; otherwise the log warns.

        Raises ConfigurationError for a function that cannot be a workflow, RegistrationError
        if another workflow has this name and version.
        """
        bare = None if name is None or isinstance(name, str) else name

        def define(fn: Callable[..., Any]) -> Workflow[Any, Any]:
            given_name = None if bare else name
            workflow = Workflow[Any, Any](
                self,
                fn,
                name=given_name,
                version=version,
                retry=retry,
                step_limit=step_limit,
                strict=strict,
            )
            self.registry.add(workflow)
            return workflow

        return define(bare) if bare else define

    def on_process_start(self, fn: Hook, /) -> Hook:
        """Call ``fn()`` once in each child process of a worker, before the process takes runs.

        Use it as a decorator, for what child processes must not share or inherit: random
        generators, exporters of telemetry, caches, handlers of signals. It is called in the main
        thread, after the fork and after the application was imported. If it raises, the process
        ends, as if the application could not be imported.

        Raises ConfigurationError for a coroutine function.
        """
        if inspect.iscoroutinefunction(fn):
            raise ConfigurationError(
                f"on_process_start calls {fn.__qualname__} outside of any event loop: make it a"
                " def function"
            )
        self.process_hooks.append(fn)
        return fn
