"""The steps of ``def`` workflows."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import Future
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
from owsuper.step.transactions import SyncTransactions

if TYPE_CHECKING:
    from owsuper.core.limits import Rate
    from owsuper.core.model import Signal
    from owsuper.core.retry import RetryPolicy

T = TypeVar("T")
A = TypeVar("A")
I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise
Ts = TypeVarTuple("Ts")


class Step(SyncTransactions):
    """The steps of a ``def`` workflow.

    The name of a step identifies its stored result. A name that is used again gets a number
    (``charge``, ``charge:1``), so every execution of the function must make the calls of one
    name in the same order.
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
    ) -> T: ...
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
    ) -> T: ...
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

        ``fn`` may be async. Its result must fit JSON. The value returned here has the annotated
        return type of ``fn``, or ``type`` if that is given, else it is plain JSON. It is the same
        value on the first execution and on every replay.

        If ``fn`` raises, the step is retried by ``retry``. By default, a step has ten attempts,
        with a pause of one second after the first, which doubles with each attempt. This method
        raises only if there is no further attempt.

        An attempt that takes longer than ``timeout`` has failed with StepTimedOut. An async ``fn``
        is cancelled. Any other ``fn`` gets a few seconds more (``--kill-grace``), and then its
        process is killed. Without ``timeout``, the workflow's ``step_timeout`` applies.

        ``formerly``, here and in all other steps, is the name that the step had before. A run that
        has recorded the step under that name goes on with what is recorded.

        ``undo(result)`` is called if the run fails or is canceled after this step: the undos of all
        steps that have completed are called, the last step's first, as steps of a run of their own.
        ``undo`` may be async, and what it returns is dropped. See docs/compensation.md.

        With a ``limit``, each attempt waits for its turn before it begins. The run needs no process
        meanwhile. A limit with a name is shared by all steps that name it. See docs/limits.md.

        Raises StepFailed or StepTimedOut, which may be caught, and StepUsageError,
        StepLimitExceeded, NonDeterminismError.
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
    ) -> Future[T]: ...
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
    ) -> Future[T]: ...
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
        """Do as :meth:`run` in a thread, beside other steps; return a future of the result.

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
    ) -> list[T]: ...
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
    ) -> list[T]: ...
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
        """Run ``fn(item)`` as a step for each item, in parallel; return the results in order.

        The steps are ``name``, ``name:1`` and so on. Raises as :meth:`run` does.
        """
        futures = [
            self._engine.submit(
                FunctionCall(name, fn, (item,), retry, type, formerly, timeout, undo, limit),
                joined=True,
            )
            for item in items
        ]
        return [future.result() for future in futures]

    def undo_all(self) -> None:
        """Undo the steps with an ``undo`` that have completed, now; the last one first.

        Each undo is a step of this run, with the default retries. The run may go on, and a step
        that is undone is not undone again. Call it from the workflow function itself.

        Raises StepFailed if an undo fails for good; the undos after it are left.
        """
        self._engine.call(UndoAll())

    def parallel(self, *branches: Callable[[], T]) -> list[T]:
        """Call each branch in a thread of its own; return their results in order.

        A branch may use this step object for steps, sleeps, child runs and signals. Two branches
        must not use the same step name, because their order differs between executions. This
        waits for all branches, and then raises the error of the first branch that failed. The
        run parks while all branches wait.
        """
        return self._engine.parallel(branches)

    def sleep(self, name: str, duration: Duration, *, formerly: str | None = None) -> None:
        """Wait durably for ``duration``: a timedelta, seconds, or text such as ``"1h"``.

        The run needs no process meanwhile, and a restart does not begin the wait anew.
        Raises InvalidDuration.
        """
        self._engine.call(Sleep(name, duration, formerly))

    def sleep_until(self, name: str, when: datetime, *, formerly: str | None = None) -> None:
        """Wait durably until ``when``, an aware datetime. Returns at once if that has passed.

        Raises ConfigurationError for a datetime without a time zone.
        """
        self._engine.call(SleepUntil(name, when, formerly))

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
    ) -> O: ...
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
    ) -> O: ...
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
    ) -> Any: ...
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
        """Start a child run of ``workflow``, wait durably for its end and return its result.

        A workflow may be given by name. ``version`` then selects its version, the input is not
        checked, and the result is plain JSON, or of type ``type``. ``name`` is the name of the
        step; without it, the step has the workflow's name. Any worker that has the workflow
        executes the child run, in Python or in TypeScript. Replays do not start it again.
        After ``timeout`` (by default one year), this run stops waiting and the child run goes on.
        ``priority`` is that of the child run, as in :meth:`Workflow.run`.
        The child run has the ``attributes`` that are given here, and none of this run.

        Raises ChildFailed, ChildCanceled or ChildTimedOut, which may be caught, StepFailed if the
        workflow does not take the input, and InvalidDuration.
        """
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
    ) -> Future[O]: ...
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
    ) -> Future[O]: ...
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
    ) -> Future[Any]: ...
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
        """Do as :meth:`run_workflow` beside other steps; return a future of the result.

        The child run starts with the next write of this run, so several of them run in parallel.
        """
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
    ) -> Signal[T] | None: ...
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
    ) -> Signal[Any] | None: ...
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
        """Wait durably for ``signal`` and return it with its ``data``; None after ``timeout``.

        The timeout is one year by default. The data is plain JSON, or of type ``type``. ``name``
        is the name of the step; without it, the step has the signal's name.

        A signal reaches all runs that wait for it when it is sent. An earlier signal is lost,
        unless it was sent with ``buffer=True``.

        A signal whose data does not fit ``type`` fails the step. With ``on_invalid="skip"`` it is
        logged and kept (``list_skipped_signals``), and the step waits on, with the same timeout.

        Raises StepFailed if the data does not fit ``type``, InvalidDuration, ConfigurationError,
        and StepUsageError if another step of this run still waits for the signal although the
        code has left it.
        """
        return self._engine.call(SignalWait(signal, timeout, type, name, formerly, on_invalid))

    def send_signal(
        self,
        signal: str,
        data: Any = None,
        *,
        name: str | None = None,
        buffer: bool = False,
        formerly: str | None = None,
    ) -> list[str]:
        """Send ``signal`` once to all runs that wait for it; return the ids of these runs.

        With ``buffer``, a signal for which no run waits is kept for the first run that will.
        ``name`` is the name of the step; without it, the step has the signal's name.
        Raises NotSerializable.
        """
        reached: list[str] = self._engine.call(SignalSend(signal, data, name, buffer, formerly))
        return reached
