"""Passes of ``def`` workflows: the body has a thread, submitted steps have others.

A branch that waits (for a retry, for a sleep) blocks the body's thread or, when it was
submitted, gives its thread back. When every branch waits, the run leaves.
"""

from __future__ import annotations

import inspect
import threading
from asyncio import CancelledError
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import Any

from owsuper.child.execution.base import Abandon, Services
from owsuper.child.execution.branches import Branch, BranchingExecution, StepFuture
from owsuper.child.execution.steps import generator_of
from owsuper.child.threads import LoopJob
from owsuper.core.model import ClaimedRun, Outcome
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
from owsuper.errors import StepUsageError
from owsuper.step.requests import Request


class SyncExecution(BranchingExecution):
    """One pass of a ``def`` workflow; the engine behind ``Step``."""

    def __init__(self, run: ClaimedRun, replay: Replay, services: Services, slot: int) -> None:
        super().__init__(run, replay, services, slot)
        self._bodies = {threading.get_ident()}  # threads of the body and of its branches
        self._awaited: set[LoopJob] = set()  # async functions of steps that are under way
        self._stopped = False
        self._writing = threading.Lock()

    # --- what user code calls --------------------------------------------------------------

    def call(self, request: Request) -> Any:
        _, steps = generator_of(self, request)
        return self._drive(steps)

    def submit(self, request: Request) -> StepFuture:
        _, steps = generator_of(self, request)
        branch = Branch(steps, StepFuture(self))
        self._begin_branches()
        self._services.threads.submit(self._advance, branch)
        return branch.future

    def parallel(self, branches: tuple[Callable[[], Any], ...]) -> list[Any]:
        """Call all ``branches`` at once, each in a thread; what they return."""
        for branch in branches:
            if not callable(branch):
                raise StepUsageError(
                    f"step.parallel() was given {branch!r:.60}, which is not callable. Pass"
                    " functions without arguments: step.parallel(partial(ship, order), bill)."
                )
        futures = [StepFuture(self) for _ in branches]
        self._begin_branches(len(branches))
        for branch, future in zip(branches, futures, strict=True):
            call = partial(self._call_branch, branch, future)
            run = partial(copy_context().run, call)
            threading.Thread(target=run, name="owsuper-branch", daemon=True).start()
        for future in futures:  # nothing is left behind, whichever fails
            self.await_done(future, None)
        return [future.result() for future in futures]

    def _call_branch(self, branch: Callable[[], Any], future: StepFuture) -> None:
        self._bodies.add(threading.get_ident())
        try:
            settle = partial(future.set_result, branch())
        except BaseException as exc:
            settle = partial(future.set_exception, exc)
        self._bodies.discard(threading.get_ident())
        self._end_branch(settle)

    # --- the driver ------------------------------------------------------------------------

    def _drive(self, steps: StepGenerator) -> Any:
        """Perform the effects of ``steps`` in this thread; its value."""
        if threading.get_ident() in self._bodies:
            return self._go_through(steps)
        self._begin_branches()  # a thread that user code started: a branch like others
        try:
            return self._go_through(steps)
        finally:
            self._end_branch()

    def _go_through(self, steps: StepGenerator) -> Any:
        try:
            effect = next(steps)
            while True:
                if isinstance(effect, Pause):
                    self._block(effect.wait)
                    effect = steps.send(None)
                else:
                    effect = steps.send(self._perform(effect))
        except StopIteration as done:
            return done.value
        finally:
            steps.close()

    def _advance(self, branch: Branch) -> None:
        """Perform the effects of a submitted step until it ends or waits."""
        try:
            effect = next(branch.steps)
            while not isinstance(effect, Pause):
                effect = branch.steps.send(branch.context.run(self._perform, effect))
        except StopIteration as done:
            self._end_branch(partial(branch.future.set_result, done.value))
        except BaseException as exc:
            self._end_branch(partial(branch.future.set_exception, exc))
        else:
            self._park(branch, effect.wait)
            self._services.timers.call_later(
                max(0.0, self.pause_of(effect.wait)), lambda: self._resume(branch)
            )

    def _resume(self, branch: Branch) -> None:
        if self._unpark(branch):
            self._services.threads.submit(self._advance, branch)

    def _perform(self, effect: Effect) -> Answer:
        match effect:
            case Flush():
                self.settle()
                self._services.leases.confirm(self)
                if self.decided_outcome is not None:
                    raise unwind()
            case Call():
                return self._call(effect)
            case Record(write):
                with self._writing:
                    self._recorded.append(write)
                self._services.deferred_writes.add(self, write)
                self.log_failed_step(write)
            case ReadAnswer(attempt_id):
                return self.inquiries.look(attempt_id)
            case EnsureChildRun():
                child = self.inquiries.adopt(self.run, effect)
                if child is None:
                    self.abandon()
                    raise unwind()
                return child
            case Pause():
                raise AssertionError("pauses are the driver's own affair")
        return None

    def _call(self, call: Call) -> Value | Threw:
        token = self.enter_step(call)
        try:
            value = call.function()
            if inspect.isawaitable(value):
                value = self._await(value)
            answer: Value | Threw = Value(value)
        except Unwind:
            raise
        except BaseException as exc:  # SystemExit in a step is a failure of that step
            answer = Threw(exc)
        finally:
            self.leave_step(call, token)
        self.exit_if_forked(answer)
        return answer

    def _await(self, awaitable: Awaitable[Any]) -> Any:
        """What ``awaitable`` gives. It is cancelled when the run is taken from us."""
        job = self._services.loop.begin(awaitable)
        with self._changed:
            self._awaited.add(job)
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
                self._awaited.discard(job)

    # --- stopping --------------------------------------------------------------------------

    def abandon(self) -> None:
        super().abandon()
        self._stop()

    def fail_at_deadline(self) -> None:
        super().fail_at_deadline()
        self._stop()

    def _stop(self) -> None:
        """Wake whoever waits, and cancel what is awaited."""
        with self._changed:
            self._stopped = True
            for job in self._awaited:
                job.cancel()
            self._changed.notify_all()

    # --- writes ----------------------------------------------------------------------------

    def flush(self, outcome: Outcome | None = None) -> None:
        """Write what is recorded, and how the run ends if that is known. Blocks.

        Raises Unwind when the lease turns out to be lost.
        """
        with self._writing:
            self.check_refused(outcome)
            write = self.take_recorded(outcome)
            if write is None:
                return
            try:
                self._services.committer.commit(write)
            except Exception as exc:
                self.write_failed(exc)
                raise unwind() from None

    def settle(self) -> None:
        """Write what the next step builds on; raises as ``flush`` does.

        A parallel step may be writing what was recorded here: that is waited for.
        """
        with self._writing:
            owes = self.owes()
        if owes:
            self.flush()

    def flush_deferred(self) -> None:
        """Write what has waited long enough for company."""
        try:
            self.flush()
        except Unwind:
            with self._changed:
                self._changed.notify_all()

    # --- the body --------------------------------------------------------------------------

    def join(self, returned: bool) -> Outcome | Abandon | None:
        """The body is over: let the submitted steps settle. The verdict, if they made one.

        When the body ``returned``, steps that wait for a retry make the run wait; when it
        raised, they are dropped.
        """
        self._ended = True
        self._end_body(returned)
        return self.decided_outcome
