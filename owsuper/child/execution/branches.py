"""Detects when every branch of a sync execution waits, so that the run can be parked.

``idle`` does the same for async executions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import Operations
from owsuper.child.services import Services
from owsuper.core.decisions import Wait
from owsuper.core.model import ClaimedRun
from owsuper.core.replay import Replay
from owsuper.core.unwind import Unwind, unwind

_log = logging.getLogger("owsuper.child")


class StepFuture(Future[Any]):
    """The future result of a submitted step."""

    def __init__(self, owner: BranchingExecution) -> None:
        super().__init__()
        self._owner = owner
        self.set_running_or_notify_cancel()  # a submitted step cannot be cancelled

    def result(self, timeout: float | None = None) -> Any:
        """Return the step's result. Raises TimeoutError after ``timeout`` seconds.

        An exception of the step is raised.
        """
        self._owner.await_done(self, timeout)
        return super().result(timeout=0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return the step's exception. Raises TimeoutError after ``timeout`` seconds."""
        self._owner.await_done(self, timeout)
        return super().exception(timeout=0)


@dataclass(eq=False, slots=True)
class Branch:
    """A submitted step: its operations, its future, and the context it was submitted in."""

    operations: Operations[Any]
    future: StepFuture
    context: Context = field(default_factory=copy_context)
    wait: Wait | None = None


class BranchingExecution(Execution):
    """Counts the active branches and keeps what the others wait for.

    A branch that waits blocks its thread, but a submitted step is suspended without a thread.
    When all branches wait, the run is parked.
    """

    def __init__(
        self, run: ClaimedRun, replay: Replay, services: Services, slot: int, **options: Any
    ) -> None:
        super().__init__(run, replay, services, slot, **options)
        self._changed = threading.Condition()
        self._active = 1  # branches that do not wait; the body is the first
        self._waits: list[Wait] = []  # waits of branches that block their thread
        self._suspended: list[Branch] = []  # submitted, waiting, without a thread

    def _begin_branches(self, count: int = 1) -> None:
        with self._changed:
            self._active += count

    def _end_branch(self, finish: Callable[[], None] | None = None) -> None:
        """End a branch; ``finish`` completes its future, if it has one."""
        if finish is not None:
            try:
                finish()  # without the lock: a callback of the user's may block in here
            except BaseException:  # SystemExit; the library logs an Exception of a callback
                _log.exception("run %s: a callback of a step's future failed", self.run.run_id)
        with self._changed:
            self._active -= 1
            self._changed.notify_all()

    def join(self, returned: bool) -> None:
        """Block until no branch is active, then drop the suspended ones.

        If the body ``returned`` and branches wait, the run is parked.
        """
        self._body_ended = True
        with self._changed:
            self._active -= 1
            while self._active:
                self._changed.wait()
            if returned:
                self._park_if_idle()
            for branch in self._suspended:
                branch.operations.close()
            self._suspended.clear()

    def block(self, wait: Wait) -> None:
        """Block this thread for ``wait``. Raises Unwind once the outcome is decided."""
        with self._changed:
            self._waits.append(wait)
            self._active -= 1
            try:
                end = time.monotonic() + self.pause_of(wait)
                while (left := end - time.monotonic()) > 0:
                    self._park_if_idle()
                    if self.decided_outcome is not None:
                        raise unwind()
                    self._changed.wait(left)
                if self.decided_outcome is not None:
                    raise unwind()
            finally:
                self._waits.remove(wait)
                self._active += 1

    def await_done(self, future: StepFuture, timeout: float | None) -> None:
        """Block this thread until ``future`` is done or ``timeout`` seconds have passed.

        Raises Unwind once the outcome is decided.
        """
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._active -= 1
            try:
                while not future.done():
                    self._park_if_idle()
                    if self.decided_outcome is not None:
                        raise unwind()
                    left = None if end is None else end - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._changed.wait(left)
            finally:
                self._active += 1

    def give_back(self, exc: BaseException) -> Unwind:
        """Give the run back, because of an error of the engine; wake the branches that wait."""
        unwinding = super().give_back(exc)
        with self._changed:
            self._changed.notify_all()
        return unwinding

    def stop_at_next_step(self) -> None:
        """Begin no further step; wake the branches that wait."""
        super().stop_at_next_step()
        with self._changed:
            self._changed.notify_all()

    def _suspend(self, branch: Branch, wait: Wait) -> None:
        """Keep a submitted step that waits, without its thread."""
        with self._changed:
            branch.wait = wait
            self._suspended.append(branch)
            self._active -= 1
            self._changed.notify_all()

    def _reactivate(self, branch: Branch) -> bool:
        """Count a suspended step as active again. Return False once the outcome is decided."""
        with self._changed:
            if branch not in self._suspended or self.decided_outcome is not None:
                return False
            self._suspended.remove(branch)
            self._active += 1
        return True

    def _park_if_idle(self) -> None:
        """Park the run if every branch waits. The caller holds the lock."""
        waits = self._waits + [branch.wait for branch in self._suspended if branch.wait is not None]
        if self._active == 0 and waits and self.decided_outcome is None:
            self.park(waits)
            self._changed.notify_all()
