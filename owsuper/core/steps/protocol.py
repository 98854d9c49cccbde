"""The common parts of all steps: context, generator, and the rows of a wait.

Each kind of step is a generator that yields effects (``effects``) and returns the step's value.
A driver performs the effects: it blocks for ``def`` workflows and awaits for ``async def``
workflows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from datetime import datetime
from typing import Any, Protocol

from owsuper.core.decisions import Diverged, OverLimit, Wait
from owsuper.core.history import wake_time
from owsuper.core.model import RecordedAttempt, StepKind, StepStatus, StepWrite
from owsuper.core.replay import Replay
from owsuper.core.steps.effects import Effect
from owsuper.core.undoing import Undo, UndoOf, Undos
from owsuper.errors import NonDeterminismError, StepLimitExceeded
from owsuper.stored_error import StoredError

StepGenerator = Generator[Effect, Any, Any]
"""Yields effects, receives the driver's answers, and returns the step's value."""


class Context(Protocol):
    """The part of an execution that a step needs."""

    replay: Replay
    undos: Undos

    def now(self) -> datetime:
        """Return the time on the database's clock."""
        ...

    def limit_error(self, over: OverLimit) -> StepLimitExceeded:
        """Decide that the run fails at its step limit, and return the error to raise."""
        ...

    def check_passed(self, key: str) -> None:
        """Say that the new step ``key`` begins at the place of a recorded one, if it does.

        Raises NonDeterminismError if the workflow is strict.
        """
        ...

    def diverge(self, diverged: Diverged) -> NonDeterminismError:
        """Decide that the run fails because the code diverged; return the error to raise."""
        ...


def note_undo(
    context: Context, key: str, undo: UndoOf, result: Callable[[], Any], timeout: float | None
) -> None:
    """Note the undo of a completed step, whose ``result()`` it takes.

    A step whose attempt does not say that it has an undo is left alone: it was executed by code
    that gave it none, or it is a copy, and what it has done belongs to another run.
    """
    completed_at = context.replay.undoable_since(key)
    if completed_at is not None:
        context.undos.add(Undo(key, completed_at, undo(result), timeout))


def wait_for(attempt: RecordedAttempt) -> Wait:
    """Return the wait for the answer of a running ``workflow`` or ``signal-wait`` attempt."""
    until = wake_time(attempt)
    assert until is not None
    return Wait(until, awaits=attempt.id, for_signal=attempt.kind == StepKind.SIGNAL_WAIT)


def completed(attempt: RecordedAttempt, now: datetime, output: bytes | None) -> StepWrite:
    """Return the write that completes a running attempt; ``output`` is encoded JSON."""
    return _ended(attempt, StepStatus.COMPLETED, now, output_json=output)


def failed(attempt: RecordedAttempt, now: datetime, error: StoredError) -> StepWrite:
    """Return the write that fails a running attempt."""
    return _ended(attempt, StepStatus.FAILED, now, error=error)


def _ended(attempt: RecordedAttempt, status: StepStatus, now: datetime, **result: Any) -> StepWrite:
    return StepWrite(
        attempt.id,
        attempt.step_name,
        StepKind(attempt.kind),
        status,
        attempt.started_at or attempt.created_at,
        finished_at=now,
        context=attempt.context,
        **result,
    )
