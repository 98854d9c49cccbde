"""Executions of ``def`` workflows: the body has a thread, and submitted steps have others.

A branch that waits (for a retry, for a sleep) blocks the body's thread. A submitted step that waits
releases its thread. When every branch waits, the run is parked.
"""

from __future__ import annotations

import inspect
import threading
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Any

from owsuper.child import stacks
from owsuper.child.execution.branches import Branch, BranchingExecution, StepFuture
from owsuper.child.execution.drive import drive, run_to_pause
from owsuper.child.execution.operations import perform
from owsuper.child.execution.steps import create_step
from owsuper.child.hard_stops import TimedCall
from owsuper.child.loop_thread import LoopJob
from owsuper.child.services import Services
from owsuper.child.shortage import NoThread
from owsuper.child.threads import start_together
from owsuper.core.model import ClaimedRun, Outcome, StepWrite
from owsuper.core.replay import Replay
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.unwind import Unwind, unwind
from owsuper.errors import StepUsageError
from owsuper.step import Step, current
from owsuper.step.requests import Request
from owsuper.stored_error import EngineError

if TYPE_CHECKING:
    from owsuper.tracing.execution import ExecutionTrace


class SyncExecution(BranchingExecution):
    """One execution of a ``def`` workflow; the engine behind ``Step``."""

    def __init__(
        self, run: ClaimedRun, replay: Replay, services: Services, slot: int, **options: Any
    ) -> None:
        super().__init__(run, replay, services, slot, **options)
        self._body_thread = threading.get_ident()
        self._in_order = True
        self._branch_threads = {threading.get_ident()}  # threads of the body and of parallel()
        self._step_threads: set[int] = set()  # threads of submitted steps
        self._running_jobs: set[LoopJob] = set()  # async functions of running steps
        self._stopped = False
        self._writing = threading.Lock()

    @staticmethod
    def load(_services: Services, load: Callable[[], Any]) -> Any:
        """Call ``load`` in this thread."""
        return load()

    # --- what user code calls --------------------------------------------------------------

    def step(self) -> Step:
        """Return the step object for the workflow function."""
        return Step(self)

    def call(self, request: Request) -> Any:
        """Execute or replay a step in this thread; return its value or raise its error."""
        _, steps = create_step(self, request)
        if threading.get_ident() in self._branch_threads:
            return self._drive(steps)
        self._in_order = False
        self._begin_branches()  # a thread that user code started is a branch like the others
        try:
            return self._drive(steps)
        finally:
            self._end_branch()

    @property
    def in_order(self) -> bool:
        """Whether the body has run no branches beside itself, other than with ``step.map``."""
        return self._in_order

    def is_body(self) -> bool:
        """Whether this is the body's thread."""
        return threading.get_ident() == self._body_thread

    def submit(self, request: Request, joined: bool = False) -> StepFuture:
        """Execute or replay a step in another thread; return its future."""
        self._in_order = self._in_order and joined
        _, steps = create_step(self, request)
        branch = Branch(perform(self, steps), StepFuture(self))
        self._begin_branches()
        self._advance_soon(branch)
        return branch.future

    def parallel(self, branches: tuple[Callable[[], Any], ...]) -> list[Any]:
        """Call all ``branches`` at once, each in its own thread; return their results.

        Raises the error of the first branch that failed, once all branches are over. Gives the
        run back, with no branch begun, if this process cannot start a thread for each.
        """
        self._in_order = False
        for branch in branches:
            if not callable(branch):
                raise StepUsageError(
                    f"step.parallel() was given {branch!r:.60}, which is not callable. Pass"
                    " functions without arguments: step.parallel(partial(ship, order), bill)."
                )
        futures = [StepFuture(self) for _ in branches]
        self._begin_branches(len(branches))
        jobs = [
            partial(copy_context().run, partial(self._call_branch, branch, future))
            for branch, future in zip(branches, futures, strict=True)
        ]
        try:
            start_together(
                jobs,
                name="owsuper-branch",
                shortage=self.services.shortage,
                is_over=self._must_leave,
            )
        except NoThread as exc:
            for _ in branches:
                self._end_branch()
            raise self.give_back(exc) from exc
        for future in futures:
            self.await_done(future, None)
        return [future.result() for future in futures]

    def _call_branch(self, branch: Callable[[], Any], future: StepFuture) -> None:
        self._branch_threads.add(threading.get_ident())
        try:
            finish = partial(future.set_result, branch())
        except BaseException as exc:
            finish = partial(future.set_exception, exc)
        self._branch_threads.discard(threading.get_ident())
        self._end_branch(finish)

    # --- driving steps -----------------------------------------------------------------------

    def _drive(self, steps: StepGenerator) -> Any:
        return drive(perform(self, steps), self.block)

    def _advance_soon(self, branch: Branch) -> None:
        job = self.services.step_threads.submit(self._advance, branch)
        job.add_done_callback(partial(self._on_advanced, branch))

    def _on_advanced(self, branch: Branch, job: Future[None]) -> None:
        """Give the run back if the submitted step got no thread, or the engine failed in it."""
        if (exc := job.exception()) is not None:
            self._end_branch(partial(branch.future.set_exception, self.give_back(exc)))

    def _advance(self, branch: Branch) -> None:
        """Run the operations of a submitted step until it ends or waits."""
        thread = threading.get_ident()
        self._step_threads.add(thread)
        try:
            wait = branch.context.run(run_to_pause, branch.operations).wait
        except StopIteration as done:
            self._end_branch(partial(branch.future.set_result, done.value))
        except BaseException as exc:
            self._end_branch(partial(branch.future.set_exception, exc))
        else:
            self._suspend(branch, wait)
            resume = partial(self._resume, branch)
            self.services.timers.call_later(max(0.0, self.pause_of(wait)), resume)
        finally:
            self._step_threads.discard(thread)

    def _resume(self, branch: Branch) -> None:
        if self._reactivate(branch):
            self._advance_soon(branch)

    # --- user code ---------------------------------------------------------------------------

    def run_body(
        self, fn: Callable[..., Any], arguments: tuple[Any, ...]
    ) -> CallResult | CallError:
        """Call the workflow function in this thread."""
        return copy_context().run(_call, fn, arguments, self.trace)

    def call_function(
        self, function: Callable[[], Any], limit: TimedCall | None = None
    ) -> CallResult | CallError:
        """Call the function of a step in this thread; await its return value if possible."""
        try:
            value = function() if limit is None else limit.call(function)
            if inspect.isawaitable(value):
                value = self._await(value, limit)
            return CallResult(value)
        except (Unwind, EngineError):
            raise
        except BaseException as exc:  # SystemExit in a step is a failure of that step
            return CallError(exc)

    def _await(self, awaitable: Awaitable[Any], limit: TimedCall | None) -> Any:
        """Return the result of ``awaitable``, which is cancelled when the run must stop."""
        make = awaitable if limit is None else limit.await_in_time(awaitable)
        try:
            job = self.services.loop_thread.begin(make, is_over=self._must_leave)
        except NoThread:
            for each in (make, awaitable):
                if inspect.iscoroutine(each):
                    each.close()  # it has not begun, and Python would warn
            raise
        with self._changed:
            self._running_jobs.add(job)
            if self._stopped:
                job.cancel()
        try:
            return job.result()
        except CancelledError:
            if self._stopped:
                raise unwind() from None
            raise
        finally:
            with self._changed:
                self._running_jobs.discard(job)

    def let_others_catch_up(self) -> None:
        """Do nothing: the failure of a branch does not end the others."""

    def call_database(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function``, which blocks on the database, in this thread."""
        return function(*arguments)

    def delay(self, seconds: float) -> None:
        """Wait for a moment in this thread."""
        time.sleep(seconds)

    # --- stopping ----------------------------------------------------------------------------

    def abandon(self) -> None:
        """Stop, because the lease is lost: wake blocked threads, cancel async functions."""
        super().abandon()
        self._stop()

    def fail_at_deadline(self) -> None:
        """Stop at the deadline: wake blocked threads, cancel async functions."""
        super().fail_at_deadline()
        self._stop()

    def stack(self) -> str:
        """Return where the threads of the body, its branches and its steps are."""
        threads = [*self._branch_threads.copy(), *self._step_threads.copy()]
        return "\n".join(filter(None, map(stacks.of_thread, threads)))

    def interrupt(self) -> None:
        """Do nothing: the next step call reads ``services.stopping``."""

    def _must_leave(self) -> bool:
        return self.services.stopping.is_set() or self.decided_outcome is not None

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            for job in self._running_jobs:
                job.cancel()
            self._changed.notify_all()

    # --- writes ------------------------------------------------------------------------------

    def record(self, write: StepWrite) -> None:
        """Keep ``write``, and schedule a flush in case nothing else writes it soon."""
        with self._writing:
            self._recorded.add(write)
        self.services.deferred_writes.add(self, write)

    def needs_flush(self) -> bool:
        """Whether a write must become durable before the next step; waits for a write in flight."""
        with self._writing:  # a parallel step may be writing the recorded attempts
            return self._recorded.must_be_durable()

    def flush(self, outcome: Outcome | None = None) -> None:
        """Write the recorded step attempts, and ``outcome`` if it is given. Blocks.

        Raises Unwind if the lease is lost or the database refuses the write.
        """
        with self._writing:
            write = self._take_recorded(outcome)
            if write is None:
                return
            try:
                self.services.committer.commit(write)
            except Exception as exc:
                self._write_failed(exc, write)
                raise unwind() from None

    def flush_deferred(self) -> None:
        """Write the recorded step attempts, after their wait for a shared commit."""
        try:
            self.flush()
        except Unwind:
            with self._changed:
                self._changed.notify_all()


def _call(
    fn: Callable[..., Any], arguments: tuple[Any, ...], trace: ExecutionTrace | None
) -> CallResult | CallError:
    current.begin_run(arguments[0])
    if trace is not None:
        trace.enter()
    try:
        return CallResult(fn(*arguments))
    except BaseException as exc:  # SystemExit must not end the slot's thread
        return CallError(exc)
