"""The calls of the functions of steps: what notices that one is running, and when it is over."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import is_async
from owsuper.child.hard_stops import TimedCall
from owsuper.core.model import ClaimedRun, StepStatus, StepWrite, WriteSet
from owsuper.core.steps.effects import Call, Transact
from owsuper.step import current


class RunningCall:
    """One call of the function of a step, which is about to begin.

    While it runs, the flight recorder, the database (if it takes long), ``current()`` and a trace
    show it. ``limit`` is the limit of its time, which begins with the function; None without one.
    """

    def __init__(self, execution: Execution, call: Call) -> None:
        services = execution.services
        self._execution = execution
        self._call = call
        services.flight_recorder.enter(execution.slot, call.key)
        row = partial(_running_row, execution.run, call, execution.now())
        services.running_rows.began(call.attempt_id, row)
        self._token = current.begin_call(call.key, execution.replay)
        self._span = None if execution.trace is None else execution.trace.begin_step(call)
        self.limit: TimedCall | None = None
        if call.timeout is not None:
            self.limit = TimedCall(
                execution, call.attempt_id, call.key, call.timeout, services.overdue_watch
            )

    def end(self, answer: object) -> None:
        """End, with the answer of the function; None if the call was given up."""
        execution, call = self._execution, self._call
        if self.limit is not None:
            self.limit.end()
        if self._span is not None and execution.trace is not None:
            execution.trace.end_step(self._span, call, answer)
        current.end_call(self._token)
        current.go_beyond(execution.replay)
        execution.services.running_rows.ended(call.attempt_id)
        execution.services.flight_recorder.leave(execution.slot, call.key)
        if self._span is not None:
            self._span.leave()


def in_transaction(
    execution: Execution, effect: Transact, limit: TimedCall | None
) -> Callable[[], Any]:
    """Return a function that makes the call in a transaction, for ``call_function``."""
    from owsuper.child.execution.transactions import StepTransaction  # few need it

    services = execution.services
    transaction = StepTransaction(execution.run, services, effect, limit, execution.with_attributes)
    function = transaction.arun if is_async(effect.call.function) else transaction.run
    if not services.around_steps:
        return function
    from owsuper.child.execution.around import around_transaction

    return around_transaction(services.around_steps, function)


def _running_row(run: ClaimedRun, call: Call, started: datetime) -> WriteSet:
    row = StepWrite(
        call.attempt_id, call.key, call.kind, StepStatus.RUNNING, started, context=call.context
    )
    return WriteSet(run.run_id, run.worker_id, (row,))
