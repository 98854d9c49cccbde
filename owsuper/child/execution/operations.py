"""Performs the effects of steps, as operations that sync and async executions share."""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from owsuper.child.database import is_refusal
from owsuper.child.execution.base import Execution
from owsuper.child.execution.calls import RunningCall, in_transaction
from owsuper.child.execution.drive import Operations
from owsuper.core.decisions import Wait
from owsuper.core.model import StepKind, StepStatus, StepWrite
from owsuper.core.steps.effects import (
    Call,
    CallError,
    CallResult,
    ClaimOver,
    Effect,
    EnsureChildRun,
    Flush,
    MarkUndo,
    Pause,
    ReadAnswer,
    ReadChildInput,
    Record,
    SkipSignal,
    Stored,
    TakeTurn,
    Transact,
)
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.unwind import Unwind, unwind
from owsuper.errors import StepFailed
from owsuper.step import current

_END_OF_HISTORY: Final = Pause(Wait(datetime.max.replace(tzinfo=UTC)))
"""What a branch waits for that has come to the end of a history, until all others have, too."""

_log = logging.getLogger("owsuper.child")


def perform(execution: Execution, steps: StepGenerator) -> Operations[Any]:
    """Perform the effects of a step. Returns the step's value.

    User code gets what the step generator raises. An error of the engine gives the run back
    instead: only ``CallError`` brings an exception from a driver to the step.
    """
    try:
        effect = next(steps)
        while True:
            if execution.replay.recalls_only and not isinstance(effect, ReadChildInput):
                yield _END_OF_HISTORY
                continue
            try:
                answer = yield from _perform(execution, effect)
            except (Unwind, CancelledError, GeneratorExit):
                raise
            except BaseException as exc:
                raise execution.give_back(exc) from exc
            effect = steps.send(answer)
    except StopIteration as done:
        return done.value
    except StepFailed:
        if execution.replay.recalls_only:
            yield execution.let_others_catch_up
        raise
    except MemoryError as exc:  # a result that cannot even be encoded
        raise execution.give_back(exc) from exc
    finally:
        steps.close()


def _perform(execution: Execution, effect: Effect) -> Operations[Any]:
    """Perform one effect. Returns its answer."""
    answer: Any = None
    match effect:
        case Flush():
            if execution.needs_flush():
                yield execution.flush
            if time.monotonic() >= execution.leased_until:
                yield partial(execution.call_database, execution.confirm_lease)
            if execution.decided_outcome is not None:
                raise unwind()
        case MarkUndo():
            mark = execution.services.related_runs.mark_undo
            if not (yield partial(execution.call_database, mark, execution.run)):
                execution.abandon()
                raise unwind()
            execution.replay.has_undos = True
        case TakeTurn():
            from owsuper.child.execution.turns import take_turn  # few need it

            answer = yield from take_turn(execution, effect)
        case Call():
            running = RunningCall(execution, effect)
            try:
                if effect.kind == StepKind.SIGNAL_SEND:
                    send = partial(_result_or_refusal, effect.function)
                    answer = yield partial(execution.call_database, send)
                else:
                    function, limit = effect.function, running.limit
                    answer = yield partial(execution.call_function, function, limit)
            finally:
                running.end(answer)
            execution.exit_if_forked(answer)
        case Record():
            execution.record(execution.with_attributes(effect.write))
            current.go_beyond(execution.replay)
            if execution.services.counts is not None:
                _count(execution, effect.write)
            _log_failed_step(execution, effect.write)
        case ReadAnswer():
            look = execution.services.related_runs.look
            answer = yield partial(execution.call_database, look, effect.attempt_id)
        case ReadChildInput():
            read = execution.services.related_runs.input_of
            answer = yield partial(execution.call_database, read, effect.attempt_id)
        case EnsureChildRun():
            adopt = execution.services.related_runs.adopt
            answer = yield partial(execution.call_database, adopt, execution.run, effect)
            if answer is None:
                execution.abandon()
                raise unwind()
        case SkipSignal():
            skip = execution.services.related_runs.skip
            skipped = yield partial(execution.call_database, skip, execution.run, effect)
            if skipped is None:
                execution.abandon()
                raise unwind()
            _log_skipped_signal(execution, effect)
            answer = skipped.next
        case Pause():
            yield effect
        case Transact():
            answer = yield from _transact(execution, effect)
    return answer


def _transact(execution: Execution, effect: Transact) -> Operations[Any]:
    """Make a call in a transaction. Returns its answer."""
    answer: Any = None
    running = RunningCall(execution, effect.call)
    try:
        transaction = in_transaction(execution, effect, running.limit)
        answer = yield partial(execution.call_function, transaction)
    finally:
        made = answer.value if isinstance(answer, CallResult) else answer
        running.end(made)
    execution.exit_if_forked(answer)
    answer = made
    if isinstance(answer, ClaimOver):
        execution.abandon()
        raise unwind()
    if execution.services.counts is not None and isinstance(answer, Stored):
        _count(execution, answer.write)
    return answer


def _count(execution: Execution, write: StepWrite) -> None:
    """Count an attempt of a step, for metrics."""
    assert execution.services.counts is not None
    failures = execution.replay.failures_of(write.step_name)
    execution.services.counts.on_step(execution.run.workflow_name, write, failures)


def _log_failed_step(execution: Execution, write: StepWrite) -> None:
    """Log ``write`` if it is a failed attempt of a function step."""
    if write.kind != StepKind.FUNCTION or write.status != StepStatus.FAILED:
        return
    _log.warning(
        "step failed",
        extra={
            "run_id": execution.run.run_id,
            "workflow": execution.run.workflow_name,
            "step": write.step_name,
            "attempt": execution.replay.failures_of(write.step_name),
            "error": None if write.error is None else write.error.summary(),
            "not_retried": None if write.error is None else write.error.no_retry_reason,
        },
    )


def _log_skipped_signal(execution: Execution, skip: SkipSignal) -> None:
    _log.warning(
        "signal skipped",
        extra={
            "run_id": execution.run.run_id,
            "workflow": execution.run.workflow_name,
            "step": skip.step_name,
            "signal": skip.signal,
            "error": skip.reason,
        },
    )


def _result_or_refusal(function: Callable[[], Any]) -> CallResult | CallError:
    """Call a function of the engine. That the database refuses the user's values is an answer."""
    try:
        return CallResult(function())
    except Exception as exc:
        if is_refusal(exc):
            return CallError(exc)
        raise
