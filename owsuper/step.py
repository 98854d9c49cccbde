"""What user code may call inside a workflow.

``def`` workflows get a :class:`Step`, ``async def`` workflows an :class:`AsyncStep`: the same
names and arguments, blocking and awaitable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, TypeVarTuple, overload

from owsuper.core.durations import Duration

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun
    from owsuper.core.retry import RetryPolicy

T = TypeVar("T")
A = TypeVar("A")
Ts = TypeVarTuple("Ts")


class BlockingEngine(Protocol):
    """Runs the steps of a ``def`` workflow."""

    run: ClaimedRun

    def call(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        retry: RetryPolicy | None,
        type: Any,
    ) -> Any: ...
    def submit(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        retry: RetryPolicy | None,
        type: Any,
    ) -> Future[Any]: ...
    def sleep(self, name: str, duration: Duration) -> None: ...


class AwaitableEngine(Protocol):
    """Runs the steps of an ``async def`` workflow."""

    run: ClaimedRun

    def call(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        retry: RetryPolicy | None,
        type: Any,
    ) -> Coroutine[Any, Any, Any]: ...
    def submit(
        self,
        name: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        *,
        retry: RetryPolicy | None,
        type: Any,
    ) -> Awaitable[Any]: ...
    def sleep(self, name: str, duration: Duration) -> Coroutine[Any, Any, None]: ...


class _Facts:
    """What a workflow may know about its own run."""

    __slots__ = ("_run",)

    def __init__(self, run: ClaimedRun) -> None:
        self._run = run

    @property
    def run_id(self) -> str:
        """The id of this run."""
        return self._run.run_id

    @property
    def workflow_name(self) -> str:
        return self._run.workflow_name

    @property
    def version(self) -> str | None:
        """The version that this run was started with."""
        return self._run.version

    @property
    def created_at(self) -> datetime:
        """When the run was created, by the database's clock."""
        return self._run.created_at

    @property
    def started_at(self) -> datetime:
        """When the run was first claimed since its last retry, by the database's clock."""
        return self._run.started_at


class Step(_Facts):
    """The steps of a ``def`` workflow.

    Steps are told apart by name. A name that is used again gets a number (``charge``,
    ``charge:1``), so the order of calls must be the same whenever the function is replayed.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: BlockingEngine) -> None:
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
    ) -> T: ...
    @overload
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> T: ...
    def run(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """Call ``fn(*args)`` once and remember its result; later passes recall it.

        The result must fit JSON. It comes back as the type that ``fn`` is annotated to return,
        or as ``type`` where that is given, else as plain JSON: the same value on the first
        execution and on every replay. ``fn`` may be async, too.

        When ``fn`` raises, the step is tried again by ``retry`` (by default ten attempts, one
        second apart at first, doubling). A failure that will be retried never shows here.

        Raises StepFailed when the attempts are used up; it may be caught.
        """
        return self._engine.call(name, fn, args, retry=retry, type=type)

    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Coroutine[Any, Any, T]],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Future[T]: ...
    @overload
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], T],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Future[T]: ...
    def submit(
        self,
        name: str,
        fn: Callable[[*Ts], Any],
        *args: *Ts,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """Like :meth:`run`, beside the other steps, in a thread; returns a future.

        The run does not end before the steps that it submitted.
        """
        return self._engine.submit(name, fn, args, retry=retry, type=type)

    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], Coroutine[Any, Any, T]],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> list[T]: ...
    @overload
    def map(
        self,
        name: str,
        fn: Callable[[A], T],
        items: Iterable[A],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> list[T]: ...
    def map(
        self,
        name: str,
        fn: Callable[..., Any],
        items: Iterable[Any],
        *,
        retry: RetryPolicy | None = None,
        type: Any = None,
    ) -> Any:
        """One step for each item (``name``, ``name:1``, …), side by side; results in order."""
        futures = [self._engine.submit(name, fn, (item,), retry=retry, type=type) for item in items]
        return [future.result() for future in futures]

    def sleep(self, name: str, duration: Duration) -> None:
        """Wait durably: the process is free meanwhile, and a restart does not restart the wait.

        ``duration`` is a timedelta, seconds, or text such as ``"1h"``.
        Raises InvalidDuration.
        """
        self._engine.sleep(name, duration)


class AsyncStep(_Facts):
    """The steps of an ``async def`` workflow; parallel by ``asyncio.gather`` or ``TaskGroup``.

    Steps are told apart by name. A name that is used again gets a number (``charge``,
    ``charge:1``), so the order of calls must be the same whenever the function is replayed.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: AwaitableEngine) -> None:
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
        return self._engine.call(name, fn, args, retry=retry, type=type)

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
        return self._engine.submit(name, fn, args, retry=retry, type=type)

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
        """One step for each item (``name``, ``name:1``, …), side by side; results in order."""
        return asyncio.gather(
            *(self._engine.submit(name, fn, (item,), retry=retry, type=type) for item in items)
        )

    def sleep(self, name: str, duration: Duration) -> Coroutine[Any, Any, None]:
        """Wait durably: the process is free meanwhile, and a restart does not restart the wait.

        ``duration`` is a timedelta, seconds, or text such as ``"1h"``.
        Raises InvalidDuration.
        """
        return self._engine.sleep(name, duration)
