"""The step that waits for a signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from owsuper.core import codec, upcasts
from owsuper.core.decisions import Await, Begin, Diverged, OverLimit, Recall, Reject
from owsuper.core.durations import iso_ms
from owsuper.core.history import wake_time
from owsuper.core.model import (
    DeliveredSignal,
    RecordedAttempt,
    Signal,
    StepKind,
    StepStatus,
    StepWrite,
)
from owsuper.core.purpose import Purpose
from owsuper.core.steps.effects import Flush, Pause, ReadAnswer, Record, SkipSignal
from owsuper.core.steps.protocol import Context, StepGenerator, completed, failed, wait_for
from owsuper.core.upcasts import Upcast
from owsuper.errors import DataError, StepFailed, StepUsageError
from owsuper.stored_error import StoredError


@dataclass(frozen=True, slots=True)
class SignalStep:
    """One call of a step that waits for a signal; ``type`` is the type of the data.

    ``until`` returns the end of the wait for a wait that begins at the given time. ``skips`` says
    that a signal whose data does not fit is set aside, and the wait goes on.
    """

    key: str
    signal: str
    until: Callable[[datetime], datetime]
    type: Any = None
    formerly: str | None = None
    skips: bool = False
    upcast: Upcast | None = None


def signal_step(context: Context, step: SignalStep) -> StepGenerator:
    """Wait for the signal and return it, or None if none arrives in time.

    Raises StepFailed when the data does not fit the type, unless the step skips such signals.
    """
    cause: BaseException | None = None
    purpose = Purpose(StepKind.SIGNAL_WAIT, step.signal, formerly=step.formerly)
    while True:
        match context.replay.decide_wait(step.key, StepKind.SIGNAL_WAIT, purpose):
            case Recall(output):
                if output is None:
                    return None
                data = output.get("data") if isinstance(output, dict) else None
                return Signal(_convert(step, data))
            case Reject(error):
                raise StepFailed(step.key, error) from cause
            case OverLimit() as over:
                raise context.limit_error(over)
            case Diverged() as diverged:
                raise context.diverge(diverged)
            case Begin(attempt_id):
                context.check_passed(step.key)
                if (other := context.replay.waits_for_signal(step.signal)) is not None:
                    raise StepUsageError(
                        f'Signal "{step.signal}" is already being waited on by step "{other}"'
                    )
                write = _begin(step, attempt_id, context.now())
                context.replay.record(write)
                yield Record(write)
            case Await(attempt) if step.skips and (skip := _skip(step, attempt)) is not None:
                context.replay.replace_answer(step.key, (yield skip))
            case Await(attempt):
                end = _end(step, attempt, context.now())
                if end is None:
                    yield Pause(wait_for(attempt))
                    context.replay.add_answer(step.key, (yield ReadAnswer(attempt.id)))
                elif attempt.answer is not None:
                    write, output, cause = end
                    context.replay.record(write, output)
                    yield Record(write)
                else:
                    yield Flush()  # storing the begin of the wait delivers a buffered signal
                    yield Record(end[0])  # the database refuses it if a signal has arrived
                    yield Flush()
                    answer = yield ReadAnswer(attempt.id)
                    context.replay.add_answer(step.key, answer)
                    if answer is None:
                        context.replay.record(end[0])


def _begin(step: SignalStep, attempt_id: str, now: datetime) -> StepWrite:
    until = step.until(now)
    wait = {"kind": "signal-wait", "signal": step.signal, "timeoutAt": iso_ms(until)}
    if step.skips:
        wait["onInvalid"] = "skip"  # senders read it; another implementation ignores it
    return StepWrite(
        attempt_id, step.key, StepKind.SIGNAL_WAIT, StepStatus.RUNNING, now, context=wait
    )


def _end(
    step: SignalStep, attempt: RecordedAttempt, now: datetime
) -> tuple[StepWrite, Any, DataError | None] | None:
    """Return the write, the output and the data's error for a wait that is over, else None."""
    if isinstance(attempt.answer, DeliveredSignal):
        try:
            raw = _encode(step, attempt.answer)
        except DataError as exc:
            error = StoredError(f"Signal schema validation failed: {exc}", name="InvalidData")
            return failed(attempt, now, error), None, exc
        return completed(attempt, now, raw), codec.as_stored(codec.decode(raw)), None
    until = wake_time(attempt)
    if until is not None and now >= until:
        return completed(attempt, now, None), None, None
    return None


def _skip(step: SignalStep, attempt: RecordedAttempt) -> SkipSignal | None:
    """Return the effect that sets aside a signal whose data does not fit; None if it does fit."""
    if not isinstance(attempt.answer, DeliveredSignal):
        return None
    try:
        _encode(step, attempt.answer)
    except DataError as exc:
        reason = StoredError.from_exception(exc).message
        return SkipSignal(attempt.id, step.key, step.signal, attempt.answer.id, reason)
    return None


def _encode(step: SignalStep, signal: DeliveredSignal) -> bytes | None:
    """Return the output of the step for a signal. Raises DataError if the data does not fit."""
    data = _convert(step, signal.data)
    return codec.encode({"data": data}, path="data", owner=_owner(step))


def _convert(step: SignalStep, data: Any) -> Any:
    return upcasts.convert(data, step.type, step.upcast, path="data", owner=_owner(step))


def _owner(step: SignalStep) -> str:
    return f"signal {step.signal!r}"
