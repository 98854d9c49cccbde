"""What user code may call inside a workflow.

``def`` workflows get a :class:`Step`, ``async def`` workflows an :class:`AsyncStep`: the same
names and arguments, blocking and awaitable.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import Future
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, TypeVarTuple, overload

from owsuper.core.durations import Duration

if TYPE_CHECKING:
    from owsuper.core.model import ClaimedRun, Signal
    from owsuper.core.retry import RetryPolicy
    from owsuper.workflow import Workflow

T = TypeVar("T")
A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741
Ts = TypeVarTuple("Ts")

Timeout: TypeAlias = Duration | datetime
"""How long to wait, or until when: a duration, or an aware datetime."""


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
    def parallel(self, branches: tuple[Callable[[], Any], ...]) -> list[Any]: ...
    def sleep_until(self, name: str, when: datetime) -> None: ...
    def run_child(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any,
        *,
        name: str | None,
        version: str | None,
        timeout: Timeout | None,
        type: Any,
    ) -> Any: ...
    def submit_child(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any,
        *,
        name: str | None,
        version: str | None,
        timeout: Timeout | None,
        type: Any,
    ) -> Future[Any]: ...
    def wait_for_signal(
        self, signal: str, *, timeout: Timeout | None, type: Any, name: str | None
    ) -> Any: ...
    def send_signal(
        self, signal: str, data: Any, *, name: str | None, buffer: bool
    ) -> list[str]: ...


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
    def sleep_until(self, name: str, when: datetime) -> Coroutine[Any, Any, None]: ...
    def run_child(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any,
        *,
        name: str | None,
        version: str | None,
        timeout: Timeout | None,
        type: Any,
    ) -> Coroutine[Any, Any, Any]: ...
    def submit_child(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any,
        *,
        name: str | None,
        version: str | None,
        timeout: Timeout | None,
        type: Any,
    ) -> Awaitable[Any]: ...
    def wait_for_signal(
        self, signal: str, *, timeout: Timeout | None, type: Any, name: str | None
    ) -> Coroutine[Any, Any, Any]: ...
    def send_signal(
        self, signal: str, data: Any, *, name: str | None, buffer: bool
    ) -> Coroutine[Any, Any, list[str]]: ...


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

    def parallel(self, *branches: Callable[[], T]) -> list[T]:
        """Call ``branches`` side by side, each in a thread of its own; what they return, in order.

        A branch may use this step object as the workflow does: for steps, sleeps, children and
        signals. The names of its steps must not be those of another branch's, because whose
        comes first is not the same on every pass. All branches are waited for; then the error of
        the first that failed is raised. When all of them wait, so does the run.
        """
        return self._engine.parallel(branches)

    def sleep(self, name: str, duration: Duration) -> None:
        """Wait durably: the process is free meanwhile, and a restart does not restart the wait.

        ``duration`` is a timedelta, seconds, or text such as ``"1h"``.
        Raises InvalidDuration.
        """
        self._engine.sleep(name, duration)

    def sleep_until(self, name: str, when: datetime) -> None:
        """Wait durably until ``when``, an aware datetime; raises ConfigurationError for another.

        A time that has passed is over at once.
        """
        self._engine.sleep_until(name, when)

    @overload
    def run_workflow(
        self,
        workflow: Workflow[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> O: ...
    @overload
    def run_workflow(
        self,
        workflow: Workflow[I, O],
        input: I,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> O: ...
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
    ) -> Any: ...
    def run_workflow(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Start a run of ``workflow`` as a child of this one, and wait durably for its result.

        For a name, ``version`` says which one is meant, the input goes unchecked, and the result
        comes back as plain JSON, or as ``type``. ``name`` is the step's, if not the workflow's.
        The child is a run like others; whoever has a worker for it executes it, in Python or in
        TypeScript. It starts once, however often this run is replayed. After ``timeout`` (a
        year, if not given) this one waits no longer; the child goes on.

        Raises ChildFailed, ChildCanceled or ChildTimedOut, which may be caught; StepFailed when
        the input is not one that the workflow takes; InvalidDuration.
        """
        return self._engine.run_child(
            workflow, input, name=name, version=version, timeout=timeout, type=type
        )

    @overload
    def submit_workflow(
        self,
        workflow: Workflow[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Future[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: Workflow[I, O],
        input: I,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Future[O]: ...
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
    ) -> Future[Any]: ...
    def submit_workflow(
        self,
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Like :meth:`run_workflow`, beside the other steps; returns a future.

        Children are started with the next write, and so side by side.
        """
        return self._engine.submit_child(
            workflow, input, name=name, version=version, timeout=timeout, type=type
        )

    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: type[T],
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Signal[T] | None: ...
    @overload
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Signal[Any] | None: ...
    def wait_for_signal(
        self,
        signal: str,
        *,
        type: Any = None,
        timeout: Timeout | None = None,
        name: str | None = None,
    ) -> Any:
        """Wait durably until somebody sends ``signal``; what was sent is its ``data``.

        None when nothing came within ``timeout`` (a year, if not given). The data comes back as
        plain JSON, or as ``type``. ``name`` is the step's, if not the signal's.

        One sending reaches all who wait at that time. What was sent before is lost, unless it was
        sent with ``buffer=True``.

        Raises StepFailed when the data does not fit ``type``, InvalidDuration, and StepUsageError
        when another step of this run, which the code has left, still waits for the signal.
        """
        return self._engine.wait_for_signal(signal, timeout=timeout, type=type, name=name)

    def send_signal(
        self, signal: str, data: Any = None, *, name: str | None = None, buffer: bool = False
    ) -> list[str]:
        """Send ``signal`` to all runs that wait for it, once; the ids of the runs that it reached.

        With ``buffer`` a signal that reaches nobody is kept for the first who comes to wait for
        it. ``name`` is the step's, if not the signal's. Raises NotSerializable.
        """
        return self._engine.send_signal(signal, data, name=name, buffer=buffer)


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

    def sleep_until(self, name: str, when: datetime) -> Coroutine[Any, Any, None]:
        """Wait durably until ``when``, an aware datetime; raises ConfigurationError for another.

        A time that has passed is over at once.
        """
        return self._engine.sleep_until(name, when)

    @overload
    def run_workflow(
        self,
        workflow: Workflow[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Coroutine[Any, Any, O]: ...
    @overload
    def run_workflow(
        self,
        workflow: Workflow[I, O],
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
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Start a run of ``workflow`` as a child of this one, and wait durably for its result.

        For a name, ``version`` says which one is meant, the input goes unchecked, and the result
        comes back as plain JSON, or as ``type``. ``name`` is the step's, if not the workflow's.
        The child is a run like others; whoever has a worker for it executes it, in Python or in
        TypeScript. It starts once, however often this run is replayed. After ``timeout`` (a
        year, if not given) this one waits no longer; the child goes on.

        Raises ChildFailed, ChildCanceled or ChildTimedOut, which may be caught; StepFailed when
        the input is not one that the workflow takes; InvalidDuration.
        """
        return self._engine.run_child(
            workflow, input, name=name, version=version, timeout=timeout, type=type
        )

    @overload
    def submit_workflow(
        self,
        workflow: Workflow[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Awaitable[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: Workflow[I, O],
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
        workflow: Workflow[Any, Any] | str,
        input: Any = None,
        *,
        name: str | None = None,
        version: str | None = None,
        type: Any = None,
        timeout: Timeout | None = None,
    ) -> Any:
        """Like :meth:`run_workflow`, started at once as a task; await it for the result."""
        return self._engine.submit_child(
            workflow, input, name=name, version=version, timeout=timeout, type=type
        )

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
        """Wait durably until somebody sends ``signal``; what was sent is its ``data``.

        None when nothing came within ``timeout`` (a year, if not given). The data comes back as
        plain JSON, or as ``type``. ``name`` is the step's, if not the signal's.

        One sending reaches all who wait at that time. What was sent before is lost, unless it was
        sent with ``buffer=True``.

        Raises StepFailed when the data does not fit ``type``, InvalidDuration, and StepUsageError
        when another step of this run, which the code has left, still waits for the signal.
        """
        return self._engine.wait_for_signal(signal, timeout=timeout, type=type, name=name)

    def send_signal(
        self, signal: str, data: Any = None, *, name: str | None = None, buffer: bool = False
    ) -> Coroutine[Any, Any, list[str]]:
        """Send ``signal`` to all runs that wait for it, once; the ids of the runs that it reached.

        With ``buffer`` a signal that reaches nobody is kept for the first who comes to wait for
        it. ``name`` is the step's, if not the signal's. Raises NotSerializable.
        """
        return self._engine.send_signal(signal, data, name=name, buffer=buffer)
