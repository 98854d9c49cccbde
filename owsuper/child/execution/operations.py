"""Operations: the code that sync and async executions share is a generator of them.

A generator yields operations and receives their results. An operation is a function without
arguments. In an execution of a ``def`` workflow it blocks; in an execution of an ``async def``
workflow it returns an awaitable. ``Pause`` stands for blocking the branch, which a submitted
step does without a thread.
"""

from __future__ import annotations

import logging
import time
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any, TypeVar

from owsuper.child.database import is_refusal
from owsuper.child.execution.base import Execution
from owsuper.core.decisions import Wait
from owsuper.core.model import StepKind, StepStatus, StepWrite
from owsuper.core.steps.effects import (
    Call,
    CallError,
    CallResult,
    Effect,
    EnsureChildRun,
    Flush,
    Pause,
    ReadAnswer,
    ReadChildInput,
    Record,
    SkipSignal,
)
from owsuper.core.steps.protocol import StepGenerator
from owsuper.core.unwind import Unwind, unwind

_log = logging.getLogger("owsuper.child")

T = TypeVar("T")
Operations = Generator[Callable[[], Any] | Pause, Any, T]


def perform(execution: Execution, steps: StepGenerator) -> Operations[Any]:
    """Perform the effects of a step. Returns the step's value.

    User code gets what the step generator raises. An error of the engine gives the run back
    instead: only ``CallError`` brings an exception from a driver to the step.
    """
    try:
        effect = next(steps)
        while True:
            try:
                answer = yield from _perform(execution, effect)
            except (Unwind, CancelledError, GeneratorExit):
                raise
            except BaseException as exc:
                raise execution.give_back(exc) from exc
            effect = steps.send(answer)
    except StopIteration as done:
        return done.value
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
        case Call():
            token = execution.enter_step(effect)
            limit = execution.time_call(effect)
            try:
                if effect.kind == StepKind.SIGNAL_SEND:
                    send = partial(_result_or_refusal, effect.function)
                    answer = yield partial(execution.call_database, send)
                else:
                    answer = yield partial(execution.call_function, effect.function, limit)
            finally:
                if limit is not None:
                    limit.end()
                execution.leave_step(effect, token)
            execution.exit_if_forked(answer)
        case Record():
            execution.record(effect.write)
            _log_failed_step(execution, effect.write)
        case ReadAnswer():
            look = execution.related_runs.look
            answer = yield partial(execution.call_database, look, effect.attempt_id)
        case ReadChildInput():
            read = execution.related_runs.input_of
            answer = yield partial(execution.call_database, read, effect.attempt_id)
        case EnsureChildRun():
            adopt = execution.related_runs.adopt
            answer = yield partial(execution.call_database, adopt, execution.run, effect)
            if answer is None:
                execution.abandon()
                raise unwind()
        case SkipSignal():
            skip = execution.related_runs.skip
            skipped = yield partial(execution.call_database, skip, execution.run, effect)
            if skipped is None:
                execution.abandon()
                raise unwind()
            _log_skipped_signal(execution, effect)
            answer = skipped.next
        case Pause():
            yield effect
    return answer


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


def run_to_pause(operations: Operations[Any]) -> Pause:
    """Run operations up to the next Pause, or on from one.

    Raises StopIteration with the generator's value when there are no more operations.
    """
    operation = next(operations)
    while not isinstance(operation, Pause):
        try:
            result = operation()
        except BaseException as exc:
            operation = operations.throw(exc)
        else:
            operation = operations.send(result)
    return operation


def _no_pause(wait: Wait) -> Any:
    raise AssertionError(f"only steps pause, not {wait}")


def drive(operations: Operations[T], block: Callable[[Wait], object] = _no_pause) -> T:
    """Run all operations in this thread; ``block`` is called for each Pause.

    Returns the generator's value.
    """
    try:
        operation = next(operations)
        while True:
            try:
                result = block(operation.wait) if isinstance(operation, Pause) else operation()
            except BaseException as exc:
                operation = operations.throw(exc)
            else:
                operation = operations.send(result)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        operations.close()


async def drive_async(
    operations: Operations[T], block: Callable[[Wait], Awaitable[object]] = _no_pause
) -> T:
    """Await all operations in this task; ``block`` is awaited for each Pause.

    Returns the generator's value.
    """
    try:
        operation = next(operations)
        while True:
            try:
                if isinstance(operation, Pause):
                    result = await block(operation.wait)
                else:
                    result = await operation()
            except BaseException as exc:
                operation = operations.throw(exc)
            else:
                operation = operations.send(result)
    except StopIteration as done:
        value: T = done.value
        return value
    finally:
        operations.close()
