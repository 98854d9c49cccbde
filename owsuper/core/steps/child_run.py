"""The step that starts a child run and waits for its end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from owsuper.core import codec, upcasts
from owsuper.core.decisions import Await, Begin, Diverged, OverLimit, Recall, Reject
from owsuper.core.durations import iso_ms
from owsuper.core.history import wake_time
from owsuper.core.model import (
    ChildRunState,
    NewChildRun,
    RecordedAttempt,
    RunStatus,
    StepKind,
    StepStatus,
    StepWrite,
)
from owsuper.core.purpose import Purpose, digest
from owsuper.core.steps.effects import (
    EnsureChildRun,
    MarkUndo,
    Pause,
    ReadAnswer,
    ReadChildInput,
    Record,
)
from owsuper.core.steps.protocol import (
    Context,
    StepGenerator,
    completed,
    failed,
    note_undo,
    wait_for,
)
from owsuper.core.undoing import UNDO_CONTEXT, UndoOf
from owsuper.core.upcasts import Upcast
from owsuper.errors import ChildCanceled, ChildFailed, ChildTimedOut, DataError, StepFailed
from owsuper.stored_error import StoredError

_TIMED_OUT: Final = "Timed out waiting for child workflow to complete"
_ENDED: Final = frozenset(status for status in RunStatus if status.is_terminal)
_SUCCEEDED: Final = (RunStatus.COMPLETED, RunStatus.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class ChildRunStep:
    """One call of a step that starts a child run and waits for its end.

    ``until`` returns the end of the wait for a wait that begins at the given time. ``prepare``
    makes the run, and raises DataError for an input that does not fit the workflow. ``type`` is
    the type of the result. ``purpose`` is compared with the recorded one. ``reread`` returns a
    stored input as today's type of the input would store it, and raises DataError. ``undo`` and
    ``undo_timeout`` are as in ``FunctionStep``.
    """

    key: str
    until: Callable[[datetime], datetime]
    prepare: Callable[[], NewChildRun]
    type: Any = None
    purpose: Purpose | None = None
    reread: Callable[[bytes | None], bytes | None] | None = None
    upcast: Upcast | None = None
    undo: UndoOf | None = None
    undo_timeout: float | None = None

    def read(self, output: Any) -> Any:
        """Return the stored result as its type. Raises InvalidData."""
        owner = f"child workflow step {self.key!r}"
        return upcasts.convert(output, self.type, self.upcast, path="result", owner=owner)


def child_run_step(context: Context, step: ChildRunStep) -> StepGenerator:
    """Start the child run, or find it again, and return its result.

    Raises ChildFailed when the child run fails, and StepFailed when it cannot start.
    """
    cause: BaseException | None = None
    while True:
        match context.replay.decide_wait(step.key, StepKind.WORKFLOW, step.purpose):
            case Recall(output):
                if step.undo is not None:
                    read = partial(step.read, output)
                    note_undo(context, step.key, step.undo, read, step.undo_timeout)
                return step.read(output)
            case Reject(error, attempt):
                raise _child_error(step.key, error, attempt) from cause
            case OverLimit() as over:
                raise context.limit_error(over)
            case Diverged(input_of=str(attempt_id)) as diverged:
                if not _is_input(step, (yield ReadChildInput(attempt_id))):
                    raise context.diverge(diverged)
                step = replace(step, purpose=None)  # the type has changed, and not the value
            case Diverged() as diverged:
                raise context.diverge(diverged)
            case Begin(attempt_id):
                context.check_passed(step.key)
                if step.undo is not None and not context.replay.has_undos:
                    yield MarkUndo()
                write, cause = _begin(step, attempt_id, context.now())
                context.replay.record(write)
                yield Record(write)
            case Await(attempt) if attempt.answer is None:
                answer = yield EnsureChildRun(attempt.id, step.prepare())
                context.replay.add_answer(step.key, answer)
            case Await(attempt):
                end = _end(step.key, attempt, context.now())
                if end is None:
                    yield Pause(wait_for(attempt))
                    context.replay.add_answer(step.key, (yield ReadAnswer(attempt.id)))
                else:
                    write, output = end
                    context.replay.record(write, output)
                    yield Record(write)


def _begin(
    step: ChildRunStep, attempt_id: str, now: datetime
) -> tuple[StepWrite, DataError | None]:
    context: dict[str, Any] = {"kind": "workflow", "timeoutAt": iso_ms(step.until(now))}
    if step.purpose is not None:
        context |= step.purpose.as_context()
    if step.undo is not None:
        context |= UNDO_CONTEXT
    write = StepWrite(
        attempt_id, step.key, StepKind.WORKFLOW, StepStatus.RUNNING, now, context=context
    )
    try:
        return replace(write, child=step.prepare()), None
    except DataError as exc:
        error = StoredError.from_exception(exc)
        return replace(write, status=StepStatus.FAILED, finished_at=now, error=error), exc


def _is_input(step: ChildRunStep, stored: bytes | None) -> bool:
    """Whether the child run's stored input is the one that the code asks for now.

    The type of the input may have got fields with defaults since the child run was started.
    """
    if step.reread is None or step.purpose is None:
        return False
    try:
        return digest(step.reread(stored)) == step.purpose.digest
    except DataError:
        return False


def _end(key: str, attempt: RecordedAttempt, now: datetime) -> tuple[StepWrite, Any] | None:
    """Return the write and the output for a child run that ended or timed out, else None."""
    child = attempt.answer
    assert isinstance(child, ChildRunState)
    until = wake_time(attempt)
    ended = child.status in _ENDED
    in_time = ended and (until is None or child.finished_at is None or child.finished_at <= until)
    if until is not None and now >= until and not in_time:
        return failed(attempt, now, StoredError(_TIMED_OUT, name="ChildTimedOut")), None
    if not ended:
        return None
    if child.status in _SUCCEEDED:
        return completed(attempt, now, codec.encode(child.output, path="result")), child.output
    if child.status == RunStatus.CANCELED:
        error = StoredError(_canceled(key, child.run_id), name="ChildCanceled")
    elif child.error is None:
        error = StoredError(f'Child workflow run "{child.run_id}" failed', name="ChildFailed")
    else:
        error = replace(StoredError.from_json(child.error), final=False)
    return failed(attempt, now, error), None


def _child_error(key: str, error: StoredError, attempt: RecordedAttempt | None) -> StepFailed:
    """Return the error for user code.

    The step stores only the child run's error, so the status of the child run shows whether it was
    canceled. The child run may have ended after a timeout, so owsuper stores a timeout by its name.
    """
    if attempt is None or not isinstance(child := attempt.answer, ChildRunState):
        return StepFailed(key, error)  # the child run never started
    if error.message == _canceled(key, child.run_id) and child.status == RunStatus.CANCELED:
        return ChildCanceled(key, error, child.run_id)
    until = wake_time(attempt)
    late = child.finished_at is None or (until is not None and child.finished_at > until)
    if error.message == _TIMED_OUT and (late or error.name == "ChildTimedOut"):
        return ChildTimedOut(key, error, child.run_id)
    return ChildFailed(key, error, child.run_id)


def _canceled(key: str, run_id: str) -> str:
    return f'Workflow step "{key}" failed because child workflow run "{run_id}" was canceled'
