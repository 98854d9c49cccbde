"""Passes of ``async def`` workflows: the body is a task on the child's event loop.

A branch that waits (for a retry, for a sleep) awaits a future. When nothing else is going on
in the pass, the run leaves: the body is cancelled, and the record says why.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import time
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Final, TypeVar

from owsuper.child.execution.base import ABANDON, Abandon, Execution, Services
from owsuper.child.execution.idle import IdleDetector
from owsuper.child.execution.steps import generator_of
from owsuper.core.decisions import Wait
from owsuper.core.model import ClaimedRun, Outcome, Release
from owsuper.core.replay import Replay
from owsuper.core.steps.effects import (
    Answer,
    Call,
    Effect,
    EnsureChildRun,
    Flush,
    Pause,
    ReadAnswer,
    Record,
    Threw,
    Value,
)
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.unwind import Unwind, unwind
from owsuper.step.requests import Request

T = TypeVar("T")

_CLEAN_UP: Final = 10.0  # seconds for a body that was cancelled, until it is once more
_DEFER: Final = 0.002  # seconds a recorded result waits for company before it is written


class AsyncExecution(Execution):
    """One pass of an ``async def`` workflow; the engine behind ``AsyncStep``.

    All of it runs on the loop's thread, except ``lose`` and ``expire``.
    """

    def __init__(self, run: ClaimedRun, replay: Replay, services: Services, slot: int) -> None:
        super().__init__(run, replay, services, slot)
        self._loop = asyncio.get_running_loop()
        self._body: asyncio.Task[Any] | None = None
        self._idle_detector = IdleDetector(
            self._loop, self._is_body, self._leave_quietly, self._became_idle
        )
        self._submitted: set[asyncio.Task[Any]] = set()
        self._calling: set[asyncio.Task[Any]] = set()  # in which a step's function is under way
        self._stopped = False
        self._unwound_at: float | None = None  # time.monotonic() of the body's cancellation
        self._writing = asyncio.Lock()
        self._sent: asyncio.Future[None] | None = None  # a write, until somebody knows its end
        self._flush: asyncio.TimerHandle | None = None
        self._flushing: asyncio.Task[None] | None = None

    # --- what user code calls --------------------------------------------------------------

    def call(self, request: Request) -> Coroutine[Any, Any, Any]:
        spelled, steps = generator_of(self, request)
        return _named(spelled, self._drive(steps))

    def submit(self, request: Request) -> asyncio.Task[Any]:
        task = self._loop.create_task(self.call(request))
        self._submitted.add(task)
        return task

    # --- the driver ------------------------------------------------------------------------

    async def _drive(self, steps: StepGenerator) -> Any:
        """Perform the effects of ``steps``; its value."""
        try:
            effect = next(steps)
            while True:
                effect = steps.send(await self._perform(effect))
        except StopIteration as done:
            return done.value
        finally:
            steps.close()

    async def _perform(self, effect: Effect) -> Answer:
        match effect:
            case Flush():
                if self._writing.locked() or self._sent is not None or self.owes():
                    await self.flush()
                if time.monotonic() >= self.leased_until:
                    await self._confirm()
                if self.decided_outcome is not None:
                    raise unwind()
            case Call():
                return await self._call(effect)
            case Record(write):
                self._recorded.append(write)
                self.log_failed_step(write)
                if self._flush is None:
                    self._flush = self._loop.call_later(_DEFER, self._flush_soon)
            case ReadAnswer(attempt_id):
                return await self._ask(self.inquiries.look, attempt_id)
            case EnsureChildRun():
                child = await self._ask(self.inquiries.adopt, self.run, effect)
                if child is None:
                    self.decide(ABANDON)
                    raise unwind()
                return child
            case Pause(wait):
                await self._block(wait)
        return None

    async def _ask(self, ask: Callable[..., T], *what: Any) -> T:
        """The answer of the database, which a thread waits for."""
        with self._idle_detector.under_way():
            return await asyncio.wrap_future(self._services.writers.submit(ask, *what))

    async def _call(self, call: Call) -> Value | Threw:
        token = self.enter_step(call)
        task = asyncio.current_task()
        assert task is not None
        self._calling.add(task)
        self._idle_detector.begin()
        try:
            if _is_async(call.function):
                value = await call.function()
            else:
                value = await self._in_thread(call.function)
                if inspect.isawaitable(value):
                    value = await value
            answer: Value | Threw = Value(value)
        except Unwind:
            raise
        except BaseException as exc:  # SystemExit in a step is a failure of that step
            if isinstance(exc, asyncio.CancelledError) and _is_cancelled():
                raise  # whoever cancelled the step is told; its attempt is abandoned
            if isinstance(exc, GeneratorExit) and asyncio.current_task() is not task:
                raise  # nobody awaits the step any more
            answer = Threw(exc)
        finally:
            self._idle_detector.end()
            self._calling.discard(task)
            self.leave_step(call, token)
        self.exit_if_forked(answer)
        return answer

    async def _confirm(self) -> None:
        """Make sure that the run is still ours."""
        await self._ask(self._services.leases.confirm, self)

    async def _in_thread(self, function: Callable[[], Any]) -> Any:
        """Call ``function`` in a thread; the pass stays busy until it returns, cancelled or not."""
        job = self._services.threads.submit(copy_context().run, self._call_in_thread, function)
        self._idle_detector.begin()
        job.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._idle_detector.end))
        return await asyncio.wrap_future(job)

    def _call_in_thread(self, function: Callable[[], Any]) -> Any:
        try:
            value = function()
        except BaseException as exc:
            self.exit_if_forked(Threw(exc))
            raise
        self.exit_if_forked(Value(value))
        return value

    # --- waiting ---------------------------------------------------------------------------

    async def _block(self, wait: Wait) -> None:
        """Await the end of ``wait``. Raises Unwind or CancelledError when the run leaves."""
        end = time.monotonic() + self.pause_of(wait)
        while (left := end - time.monotonic()) > 0:
            if self.decided_outcome is not None:
                raise unwind()
            await self._idle_detector.wait(wait, left)
        if self.decided_outcome is not None:
            raise unwind()

    def _is_body(self, task: asyncio.Task[Any] | None) -> bool:
        return task is self._body

    def _leave_quietly(self, waits: list[Wait]) -> None:
        if self.decided_outcome is None:
            self.leave(waits)
            self._unwind()

    def _became_idle(self) -> None:
        if self._services.stopping.is_set():
            self._loop.call_soon(self._give_back)

    def abandon(self) -> None:
        super().abandon()
        self._loop.call_soon_threadsafe(self._cancel_all)

    def fail_at_deadline(self) -> None:
        super().fail_at_deadline()
        self._loop.call_soon_threadsafe(self._cancel_all)

    def _cancel_all(self) -> None:
        """Unwind, and do not wait for the steps that are under way either."""
        if not self._stopped:
            self._stopped = True
            for task in self._calling:
                task.cancel()
        self._unwind()

    def interrupt(self) -> None:
        """This process must stop: give the run back as soon as no step is under way."""
        self._loop.call_soon_threadsafe(self._give_back)

    def _give_back(self) -> None:
        if not self._idle_detector.busy and not self._ended:
            self.decide(Release())
            self._unwind()

    def _unwind(self) -> None:
        """Cancel the body, once: from then on it is cleaning up."""
        if self._unwound_at is None:
            self._cancel_body()
        self._idle_detector.cancel()

    def _cancel_body(self) -> None:
        if self._body is not None:
            self._unwound_at = time.monotonic()
            self._body.cancel()

    # --- writes ----------------------------------------------------------------------------

    async def flush(self, outcome: Outcome | None = None) -> None:
        """Write what is recorded, and how the run ends if that is known.

        Raises Unwind when the lease turns out to be lost.
        """
        writing = self._writing.locked() or self._sent is not None
        if not self._recorded and outcome is None and not writing:
            return
        with self._idle_detector.under_way():
            try:
                async with self._writing:
                    await self._await_sent()
                    self.check_refused(outcome)
                    write = self.take_recorded(outcome)
                    if write is not None:
                        self._sent = self._services.committer.begin(write)
                        await self._await_sent()
            except Exception as exc:
                self.write_failed(exc)
                raise unwind() from None

    async def _await_sent(self) -> None:
        """Await the write that is on its way; raises what became of it.

        A branch that is cancelled meanwhile leaves it to whoever comes next: it happens all the
        same, and the next step may not begin before.
        """
        if (sent := self._sent) is not None:
            with contextlib.suppress(Exception):
                await asyncio.shield(sent)
            self._sent = None
            sent.result()

    def _flush_soon(self) -> None:
        self._flush = None
        if self._recorded:
            self._flushing = self._loop.create_task(self._flush_deferred())

    async def _flush_deferred(self) -> None:
        try:
            await self.flush()
        except Unwind:
            self._unwind()

    # --- the body --------------------------------------------------------------------------

    async def run_body(self, body: Coroutine[Any, Any, Value | Threw]) -> Value | Threw:
        """How ``body`` ended, which must not raise. Raises CancelledError when the run left."""
        task = self._loop.create_task(body)
        self._body = task
        try:
            while not task.done():
                await asyncio.wait({task}, timeout=1.0)
                if self.decided_outcome is not None and not task.done():
                    self._unwind()
                    if time.monotonic() - (self._unwound_at or 0.0) > _CLEAN_UP:
                        self._cancel_body()  # it swallowed the last one, or has had its time
            return task.result()
        finally:
            self._body = None

    async def join(self, returned: bool) -> Outcome | Abandon | None:
        """The body is over: let the submitted steps settle. The verdict, if they made one.

        When the body ``returned``, steps that wait for a retry make the run wait; when it
        raised, they are dropped.
        """
        self._ended = True
        if returned and self._submitted:
            while pending := [task for task in self._submitted if not task.done()]:
                await asyncio.wait(pending, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        await self._idle_detector.idle()  # what is under way is recorded, not cancelled
        for task in self._submitted:
            task.cancel()
        await self._idle_detector.idle()
        return self.decided_outcome


def _named(name: str, coroutine: Coroutine[Any, Any, Any]) -> Coroutine[Any, Any, Any]:
    """``coroutine``, called ``name`` when Python complains that nobody awaited it."""
    named: Any = coroutine  # what the type lacks, every coroutine of Python's own has
    named.__qualname__ = name
    return coroutine


def _is_cancelled() -> bool:
    """Whether somebody cancels this task, as opposed to a function that raised as if."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_async(function: Callable[[], Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 -- asked of its kind, not whether it is
    )
