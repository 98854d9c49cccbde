"""The branches of a blocking pass: which of them wait, and whether the run can leave.

What ``quiet`` is to awaiting passes.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any

from owsuper.child.execution.base import Execution, Services
from owsuper.core.decisions import Wait
from owsuper.core.model import ClaimedRun
from owsuper.core.replay import Replay
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.unwind import unwind


class StepFuture(Future[Any]):
    """The result to come of a submitted step."""

    def __init__(self, owner: BranchingExecution) -> None:
        super().__init__()
        self._owner = owner
        self.set_running_or_notify_cancel()  # a step that was submitted cannot be cancelled

    def result(self, timeout: float | None = None) -> Any:
        """The step's result. Raises what the step raised; TimeoutError after ``timeout`` s."""
        self._owner.await_done(self, timeout)
        return super().result(timeout=0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self._owner.await_done(self, timeout)
        return super().exception(timeout=0)


@dataclass(eq=False, slots=True)
class Branch:
    """A submitted step: its protocol, its future, and the context that it was called in."""

    steps: StepGenerator
    future: StepFuture
    context: Context = field(default_factory=copy_context)
    wait: Wait | None = None


class BranchingExecution(Execution):
    """Counts the branches that do something, and keeps what the others wait for.

    A branch that waits blocks its thread or, if it is a submitted step, is parked without one. When
    all of them wait, the run leaves.
    """

    def __init__(self, run: ClaimedRun, replay: Replay, services: Services, slot: int) -> None:
        super().__init__(run, replay, services, slot)
        self._changed = threading.Condition()
        self._active = 1  # branches that are not waiting; the body is the first
        self._waits: list[Wait] = []  # of branches that block their thread
        self._parked: list[Branch] = []  # submitted, waiting, without a thread

    def _begin_branches(self, count: int = 1) -> None:
        with self._changed:
            self._active += count

    def _end_branch(self, settle: Callable[[], None] | None = None) -> None:
        """A branch is over; ``settle`` its future, if it has one."""
        with self._changed:
            if settle is not None:
                settle()
            self._active -= 1
            self._changed.notify_all()

    def _end_body(self, returned: bool) -> None:
        """Wait until no branch does anything. When the body ``returned`` and some wait, so does
        the run; then they are dropped.
        """
        with self._changed:
            self._active -= 1
            while self._active:
                self._changed.wait()
            if returned:
                self._leave_if_idle()
            for branch in self._parked:
                branch.steps.close()
            self._parked.clear()

    def _block(self, wait: Wait) -> None:
        """Block this thread for ``wait``. Raises Unwind when the run leaves."""
        with self._changed:
            self._waits.append(wait)
            self._active -= 1
            try:
                end = time.monotonic() + self.pause_of(wait)
                while (left := end - time.monotonic()) > 0:
                    self._leave_if_idle()
                    if self.decided_outcome is not None:
                        raise unwind()
                    self._changed.wait(left)
                if self.decided_outcome is not None:
                    raise unwind()
            finally:
                self._waits.remove(wait)
                self._active += 1

    def await_done(self, future: StepFuture, timeout: float | None) -> None:
        """Block this thread until ``future`` is done or ``timeout`` seconds are over."""
        end = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._active -= 1
            try:
                while not future.done():
                    self._leave_if_idle()
                    if self.decided_outcome is not None:
                        raise unwind()
                    left = None if end is None else end - time.monotonic()
                    if left is not None and left <= 0:
                        return
                    self._changed.wait(left)
            finally:
                self._active += 1

    def _park(self, branch: Branch, wait: Wait) -> None:
        """Keep a submitted step that waits, without its thread."""
        with self._changed:
            branch.wait = wait
            self._parked.append(branch)
            self._active -= 1
            self._changed.notify_all()

    def _unpark(self, branch: Branch) -> bool:
        """Let a submitted step go on. False if the run leaves, or has left."""
        with self._changed:
            if branch not in self._parked or self.decided_outcome is not None:
                return False
            self._parked.remove(branch)
            self._active += 1
        return True

    def _leave_if_idle(self) -> None:
        waits = self._waits + [branch.wait for branch in self._parked if branch.wait is not None]
        if self._active == 0 and waits and self.decided_outcome is None:
            self.leave(waits)
            self._changed.notify_all()
