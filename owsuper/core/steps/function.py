"""The step that calls a function, and repeats the call by its retry policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from owsuper.core import codec, upcasts
from owsuper.core.decisions import Diverged, Execute, OverLimit, Recall, Reject, Wait
from owsuper.core.model import StepKind, StepStatus, StepWrite
from owsuper.core.retry import RetryPolicy, no_retry_reason
from owsuper.core.steps.effects import (
    Call,
    CallError,
    CallResult,
    Flush,
    MarkUndo,
    Pause,
    Record,
    Stored,
    TakeTurn,
    Transact,
)
from owsuper.core.steps.protocol import Context, StepGenerator, note_undo
from owsuper.core.time_outs import step_failure
from owsuper.core.undoing import UNDO_CONTEXT, UndoOf
from owsuper.core.upcasts import Upcast
from owsuper.errors import StepUsageError
from owsuper.stored_error import StoredError

if TYPE_CHECKING:
    from owsuper.core.limits import Rate


@dataclass(frozen=True, slots=True)
class FunctionStep:
    """One call of a function step: ``function`` takes no arguments and returns a ``type``.

    ``timeout`` is that of each attempt, in seconds. With a ``source``, the function takes what
    that opens, and its result is stored in the same transaction (see ``effects.Transact``).
    ``upcast``, here and in other steps, upgrades a stored result that does not fit ``type``.
    ``signal`` is what a ``signal-send`` step sends. ``undo`` makes the call of the step's undo,
    whose attempts take ``undo_timeout`` seconds at most. Without ``keeps_result``, the result is
    dropped. Each attempt takes a token of ``limit``, because a limit protects what is called.
    """

    key: str
    function: Callable[..., Any]
    policy: RetryPolicy
    type: Any = None
    kind: StepKind = StepKind.FUNCTION
    timeout: float | None = None
    source: Any = None
    upcast: Upcast | None = None
    signal: str | None = None
    undo: UndoOf | None = None
    undo_timeout: float | None = None
    keeps_result: bool = True
    limit: Rate | None = None

    @property
    def owner(self) -> str:
        """The owner of the result in error messages."""
        return f"step {self.key!r}"

    @property
    def context(self) -> dict[str, Any] | None:
        """The context of the attempts."""
        return None if self.undo is None else UNDO_CONTEXT

    def read(self, output: Any) -> Any:
        """Return the stored result as its type. Raises InvalidData."""
        return upcasts.convert(output, self.type, self.upcast, path="result", owner=self.owner)


def function_step(context: Context, step: FunctionStep) -> StepGenerator:
    """Return the recorded result, or execute the step until it succeeds.

    Raises StepFailed when the retries are exhausted: StepTimedOut if the last attempt timed out.
    """
    cause: BaseException | None = None
    while True:
        match context.replay.decide_function(step.key, step.policy, context.now(), step.kind):
            case Recall(output):
                if step.undo is not None:
                    read = partial(step.read, output)
                    note_undo(context, step.key, step.undo, read, step.undo_timeout)
                return step.read(output)
            case Reject(error):
                raise step_failure(step.key, error) from cause
            case Wait() as wait:
                yield Pause(wait)
            case OverLimit() as over:
                raise context.limit_error(over)
            case Diverged() as diverged:
                raise context.diverge(diverged)
            case Execute(attempt_id):
                context.check_passed(step.key)
                if step.undo is not None and not context.replay.has_undos:
                    yield MarkUndo()
                yield Flush()
                if step.limit is not None:
                    turn = yield TakeTurn(step.key, step.limit)
                    if turn is not None:
                        context.replay.put_off(step.key)
                        if isinstance(turn, CallError):
                            raise turn.exception
                        yield Pause(Wait(turn))
                        continue
                started = context.now()
                call = Call(
                    step.key,
                    attempt_id,
                    step.function,
                    step.kind,
                    step.timeout,
                    step.signal,
                    step.context,
                )
                if step.source is None:
                    answer = yield call
                else:
                    complete = partial(_completed, step, attempt_id, started, context.now)
                    answer = yield Transact(call, step.source, complete)
                if isinstance(answer, Stored):
                    context.replay.record(answer.write, answer.output)
                    continue
                write, output, cause = _write_of(step, attempt_id, started, context.now, answer)
                context.replay.record(write, output)
                yield Record(write)


def _write_of(
    step: FunctionStep,
    attempt_id: str,
    started: datetime,
    now: Callable[[], datetime],
    answer: CallResult | CallError,
) -> tuple[StepWrite, Any, BaseException | None]:
    """Return the write for a call, its output as the database will return it, and the cause.

    A result that cannot be stored fails the step without a retry: another call would repeat the
    effects of the function.
    """
    reason = None
    if isinstance(answer, CallResult):
        try:
            return *_completed(step, attempt_id, started, now, answer.value), None
        except MemoryError:
            raise
        except BaseException as exc:  # DataError, or what a hook of the type raised
            answer, final = CallError(exc), True
    else:
        reason = no_retry_reason(step.policy, answer.exception)
        final = reason is not None or isinstance(answer.exception, StepUsageError)
    error = StoredError.from_exception(answer.exception, final=final, no_retry_reason=reason)
    write = StepWrite(
        attempt_id,
        step.key,
        step.kind,
        StepStatus.FAILED,
        started,
        now(),
        context=step.context,
        error=error,
    )
    return write, None, answer.exception


def _completed(
    step: FunctionStep, attempt_id: str, started: datetime, now: Callable[[], datetime], value: Any
) -> tuple[StepWrite, Any]:
    """Return the write for a result, and its output as the database will return it."""
    if not step.keeps_result:
        value = None
    encoded, output = codec.encode_as(value, step.type, path="result", owner=step.owner)
    write = StepWrite(
        attempt_id,
        step.key,
        step.kind,
        StepStatus.COMPLETED,
        started,
        now(),
        context=step.context,
        output_json=encoded,
    )
    return write, output
