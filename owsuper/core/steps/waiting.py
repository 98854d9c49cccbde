"""The protocol of steps that wait for an answer: for the end of a child, for a signal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from owsuper.core import codec
from owsuper.core.decisions import Await, Begin, Diverged, OverLimit, Recall, Reject, Wait
from owsuper.core.durations import iso_ms
from owsuper.core.history import wake_time
from owsuper.core.model import (
    ChildRunState,
    Delivery,
    NewChildRun,
    RecordedAttempt,
    RunStatus,
    Signal,
    StepKind,
    StepStatus,
    StepWrite,
    StoredError,
)
from owsuper.core.steps.effects import EnsureChildRun, Flush, Pause, ReadAnswer, Record
from owsuper.core.steps.function import Context, Steps
from owsuper.errors import (
    ChildCanceled,
    ChildFailed,
    ChildTimedOut,
    DataError,
    StepFailed,
    StepUsageError,
)

_TIMED_OUT: Final = "Timed out waiting for child workflow to complete"
_ENDED: Final = frozenset(status for status in RunStatus if status.is_terminal)
_SUCCEEDED: Final = (RunStatus.COMPLETED, RunStatus.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class ChildRunStep:
    """One call of a step that starts a run and waits for it.

    ``until`` says when to give up, from the time at which it begins; ``prepare`` makes the run,
    and raises DataError for an input that the workflow does not take. ``type`` is its result's.
    """

    key: str
    until: Callable[[datetime], datetime]
    prepare: Callable[[], NewChildRun]
    type: Any = None


@dataclass(frozen=True, slots=True)
class SignalStep:
    """One call of a step that waits for a signal; ``type`` is that of the data."""

    key: str
    signal: str
    until: Callable[[datetime], datetime]
    type: Any = None


# --- children -------------------------------------------------------------------------------


def child_run_step(context: Context, step: ChildRunStep) -> Steps:
    """Start the child, or find it again; its result. Raises ChildFailed, StepFailed."""
    cause: BaseException | None = None
    while True:
        match context.replay.awaited(step.key, StepKind.WORKFLOW):
            case Recall(output):
                owner = f"child workflow step {step.key!r}"
                return codec.convert(output, step.type, path="result", owner=owner)
            case Reject(error, attempt):
                raise _child_error(step.key, error, attempt) from cause
            case OverLimit() as over:
                raise context.exceed(over)
            case Diverged() as diverged:
                raise context.diverge(diverged)
            case Begin(attempt_id):
                write, cause = _begin_child(step, attempt_id, context.now())
                context.replay.record(write)
                yield Record(write)
            case Await(attempt) if attempt.answer is None:
                answer = yield EnsureChildRun(attempt.id, step.prepare())
                context.replay.answered(step.key, answer)
            case Await(attempt):
                end = _end_of_child(step.key, attempt, context.now())
                if end is None:
                    yield Pause(_wait(attempt))
                    context.replay.answered(step.key, (yield ReadAnswer(attempt.id)))
                else:
                    write, output = end
                    context.replay.record(write, output)
                    yield Record(write)


def _begin_child(
    step: ChildRunStep, attempt_id: str, now: datetime
) -> tuple[StepWrite, DataError | None]:
    context = {"kind": "workflow", "timeoutAt": iso_ms(step.until(now))}
    write = StepWrite(
        attempt_id, step.key, StepKind.WORKFLOW, StepStatus.RUNNING, now, context=context
    )
    try:
        return replace(write, child=step.prepare()), None
    except DataError as exc:
        error = StoredError.from_exception(exc)
        return replace(write, status=StepStatus.FAILED, finished_at=now, error=error), exc


def _end_of_child(
    key: str, attempt: RecordedAttempt, now: datetime
) -> tuple[StepWrite, Any] | None:
    """What to write of a child that ended, or that is waited for no longer; and its output."""
    child = attempt.answer
    assert isinstance(child, ChildRunState)
    until = wake_time(attempt)
    ended = child.status in _ENDED
    in_time = ended and (until is None or child.finished_at is None or child.finished_at <= until)
    if until is not None and now >= until and not in_time:
        return _failed(attempt, now, StoredError(_TIMED_OUT, name="ChildTimedOut")), None
    if not ended:
        return None
    if child.status in _SUCCEEDED:
        return _completed(attempt, now, codec.encode(child.output, path="result")), child.output
    if child.status == RunStatus.CANCELED:
        error = StoredError(_canceled(key, child.run_id), name="ChildCanceled")
    elif child.error is None:
        error = StoredError(f'Child workflow run "{child.run_id}" failed', name="ChildFailed")
    else:
        error = replace(StoredError.from_json(child.error), final=False)
    return _failed(attempt, now, error), None


def _child_error(key: str, error: StoredError, attempt: RecordedAttempt | None) -> StepFailed:
    """What user code sees. How the child ended is not stored with the step, but with the child;
    but that we gave up waiting is, where we wrote it: the child may have ended a moment before.
    """
    if attempt is None or not isinstance(child := attempt.answer, ChildRunState):
        return StepFailed(key, error)  # it never started
    if error.message == _canceled(key, child.run_id) and child.status == RunStatus.CANCELED:
        return ChildCanceled(key, error, child.run_id)
    until = wake_time(attempt)
    late = child.finished_at is None or (until is not None and child.finished_at > until)
    if error.message == _TIMED_OUT and (late or error.name == "ChildTimedOut"):
        return ChildTimedOut(key, error, child.run_id)
    return ChildFailed(key, error, child.run_id)


def _canceled(key: str, run_id: str) -> str:
    return f'Workflow step "{key}" failed because child workflow run "{run_id}" was canceled'


# --- signals --------------------------------------------------------------------------------


def signal_step(context: Context, step: SignalStep) -> Steps:
    """Wait for the signal; it, or None when none came in time. Raises StepFailed."""
    cause: BaseException | None = None
    while True:
        match context.replay.awaited(step.key, StepKind.SIGNAL_WAIT):
            case Recall(output):
                if output is None:
                    return None
                data = output.get("data") if isinstance(output, dict) else None
                return Signal(codec.convert(data, step.type, path="data", owner=_owner(step)))
            case Reject(error):
                raise StepFailed(step.key, error) from cause
            case OverLimit() as over:
                raise context.exceed(over)
            case Diverged() as diverged:
                raise context.diverge(diverged)
            case Begin(attempt_id):
                if (other := context.replay.waits_for_signal(step.signal)) is not None:
                    raise StepUsageError(
                        f'Signal "{step.signal}" is already being waited on by step "{other}"'
                    )
                write = _begin_wait(step, attempt_id, context.now())
                context.replay.record(write)
                yield Record(write)
            case Await(attempt):
                end = _end_of_wait(step, attempt, context.now())
                if end is None:
                    yield Pause(_wait(attempt))
                    context.replay.answered(step.key, (yield ReadAnswer(attempt.id)))
                elif attempt.answer is not None:
                    write, output, cause = end
                    context.replay.record(write, output)
                    yield Record(write)
                else:
                    yield Flush()  # what is kept for it is delivered as its beginning is stored
                    yield Record(end[0])  # refused if something has come
                    yield Flush()
                    came = yield ReadAnswer(attempt.id)
                    context.replay.answered(step.key, came)
                    if came is None:
                        context.replay.record(end[0])


def _begin_wait(step: SignalStep, attempt_id: str, now: datetime) -> StepWrite:
    until = step.until(now)
    wait = {"kind": "signal-wait", "signal": step.signal, "timeoutAt": iso_ms(until)}
    return StepWrite(
        attempt_id, step.key, StepKind.SIGNAL_WAIT, StepStatus.RUNNING, now, context=wait
    )


def _end_of_wait(
    step: SignalStep, attempt: RecordedAttempt, now: datetime
) -> tuple[StepWrite, Any, DataError | None] | None:
    """What to write of a wait that is over, its output, and what is wrong with the data."""
    if isinstance(attempt.answer, Delivery):
        try:
            data = codec.convert(attempt.answer.data, step.type, path="data", owner=_owner(step))
            raw = codec.encode({"data": data}, path="data", owner=_owner(step))
        except DataError as exc:
            error = StoredError(f"Signal schema validation failed: {exc}", name="InvalidData")
            return _failed(attempt, now, error), None, exc
        return _completed(attempt, now, raw), codec.as_stored(codec.decode(raw)), None
    until = wake_time(attempt)
    if until is not None and now >= until:
        return _completed(attempt, now, None), None, None
    return None


def _owner(step: SignalStep) -> str:
    return f"signal {step.signal!r}"


# --- both -----------------------------------------------------------------------------------


def _wait(attempt: RecordedAttempt) -> Wait:
    until = wake_time(attempt)
    assert until is not None
    return Wait(until, awaits=attempt.id, for_signal=attempt.kind == StepKind.SIGNAL_WAIT)


def _completed(attempt: RecordedAttempt, now: datetime, output: bytes | None) -> StepWrite:
    return _ended(attempt, StepStatus.COMPLETED, now, output_json=output)


def _failed(attempt: RecordedAttempt, now: datetime, error: StoredError) -> StepWrite:
    return _ended(attempt, StepStatus.FAILED, now, error=error)


def _ended(attempt: RecordedAttempt, status: StepStatus, now: datetime, **what: Any) -> StepWrite:
    return StepWrite(
        attempt.id,
        attempt.step_name,
        StepKind(attempt.kind),
        status,
        attempt.started_at or attempt.created_at,
        finished_at=now,
        context=attempt.context,
        **what,
    )
