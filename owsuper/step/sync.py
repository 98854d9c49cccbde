"""The steps of ``def`` workflows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from concurrent.futures import Future
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
    from owsuper.step.engines import SyncEngine

T = TypeVar("T")
A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741
Ts = TypeVarTuple("Ts")


class Step(RunInfo):
    """The steps of a ``def`` workflow.

    Steps are told apart by name. A name that is used again gets a number (``charge``,
    ``charge:1``), so the order of calls must be the same whenever the function is replayed.
    """

    __slots__ = ("_engine",)

    def __init__(self, engine: SyncEngine) -> None:
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
        return self._engine.call(FunctionCall(name, fn, args, retry, type))

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
        futures = [
            self._engine.submit(FunctionCall(name, fn, (item,), retry, type)) for item in items
        ]
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
        self._engine.call(Sleep(name, duration))

    def sleep_until(self, name: str, when: datetime) -> None:
        """Wait durably until ``when``, an aware datetime; raises ConfigurationError for another.

        A time that has passed is over at once.
        """
        self._engine.call(SleepUntil(name, when))

    @overload
    def run_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> O: ...
    @overload
    def run_workflow(
        self,
        workflow: Startable[I, O],
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
        workflow: Startable[Any, Any] | str,
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
        return self._engine.call(ChildRunCall(workflow, input, name, version, timeout, type))

    @overload
    def submit_workflow(
        self,
        workflow: Startable[None, O],
        input: None = None,
        *,
        name: str | None = None,
        timeout: Timeout | None = None,
    ) -> Future[O]: ...
    @overload
    def submit_workflow(
        self,
        workflow: Startable[I, O],
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
        workflow: Startable[Any, Any] | str,
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
        return self._engine.submit(ChildRunCall(workflow, input, name, version, timeout, type))

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
        return self._engine.call(SignalWait(signal, timeout, type, name))

    def send_signal(
        self, signal: str, data: Any = None, *, name: str | None = None, buffer: bool = False
    ) -> list[str]:
        """Send ``signal`` to all runs that wait for it, once; the ids of the runs that it reached.

        With ``buffer`` a signal that reaches nobody is kept for the first who comes to wait for
        it. ``name`` is the step's, if not the signal's. Raises NotSerializable.
        """
        reached: list[str] = self._engine.call(SignalSend(signal, data, name, buffer))
        return reached
