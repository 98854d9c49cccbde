"""Executions of ``async def`` workflows: the body is a task on the child's event loop.

A branch that waits (for a retry, for a sleep) awaits a future. When every branch of the execution
waits, the run is parked: ``decided_outcome`` is set, and the body is cancelled.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final, NoReturn, TypeVar

from owsuper.child import stacks
from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import Operations, drive_async, is_async
from owsuper.child.execution.idle import IdleDetector
from owsuper.child.execution.operations import perform
from owsuper.child.execution.ordered_writes import OrderedWrites
from owsuper.child.execution.step_calls import StepCall, StepCalls, create_task
from owsuper.child.execution.steps import create_step
from owsuper.child.hard_stops import TimedCall
from owsuper.child.services import Services
from owsuper.core.decisions import Wait
from owsuper.core.model import ClaimedRun, Fail, Outcome, Release, StepWrite
from owsuper.core.replay import Replay
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.unwind import Unwind, unwind
from owsuper.errors import StepUsageError
from owsuper.step import AsyncStep, current
from owsuper.step.requests import Request, Startable
from owsuper.stored_error import EngineError, StoredError

T = TypeVar("T")

_CLEAN_UP: Final = 10.0  # seconds a cancelled body may take, until it is cancelled again
_DEFER: Final = 0.002  # seconds a recorded result waits for a common commit
_TURNS: Final = 10  # of the loop, in which a branch that does not wait calls its next step
_CHECK_PERIOD: Final = 1.0  # seconds between two checks of a running body


class AsyncExecution(Execution):
    """One execution of an ``async def`` workflow; the engine behind ``AsyncStep``.

    Everything runs on the loop's thread, except ``abandon``, ``fail_at_deadline`` and
    ``interrupt``.
    """

    def __init__(
        self, run: ClaimedRun, replay: Replay, services: Services, slot: int, **options: Any
    ) -> None:
        super().__init__(run, replay, services, slot, **options)
        self._loop = asyncio.get_running_loop()
        self._loop_thread = threading.get_ident()
        self._step_threads: set[int] = set()  # threads of steps that are not async
        if self._loop.get_task_factory() is None:  # an application may have set one
            self._loop.set_task_factory(create_task)
        self._calls = StepCalls()
        self._body: asyncio.Task[Any] | None = None
        self._idle_detector = IdleDetector(
            self._loop, self._is_body, self._on_all_waiting, self._on_idle
        )
        self._submitted: set[asyncio.Task[Any]] = set()
        self._calling: set[asyncio.Task[Any]] = set()  # tasks that call a step's function
        self._stopped = False
        self._unwound_at: float | None = None  # time.monotonic() of the body's cancellation
        self._writes = OrderedWrites(services.committer.begin)
        self._flush_timer: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    @staticmethod
    def load(services: Services, load: Callable[[], Any]) -> asyncio.Future[Any]:
        """Call ``load`` in a thread."""
        return asyncio.wrap_future(services.step_threads.submit(load))

    # --- what user code calls --------------------------------------------------------------

    def step(self) -> AsyncStep:
        """Return the step object for the workflow function."""
        return AsyncStep(self)

    def call(self, request: Request) -> Coroutine[Any, Any, Any]:
        """Check a step and assign its key; return the coroutine that executes or replays it.

        Raises StepUsageError if an earlier step can no longer be awaited.
        """
        name, operations = self._prepare(request)
        return StepCall(name, self._calls, functools.partial(self._run_step, name, operations))

    @property
    def in_order(self) -> bool:
        """Whether the body has run no branches, other than steps that it awaits together."""
        return self._calls.in_order

    def is_body(self) -> bool:
        """Whether this is the body's task."""
        return asyncio.current_task() is self._body

    def submit(self, request: Request, joined: bool = False) -> asyncio.Task[Any]:
        """Execute or replay a step in a task of its own."""
        self._calls.in_order = self._calls.in_order and joined
        _, operations = self._prepare(request)
        task = asyncio.Task(drive_async(operations, self.block), loop=self._loop)
        self._submitted.add(task)
        return task

    def continue_as_new(self, input: Any, workflow: Startable[Any, Any] | None) -> NoReturn:
        """End the run, unless a step was called that nobody has awaited."""
        if self.decided_outcome is None and (error := self._calls.forgotten(ended=True)):
            self._fail(error)
            self._calls.cancel_unstarted()
            raise error
        super().continue_as_new(input, workflow)

    def _prepare(self, request: Request) -> tuple[str, Operations[Any]]:
        if self.decided_outcome is None and (error := self._calls.forgotten()) is not None:
            self._fail(error)
            raise error
        name, steps = create_step(self, request)
        return name, perform(self, steps)

    async def _run_step(self, name: str, operations: Operations[Any]) -> Any:
        self.check_not_ended(name)
        return await drive_async(operations, self.block)

    def _fail(self, error: StepUsageError) -> None:
        self.decide(Fail(StoredError.from_exception(error).to_json()))

    # --- user code ---------------------------------------------------------------------------

    async def run_body(
        self, fn: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> CallResult | CallError:
        """Await the workflow function in a task of its own.

        Cancel the task once the outcome is decided.
        """
        task = self._loop.create_task(self._await_body(fn, arguments))
        self._body = task
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=_CHECK_PERIOD)
                if self.decided_outcome is not None and not task.done():
                    self._unwind()
                    if time.monotonic() - (self._unwound_at or 0.0) > _CLEAN_UP:
                        self._cancel_body()  # it swallowed the cancellation, or takes too long
            return task.result()
        except asyncio.CancelledError as exc:
            return CallError(exc)
        finally:
            self._body = None

    async def _await_body(
        self, fn: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> CallResult | CallError:
        self._calls.enter()
        current.begin_run(arguments[0])
        if self.trace is not None:
            self.trace.enter()
        try:
            value = await fn(*arguments)
        except asyncio.CancelledError:
            raise
        except BaseException as exc:  # SystemExit must not end the loop's thread
            return CallError(exc)
        # Here, because in the next turn of the loop a forgotten task would begin its step.
        if self.decided_outcome is None and (error := self._calls.forgotten(ended=True)):
            self._fail(error)
            self._calls.cancel_unstarted()
            return CallError(error)
        return CallResult(value)

    async def call_function(
        self, function: Callable[[], Any], limit: TimedCall | None = None
    ) -> CallResult | CallError:
        """Call the function of a step: on the loop if it is async, else in a thread."""
        task = asyncio.current_task()
        assert task is not None
        self._calling.add(task)
        self._calls.leave()
        self._idle_detector.begin()
        try:
            if is_async(function):
                value = function()
            else:
                answer = await self._in_thread(function, limit)
                if isinstance(answer, CallError):
                    if isinstance(answer.exception, (Unwind, EngineError)):
                        raise answer.exception
                    return answer
                value = answer.value
            if inspect.isawaitable(value):
                value = await (value if limit is None else limit.await_in_time(value))
            return CallResult(value)
        except (Unwind, EngineError):
            raise
        except BaseException as exc:  # SystemExit in a step is a failure of that step
            if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                raise  # the task of the step is cancelled; the attempt is dropped
            if isinstance(exc, GeneratorExit) and asyncio.current_task() is not task:
                raise  # the generator is closed: nothing awaits the step
            return CallError(exc)
        finally:
            self._idle_detector.end()
            self._calling.discard(task)
            if asyncio.current_task() is task:
                self._calls.enter()

    async def _in_thread(
        self, function: Callable[[], Any], limit: TimedCall | None
    ) -> CallResult | CallError:
        """Call ``function`` in a thread.

        Counts as running until the function returns, even if the awaiting task is cancelled.
        """
        job = self.services.step_threads.submit(
            copy_context().run, self._call_in_thread, function, limit
        )
        self._idle_detector.begin()
        job.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._idle_detector.end))
        return await asyncio.wrap_future(job)

    def _call_in_thread(
        self, function: Callable[[], Any], limit: TimedCall | None
    ) -> CallResult | CallError:
        """Return what the function raises: an asyncio future does not take every exception."""
        answer: CallResult | CallError
        thread = threading.get_ident()
        self._step_threads.add(thread)
        try:
            answer = CallResult(function() if limit is None else limit.call(function))
        except BaseException as exc:
            answer = CallError(exc)
        self._step_threads.discard(thread)
        self.exit_if_forked(answer)
        return answer

    async def let_others_catch_up(self) -> None:
        """Let the loop turn until no branch calls a further step."""
        with self._idle_detector.running():
            calls = -1
            while calls != (calls := len(self.replay.asked)):
                for _ in range(_TURNS):
                    await asyncio.sleep(0)

    async def call_database(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call ``function``, which blocks on the database, in a thread."""
        with self._idle_detector.running():
            job = self.services.write_threads.submit(function, *arguments)
            return await asyncio.wrap_future(job)

    async def delay(self, seconds: float) -> None:
        """Wait for a moment in this task, which is not parked."""
        with self._idle_detector.running():
            await asyncio.sleep(seconds)

    # --- waiting -----------------------------------------------------------------------------

    async def block(self, wait: Wait) -> None:
        """Await the end of ``wait``.

        Raises Unwind or CancelledError once the outcome is decided.
        """
        end = time.monotonic() + self.pause_of(wait)
        while (left := end - time.monotonic()) > 0:
            if self.decided_outcome is not None:
                raise unwind()
            await self._idle_detector.wait(wait, left)
        if self.decided_outcome is not None:
            raise unwind()

    async def join(self, returned: bool) -> None:
        """Wait for submitted steps and running operations, then cancel the other tasks."""
        self._body_ended = True
        if returned and self._submitted:
            while pending := [task for task in self._submitted if not task.done()]:
                await asyncio.wait(
                    pending, timeout=_CHECK_PERIOD, return_when=asyncio.FIRST_COMPLETED
                )
        await self._idle_detector.idle()  # running step functions finish and are recorded
        for task in self._submitted:
            task.cancel()
        self._idle_detector.cancel_waits()  # of branches that the body has left
        await self._idle_detector.idle()

    def _is_body(self, task: asyncio.Task[Any] | None) -> bool:
        return task is self._body

    def _on_all_waiting(self, waits: list[Wait]) -> None:
        if self.decided_outcome is None:
            self.park(waits)
            self._unwind()

    def _on_idle(self) -> None:
        if self.services.stopping.is_set():
            self._loop.call_soon(self._release)

    # --- stopping ----------------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop, because the lease is lost: cancel the body and the running steps."""
        super().abandon()
        self._loop.call_soon_threadsafe(self._cancel_all)

    def fail_at_deadline(self) -> None:
        """Stop at the deadline: cancel the body and the running steps."""
        super().fail_at_deadline()
        self._loop.call_soon_threadsafe(self._cancel_all)

    def stack(self) -> str:
        """Return where the threads of steps are, or where the body waits or blocks the loop."""
        body = self._body
        found = [stacks.of_thread(thread) for thread in self._step_threads.copy()]
        found.append(stacks.of_awaitable(body and body.get_coro(), self._loop_thread))
        return "\n".join(filter(None, found))

    def interrupt(self) -> None:
        """Release the run as soon as no step is running."""
        self._loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        if not self._idle_detector.busy and not self._body_ended:
            self.decide(Release())
            self._unwind()

    def _cancel_all(self) -> None:
        """Cancel the running steps, once, and the body."""
        if not self._stopped:
            self._stopped = True
            for task in self._calling:
                task.cancel()
        self._unwind()

    def _unwind(self) -> None:
        """Cancel the body, once, so that it can clean up. Cancel all waits."""
        if self._unwound_at is None:
            self._cancel_body()
        self._idle_detector.cancel_waits()

    def _cancel_body(self) -> None:
        if self._body is not None:
            self._unwound_at = time.monotonic()
            self._body.cancel()

    # --- writes ------------------------------------------------------------------------------

    def record(self, write: StepWrite) -> None:
        """Keep ``write``, and schedule a flush in case nothing else writes it soon."""
        self._recorded.add(write)
        if self._flush_timer is None:
            self._flush_timer = self._loop.call_later(_DEFER, self._flush_soon)

    def needs_flush(self) -> bool:
        """Whether a write must become durable, or is in flight, before the next step."""
        return self._writes.busy or self._recorded.must_be_durable()

    async def flush(self, outcome: Outcome | None = None) -> None:
        """Write the recorded step attempts, and ``outcome`` if it is given.

        Raises Unwind if the lease is lost or the database refuses the write.
        """
        if not self._recorded and outcome is None and not self._writes.busy:
            return
        with self._idle_detector.running():
            try:
                await self._writes.send(functools.partial(self._take_recorded, outcome))
            except Exception as exc:
                self._write_failed(exc, self._writes.unwritten)
                raise unwind() from None

    def _flush_soon(self) -> None:
        self._flush_timer = None
        if self._recorded:
            self._flushing = self._loop.create_task(self._flush_deferred())

    async def _flush_deferred(self) -> None:
        try:
            await self.flush()
        except Unwind:
            self._unwind()


def _is_cancelled() -> bool:
    """Return whether the current task is being cancelled.

    A function may also raise CancelledError of its own.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
