"""The steps of ``async def`` workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from owsuper.core.durations import Duration
from owsuper.step.requests import (
    ChildRunCall,
    FunctionCall,
    SignalSend,
    SignalWait,
    Sleep,
    SleepUntil,
    Startable,
    Timeout,
)
from owsuper.step.run_info import RunInfo

if TYPE_CHECKING:
    from owsuper.core.model import Signal
    from owsuper.core.retry import RetryPolicy
    from owsuper.step.engines import AsyncEngine

T = TypeVar("T")
A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741
Ts = TypeVarTuple("Ts")


class AsyncStep(RunInfo):
    """The steps of an ``async def`` workflow; parallel by ``asyncio.gather`` or ``TaskGroup``.

    They are told apart by name, as those of a :class:`Step` are.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: AsyncEngine) -> None:
        super().__init__(engine.run)
        self._engine = engine

    @overload
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Coroutine[Any, Any, T]: ...
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """Call ``fn(*args)`` once and remember its result; later passes recall it.

        An ``async def`` function is awaited on the event loop; any other runs in a thread, so
        that it does not block the loop. All else is as for :meth:`Step.run`.
        """
        return self._engine.call(FunctionCall(name, fn, args, retry, type))

    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Awaitable[T]: ...
    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Awaitable[T]: ...
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """Like :meth:`run`, started at once as a task; await it for the result.

        The run does not end before the steps that it submitted.
        """
        return self._engine.submit(FunctionCall(name, fn, args, retry, type))

    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], Coroutine[Any, Any, T]],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Awaitable[list[T]]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], T],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Awaitable[list[T]]: ...
    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """One step for each item, side by side; as :meth:`Step.map`, awaited."""
        return asyncio.gather(
            *(self._engine.submit(FunctionCall(name, fn, (item,), retry, type)) for item in items)
        )

    def sleep(self, name: str, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait durably; as :meth:`Step.sleep`, awaited."""
        return self._engine.call(Sleep(name, duration))

    def sleep_until(self, name: str, when: datetime) -> Coroutine[Any, Any, None]:
        """Wait durably until ``when``; as :meth:`Step.sleep_until`, awaited."""
        return self._engine.call(SleepUntil(name, when))

    @overload
    def run_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Coroutine[Any, Any, O]: ...
    @overload
    def run_workflow(
        self,
        workflow: Startable[I, O],
        input: I,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Coroutine[Any, Any, O]: ...
    @overload
    def run_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def run_workflow(
        self,
        workflow: Startable[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Run ``workflow`` as a child of this run; as :meth:`Step.run_workflow`, awaited."""
        return self._engine.call(ChildRunCall(workflow, input, name, version, timeout, type))

    @overload
    def submit_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Awaitable[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: Startable[I, O],
        input: I,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Awaitable[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Awaitable[Any]: ...
    def submit_workflow(
        self,
        workflow: Startable[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Like :meth:`run_workflow`, started at once as a task; await it for the result."""
        return self._engine.submit(ChildRunCall(workflow, input, name, version, timeout, type))

    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: type[T],
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Coroutine[Any, Any, Signal[T] | None]: ...
    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Coroutine[Any, Any, Signal[Any] | None]: ...
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Any:
        """Wait durably for ``signal``; as :meth:`Step.wait_for_signal`, awaited."""
        return self._engine.call(SignalWait(signal, timeout, type, name))

    def send_signal(
        self, signal: str, data: Any = None, *, name: str | None = None, buffer: bool = False
    ) -> Coroutine[Any, Any, list[str]]:
        """Send ``signal`` to all who wait for it; as :meth:`Step.send_signal`, awaited."""
        return self._engine.call(SignalSend(signal, data, name, buffer))
