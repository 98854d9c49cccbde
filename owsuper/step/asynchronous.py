"""The steps of ``async def`` workflows."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, TypeVarTuple, overload

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
)
from owsuper.step.transactions import AsyncTransactions

if TYPE_CHECKING:
    from owsuper.core.model import Signal
    from owsuper.core.retry import RetryPolicy
    from owsuper.step.engines import AsyncEngine

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
        timeout: Duration | None = None,
        type: Any = None,
        formerly: str | None = None,
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
    ) -> Any:
        """Call ``fn(*args)``, store its result and return it. Replays return the stored result.

        An ``async def`` function runs on the event loop, any other function in a thread. All
        else is as in :meth:`Step.run`.
        """
        return self._engine.call(FunctionCall(name, fn, args, retry, type, formerly, timeout))

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
    ) -> Any:
        """Do as :meth:`run` in a task that starts at once; return an awaitable of the result.

        The run does not end before the steps that it has submitted.
        """
        return self._engine.submit(FunctionCall(name, fn, args, retry, type, formerly, timeout))

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
    ) -> Any:
        """Awaitable :meth:`Step.map`."""
        return asyncio.gather(
            *(
                self._engine.submit(
                    FunctionCall(name, fn, (item,), retry, type, formerly, timeout), joined=True
                )
                for item in items
            )
        )

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
    ) -> Any:
        """Awaitable :meth:`Step.run_workflow`."""
        return self._engine.call(
            ChildRunCall(workflow, input, name, version, timeout, type, formerly)
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
    ) -> Any:
        """Do as :meth:`run_workflow` in a task that starts at once; return an awaitable."""
        return self._engine.submit(
            ChildRunCall(workflow, input, name, version, timeout, type, formerly)
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

    def patched(self, name: str) -> bool:
        """Return whether this run takes the new branch of code that has changed.

        A run whose earlier executions have come further than this place takes the old branch:
        False. Any other run, new or not yet here, takes the new one: True. The answer is recorded,
        and is the same at each replay and at each call with this ``name``. It is not awaited.

        Raises StepUsageError for a call in the function of a step, or a name that cannot be used,
        and StepLimitExceeded.
        """
        return self._engine.patched(name)

    @overload
    def continue_as_new(self, input: Any = None) -> NoReturn: ...
    @overload
    def continue_as_new(self, input: I, *, workflow: Startable[I, Any]) -> NoReturn: ...
    def continue_as_new(
        self, input: Any = None, *, workflow: Startable[Any, Any] | None = None
    ) -> NoReturn:
        """End this run, and begin a new one with this ``input`` in its place. Does not return.

        The successor begins without a history. It has the workflow of this run, or ``workflow``,
        its idempotency key, its deadline and its parent: who waits for the result of this run gets
        that of the last successor. This run ends as completed, without a result, and the successor
        starts in the same transaction. Steps that still run end first.

        This is no coroutine: it ends the run when it is called, awaited or not.

        Raises InvalidData if the input does not fit the workflow, NotSerializable, and
        StepUsageError if the workflow function itself does not call it.
        """
        self._engine.continue_as_new(input, workflow)
