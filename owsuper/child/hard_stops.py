"""Code that does not stop: steps past their time-outs, runs that were canceled or are too late.

Async code is cancelled where it awaits. Python cannot stop any other code, but a process can be
killed. So when code runs on for ``--kill-grace`` after it should have stopped, the supervisor gets
a message with its stack, and kills this process.

The supervisor must also do so when this process cannot send a message, because a step holds the
GIL. So the step that is next to time out stands in the flight recorder.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any, Final, Protocol

from owsuper import logs
from owsuper.child import stacks
from owsuper.child.timers import Alarms, DelayedCalls
from owsuper.core.model import ClaimedRun
from owsuper.core.time_outs import time_out_error
from owsuper.errors import StepTimedOut
from owsuper.ipc.flight_recorder import FlightRecorder, StepInTime
from owsuper.ipc.messages import CAUGHT_UNWIND, TIMED_OUT, Overdue

_MAX_STACK: Final = 16_000  # characters of one stack in a message

_log = logging.getLogger("owsuper.child")


class Stoppable(Protocol):
    """The part of an execution that must stop."""

    @property
    def run(self) -> ClaimedRun:
        """The run that is executed."""
        ...

    @property
    def slot(self) -> int:
        """The slot of the execution."""
        ...

    @property
    def code_has_ended(self) -> bool:
        """Whether all user code is over, and only writes are left."""
        ...

    def now(self) -> datetime:
        """Return the time on the database's clock."""
        ...

    def stop_at_next_step(self) -> None:
        """Begin no further step."""
        ...

    def catches_unwind(self) -> bool:
        """Whether code has gone on, since the last look, after it should have ended."""
        ...

    def stack(self) -> str:
        """Return where the code is."""
        ...


class TimedCall:
    """One call of a step's function that may take ``seconds``, from when the function begins."""

    def __init__(
        self,
        execution: Stoppable,
        attempt_id: str,
        key: str,
        seconds: float,
        watch: OverdueWatch,
    ) -> None:
        self.execution = execution
        self.key = key
        self.seconds = seconds
        self.record: StepInTime | None = None
        self.reported = False
        self._attempt_id = attempt_id
        self._watch = watch
        self._thread = 0
        self._in_thread = False
        self._abandoned = False
        self._awaitable: Awaitable[Any] | None = None

    def call(self, function: Callable[[], Any]) -> Any:
        """Begin, and call ``function`` in this thread."""
        self._thread = threading.get_ident()
        self._in_thread = True
        self._begin()
        try:
            return function()
        finally:
            self._in_thread = False
            if self._abandoned:
                self._watch.end_call(self)

    async def await_in_time(self, awaitable: Awaitable[Any]) -> Any:
        """Await what the function has returned, in the event loop; cancel it at the time-out.

        Raises StepTimedOut, unless the code that was cancelled returns or raises something else.
        """
        self._thread, self._awaitable = threading.get_ident(), awaitable
        left = self.seconds if self.record is None else self.record.due - time.monotonic()
        if self.record is None:
            self._begin()
        limit = asyncio.timeout(left)
        try:
            async with limit:
                return await awaitable
        except TimeoutError as exc:
            if not limit.expired():
                raise
            error = time_out_error(self.key, self.seconds)
            raise StepTimedOut(self.key, error) from exc

    def end(self) -> None:
        """End: the step is over. If nobody awaits its thread any longer, that goes on in time."""
        self._abandoned = True
        if self.record is not None and not self._in_thread:
            self._watch.end_call(self)

    def stack(self) -> str:
        """Return where the code of the function is."""
        if self._awaitable is not None:
            return stacks.of_awaitable(self._awaitable, self._thread)
        return stacks.of_thread(self._thread)

    def _begin(self) -> None:
        self.record = StepInTime(
            attempt_id=self._attempt_id,
            key=self.key,
            timeout=self.seconds,
            started_at=self.execution.now(),
            due=time.monotonic() + self.seconds,
        )
        self._watch.begin_call(self)


