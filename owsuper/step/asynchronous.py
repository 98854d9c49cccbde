"""The steps of ``async def`` workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple, overload

from owsuper.core.durations import Duration
from owsuper.step.requests import (
    ChildRunCall,
    FunctionCall,
    OnInvalid,
    SignalSend,
    SignalWait,
    Sleep,
    SleepUntil,
    Startable,
    Timeout,
    UndoAll,
)
from owsuper.step.transactions import AsyncTransactions

if TYPE_CHECKING:
    from owsuper.core.limits import Rate
    from owsuper.core.model import Signal
    from owsuper.core.retry import RetryPolicy

T = TypeVar("T")
A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise
Ts = TypeVarTuple("Ts")


class AsyncStep(AsyncTransactions):
    """The steps of an ``async def`` workflow, parallel with ``asyncio.gather`` or ``TaskGroup``.

    As for :class:`Step`, the name of a step identifies its stored result.
    """

    __slots__ = ()

    @overload
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Coroutine[Any, Any, T]: ...
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[Any], object] | None = None,
        limit: Rate | None = None,
    ) -> Any:
        """Call ``fn(*args)``, store its result and return it. Replays return the stored result.

        An ``async def`` function runs on the event loop, any other function in a thread. All
        else is as in :meth:`Step.run`.
        """
        return self._engine.call(
            FunctionCall(name, fn, args, retry, type, formerly, timeout, undo, limit)
        )

    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Awaitable[T]: ...
    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Awaitable[T]: ...
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[Any], object] | None = None,
        limit: Rate | None = None,
    ) -> Any:
        """Do as :meth:`run` in a task that starts at once; return an awaitable of the result.

        The run does not end before the steps that it has submitted.
        """
        return self._engine.submit(
            FunctionCall(name, fn, args, retry, type, formerly, timeout, undo, limit)
        )

    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], Coroutine[Any, Any, T]],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Awaitable[list[T]]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], T],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[T], object] | None = None,
        limit: Rate | None = None,
    ) -> Awaitable[list[T]]: ...
    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *,
        retry: RetryPolicy | None = None,
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
        undo: Callable[[Any], object] | None = None,
        limit: Rate | None = None,
    ) -> Any:
        """Awaitable :meth:`Step.map`."""
        return asyncio.gather(
            *(
                self._engine.submit(
                    FunctionCall(name, fn, (item,), retry, type, formerly, timeout, undo, limit),
                    joined=True,
                )
                for item in items
            )
        )

    def undo_all(self) -> Coroutine[Any, Any, None]:
        """Awaitable :meth:`Step.undo_all`."""
        return self._engine.call(UndoAll())

    def sleep(
        self, name: str, duration: Duration, *, formerly: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Awaitable :meth:`Step.sleep`."""
        return self._engine.call(Sleep(name, duration, formerly))

    def sleep_until(
        self, name: str, when: datetime, *, formerly: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """Awaitable :meth:`Step.sleep_until`."""
        return self._engine.call(SleepUntil(name, when, formerly))

    @overload
    def run_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[O], object] | None = None,
    ) -> Coroutine[Any, Any, O]: ...
    @overload
    def run_workflow(
        self,
        workflow: Startable[I, O],
        input: I,
        *,
        name: str | None = None,
        formerly: str | None = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[O], object] | None = None,
    ) -> Coroutine[Any, Any, O]: ...
    @overload
    def run_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[Any], object] | None = None,
    ) -> Coroutine[Any, Any, Any]: ...
    def run_workflow(
        self,
        workflow: Startable[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[Any], object] | None = None,
    ) -> Any:
        """Awaitable :meth:`Step.run_workflow`."""
        return self._engine.call(
            ChildRunCall(
                workflow,
                input,
                name,
                version,
                timeout,
                type,
                formerly,
                priority,
                attributes,
                undo,
            )
        )

    @overload
    def submit_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[O], object] | None = None,
    ) -> Awaitable[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: Startable[I, O],
        input: I,
        *,
        name: str | None = None,
        formerly: str | None = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[O], object] | None = None,
    ) -> Awaitable[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: str,
        input: Any = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[Any], object] | None = None,
    ) -> Awaitable[Any]: ...
    def submit_workflow(
        self,
        workflow: Startable[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        formerly: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
        priority: int | None = None,
        attributes: Mapping[str, str] | None = None,
        undo: Callable[[Any], object] | None = None,
    ) -> Any:
        """Do as :meth:`run_workflow` in a task that starts at once; return an awaitable."""
        return self._engine.submit(
            ChildRunCall(
                workflow,
                input,
                name,
                version,
                timeout,
                type,
                formerly,
                priority,
                attributes,
                undo,
            )
        )

    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: type[T],
        timeout: Timeout | None = None,
        name: str | None = None,
        formerly: str | None = None,
        on_invalid: OnInvalid = "fail",
    ) -> Coroutine[Any, Any, Signal[T] | None]: ...
    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
        formerly: str | None = None,
        on_invalid: OnInvalid = "fail",
    ) -> Coroutine[Any, Any, Signal[Any] | None]: ...
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
        formerly: str | None = None,
        on_invalid: OnInvalid = "fail",
    ) -> Any:
        """Awaitable :meth:`Step.wait_for_signal`."""
        return self._engine.call(SignalWait(signal, timeout, type, name, formerly, on_invalid))

    def send_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        name: str | None = None,
        buffer: bool = False,
        formerly: str | None = None,
    ) -> Coroutine[Any, Any, list[str]]:
        """Awaitable :meth:`Step.send_signal`."""
        return self._engine.call(SignalSend(signal, data, name, buffer, formerly))