class OverdueWatch:
    """What should stop soon in this child. ``grace`` is in seconds.

    ``report`` is called with what did not stop in time, from the thread of the timers.
    """

    def __init__(
        self,
        timers: DelayedCalls,
        flight_recorder: FlightRecorder,
        grace: float,
        report: Callable[[Overdue], object],
    ) -> None:
        self._alarms = Alarms(timers)
        self._flight_recorder = flight_recorder
        self._grace = grace
        self._report = report
        self._lock = threading.Lock()
        self._calls: list[TimedCall] = []
        self._ending: dict[Stoppable, str] = {}  # executions that must end, with the reason

    # --- steps with a time-out -----------------------------------------------------------

    def begin_call(self, call: TimedCall) -> None:
        """Watch a call. Log its stack at half of its time, and report it when it is overdue."""
        with self._lock:
            self._calls.append(call)
            self._record(call.execution.slot)
        self._alarms.set(call, call.seconds / 2, lambda: self._on_half(call))

    def end_call(self, call: TimedCall) -> None:
        """Stop watching a call that is over. May be repeated."""
        self._alarms.cancel(call)
        with self._lock:
            if call in self._calls:
                self._calls.remove(call)
                self._record(call.execution.slot)

    def _record(self, slot: int) -> None:
        """Record the call of the slot that times out first. The caller holds the lock."""
        records = [
            each.record
            for each in self._calls
            if each.record is not None and each.execution.slot == slot
        ]
        first = min(records, key=lambda each: each.due, default=None)
        self._flight_recorder.write_timed(slot, first)

    def _on_half(self, call: TimedCall) -> None:
        if call not in self._calls:
            return
        self._alarms.set(call, call.seconds / 2 + self._grace, lambda: self._on_overdue(call))
        run = call.execution.run
        logs.warn_with_stack(
            _log,
            "step has used half of its timeout of %g s",
            call.seconds,
            stack=_read(call.stack),
            extra={"run_id": run.run_id, "workflow": run.workflow_name, "step": call.key},
        )

    def _on_overdue(self, call: TimedCall) -> None:
        execution, now = call.execution, time.monotonic()
        with self._lock:
            if call not in self._calls or call.reported:
                return
            overdue = [
                (each, each.record)
                for each in self._calls
                if each.execution is execution and each.record and each.record.due <= now
            ]
            for each, _ in overdue:
                each.reported = True  # by one message, and not by as many as there are steps
        execution.stop_at_next_step()
        steps = tuple((record, _read(each.stack)) for each, record in overdue)
        self._send(execution, TIMED_OUT, steps, "\n".join(stack for _, stack in steps))

    # --- runs that must end --------------------------------------------------------------

    def expect_end(self, execution: Stoppable, reason: str) -> None:
        """Report the execution unless its code ends soon. The first reason counts.

        With CAUGHT_UNWIND, report it only if its code still goes on between two looks; another
        reason replaces this one.
        """
        with self._lock:
            if self._ending.get(execution, CAUGHT_UNWIND) != CAUGHT_UNWIND:
                return
            self._ending[execution] = reason
        if execution.code_has_ended:  # perhaps just now, in another thread
            self.forget(execution)
            return
        grace = self._grace / 2 if reason == CAUGHT_UNWIND else self._grace
        self._alarms.set(execution, grace, lambda: self._on_not_ended(execution))

    def forget(self, execution: Stoppable) -> None:
        """Stop watching an execution whose code has ended. Its writes may take long.

        They wait while the database is away, and killing this process would lose them.
        """
        if execution in self._ending:
            self._alarms.cancel(execution)
            with self._lock:
                self._ending.pop(execution, None)

    def _on_not_ended(self, execution: Stoppable) -> None:
        reason = self._ending.get(execution)
        if reason == CAUGHT_UNWIND and not execution.catches_unwind():
            self._alarms.set(execution, self._grace / 2, lambda: self._on_not_ended(execution))
        elif reason is not None:
            self._send(execution, reason, (), _read(execution.stack))

    def _send(
        self,
        execution: Stoppable,
        reason: str,
        steps: tuple[tuple[StepInTime, str], ...],
        stack: str,
    ) -> None:
        run = execution.run
        self._report(Overdue(execution.slot, run.worker_id, reason, steps, _shortened(stack)))


def _read(stack: Callable[[], str]) -> str:
    """Return a stack, or why there is none: the report about the code matters more."""
    try:
        return _shortened(stack()) or "  The code has just ended.\n"
    except Exception as exc:
        return f"  The stack cannot be read: {exc!r}\n"


def _shortened(text: str) -> str:
    """Return the end of ``text``, which says more about where code is than the beginning."""
    return text if len(text) <= _MAX_STACK else f"...\n{text[-_MAX_STACK:]}"
