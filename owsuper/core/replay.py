"""Turns the history of a run into decisions about its steps.

It calls no user code, reads no clock and does no I/O: the caller passes the time in and performs
the decisions. One Replay serves one execution of the workflow function. The same history and the
same calls at the same times give the same decisions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from owsuper.core import codec, divergence
from owsuper.core.asked_steps import AskedSteps
from owsuper.core.attributes import ATTRIBUTES_CONTEXT, AttributeChanges
from owsuper.core.decisions import (
    Await,
    Begin,
    Diverged,
    Elapsed,
    Execute,
    OverLimit,
    Recall,
    Reject,
    Wait,
)
from owsuper.core.durations import add_ms, add_ms_clamped, ceil_ms, iso_ms, parse_iso
from owsuper.core.history import History, wake_time
from owsuper.core.model import (
    ChildRunState,
    DeliveredSignal,
    RecordedAttempt,
    RunStatus,
    StepKind,
    StepStatus,
    StepWrite,
)
from owsuper.core.patches import PATCH_CONTEXT, is_new_branch, patch_key
from owsuper.core.purpose import Purpose
from owsuper.core.retry import (
    RetryPolicy,
    pause_ms,
    refuses_time_out,
)
from owsuper.core.undoing import has_undo, is_undoable
from owsuper.errors import ConfigurationError
from owsuper.stored_error import StoredError

STEP_LIMIT: Final = 1000
"""The most step attempts of a run, by default; OpenWorkflow for TypeScript has the same limit."""

LARGEST_STEP_LIMIT: Final = 1_000_000
"""The highest limit that a workflow may set: every execution reads all attempts into memory."""


def check_step_limit(value: Any) -> int:
    """Return ``value`` if it is a valid step limit. Raises ConfigurationError."""
    is_int = isinstance(value, int) and not isinstance(value, bool)
    if not is_int or not 1 <= value <= LARGEST_STEP_LIMIT:
        raise ConfigurationError(
            f"step_limit: {value!r:.60} must be a whole number from 1 to {LARGEST_STEP_LIMIT:,}"
        )
    return int(value)


class Replay:
    """The state of one execution of a run: what is recorded, and what this execution adds.

    ``deadline`` is the run's, ``limit`` its step limit. ``new_id`` makes ids for step attempts.
    With ``recalls_only``, the execution does not go beyond the history. ``asked`` are the steps
    that it has called.
    """

    def __init__(
        self,
        attempts: Iterable[RecordedAttempt],
        *,
        new_id: Callable[[], str],
        deadline: datetime | None = None,
        limit: int = STEP_LIMIT,
        recalls_only: bool = False,
    ) -> None:
        attempts = list(attempts)
        self.recalls_only = recalls_only
        self.has_undos = any(map(has_undo, attempts))
        """Whether the run is marked as one whose steps have undos."""
        self._history = History(attempts)
        self._recorded = self._history.keys()
        """The keys of all steps that earlier executions have recorded."""
        self.asked = AskedSteps(attempts, self._recorded)
        self._new_id = new_id
        self._deadline = deadline
        self._limit = limit
        self._in_flight: set[str] = set()
        """The keys of attempts that this execution has begun and not recorded yet."""

    # --- divergence of code and history -------------------------------------------

    def check_kind(self, key: str, kind: StepKind) -> Diverged | None:
        """Return the divergence if an earlier execution recorded another kind of step."""
        if key not in self._recorded:
            return None
        recorded = self._history.kind_of(key)
        return None if recorded is None else divergence.of_kind(key, recorded, kind)

    def unreached(self) -> list[str]:
        """Return the keys of completed steps that this execution has not called, oldest first."""
        return [
            key
            for key, attempt in self._history.completed.items()
            if key not in self.asked and not is_new_branch(attempt)
        ]

    def passed(self, key: str) -> Diverged | None:
        """Return the divergence of a new step ``key`` that begins before recorded steps are called.

        A workflow function that calls one step after the other calls all recorded steps before it
        begins a new one. Of parallel branches this cannot be said.
        """
        missing = self.asked.missing
        if not missing or key in self._recorded:
            return None
        return divergence.of_new_step(key, list(missing))

    def passed_at_end(self) -> Diverged | None:
        """Return the divergence of a workflow function that returns without recorded steps."""
        unreached = self.unreached()
        return divergence.of_return(unreached) if unreached else None

    def limit_exceeded(self) -> OverLimit | None:
        """Return OverLimit if the history alone exceeds the step limit, else None.

        The history need not be complete then.
        """
        count = self._history.counted
        return OverLimit(self._limit, count) if count > self._limit else None

    # --- patches ----------------------------------------------------------------------------

    def has_patch(self, name: str) -> bool:
        """Whether the answer to ``decide_patch`` is recorded."""
        return patch_key(name) in self._history.completed

    def decide_patch(self, name: str, now: datetime) -> bool | StepWrite | OverLimit | Diverged:
        """Decide whether a run takes the new branch of a patch; a write records the answer.

        It does not if an earlier execution has come further than this place: a step is recorded
        that this execution has not called yet. The answer is recorded when it is first needed, and
        holds for the whole run.
        """
        key = patch_key(name)
        if diverged := self.check_kind(key, StepKind.FUNCTION):
            return diverged
        done = self._history.completed.get(key)
        was_past = self.asked.are_behind
        self.asked.add(key)
        if done is not None:
            return bool(done.output)
        if over := self._at_limit():
            return over
        return StepWrite(
            self._new_id(),
            key,
            StepKind.FUNCTION,
            StepStatus.COMPLETED,
            now,
            finished_at=now,
            context=PATCH_CONTEXT,
            output_json=b"false" if was_past else b"true",
        )

    def decide_attributes(
        self, key: str, changes: AttributeChanges, now: datetime
    ) -> StepWrite | OverLimit | Diverged | None:
        """Decide whether a change of attributes is to be written; None if it is recorded."""
        if diverged := self.check_kind(key, StepKind.FUNCTION):
            return diverged
        if key in self._history.completed:
            return None
        if over := self._at_limit():
            return over
        return StepWrite(
            self._new_id(),
            key,
            StepKind.FUNCTION,
            StepStatus.COMPLETED,
            now,
            finished_at=now,
            context=ATTRIBUTES_CONTEXT,
            output_json=codec.encode(changes, path="attributes"),
            attributes=changes,
        )

    # --- undos ------------------------------------------------------------------------------

    def undoable_since(self, key: str) -> datetime | None:
        """Return when the step ``key`` was completed, if that was with an undo."""
        done = self._history.completed.get(key)
        if done is None or not is_undoable(done):
            return None
        return done.finished_at or done.created_at

    def undoable(self) -> list[str]:
        """Return the keys of all completed steps that have undos, oldest first."""
        return [key for key, each in self._history.completed.items() if is_undoable(each)]

    # --- function steps ---------------------------------------------------------------------

    def decide_function(
        self,
        key: str,
        policy: RetryPolicy,
        now: datetime,
        kind: StepKind = StepKind.FUNCTION,
    ) -> Recall | Execute | Wait | Reject | OverLimit | Diverged:
        """Decide what to do with a step that calls a function or sends a signal."""
        if diverged := self.check_kind(key, kind):
            return diverged
        done = self._history.completed.get(key)
        if done is not None:
            return Recall(done.output)
        failed = self._history.failed.get(key, [])
        if failed:
            last = failed[-1]
            error = StoredError.from_json(last.error)
            exhausted = error.final or 0 < policy.maximum_attempts <= len(failed)
            if exhausted or refuses_time_out(policy, key, error):
                return Reject(error)
            pause = pause_ms(policy, len(failed), seed=last.id)
            due = add_ms_clamped(last.finished_at or last.created_at, pause)
            if (woken := parse_iso(error.retry_at)) is not None:
                due = min(due, woken)
            if self._deadline is not None and due >= self._deadline:
                return Reject(error)
            if due > now:
                return Wait(due, error=error)
        if over := self._at_limit():
            return over
        self._in_flight.add(key)
        # Unlike a call, an interrupted send is continued under its id: sending again is harmless.
        row = self._history.running.get(key)
        resumed = row is not None and row.kind == kind == StepKind.SIGNAL_SEND
        return Execute(row.id if row and resumed else self._new_id(), len(failed) + 1)

    def put_off(self, key: str) -> None:
        """Note that the attempt of this step that was decided does not begin yet."""
        self._in_flight.discard(key)

    def failures_of(self, key: str) -> int:
        """Return how many attempts of this step have failed so far."""
        return len(self._history.failed.get(key, ()))

    def record(self, write: StepWrite, output: Any = None) -> None:
        """Add an attempt of this execution to the history, as if it had been read back."""
        attempt = RecordedAttempt(
            id=write.attempt_id,
            step_name=write.step_name,
            kind=write.kind,
            status=write.status,
            context=write.context,
            output=output,
            error=write.error.to_json() if write.error is not None else None,
            created_at=write.started_at,
            started_at=write.started_at,
            finished_at=write.finished_at,
            answer=self._answer_of(write),
        )
        self._in_flight.discard(write.step_name)
        counted = self._history.counted
        self._history.add(attempt)
        if write.kind != StepKind.FUNCTION and write.status != StepStatus.RUNNING:
            began = self._history.running.pop(write.step_name, None)
            if began is not None and write.kind != StepKind.SIGNAL_SEND:
                # The row of a wait was counted when the wait began. The row of a SIGNAL_SEND was
                # not: a crash may have interrupted it.
                self._history.counted = counted

    def _answer_of(self, write: StepWrite) -> ChildRunState | DeliveredSignal | None:
        if write.child is not None:
            return ChildRunState(write.child.run_id, RunStatus.PENDING)
        began = self._history.running.get(write.step_name)
        return began.answer if began is not None and began.id == write.attempt_id else None

    def _at_limit(self) -> OverLimit | None:
        count = self._history.counted + len(self._in_flight)
        return OverLimit(self._limit, count) if count >= self._limit else None

    # --- sleeps -----------------------------------------------------------------------------

    def decide_sleep(
        self, key: str, duration_ms: Callable[[], float], now: datetime, at: datetime | None = None
    ) -> Recall | Wait | Elapsed | OverLimit | Diverged:
        """Decide what to do with a sleep of ``duration_ms()`` milliseconds, or until ``at``.

        ``duration_ms`` is called only when the sleep begins: a recorded sleep never restarts. With
        ``at``, the duration is ignored.
        """
        if diverged := self.check_kind(key, StepKind.SLEEP):
            return diverged
        if key in self._history.completed:
            return Recall(None)
        row = self._history.running.get(key)
        if row is not None and row.kind == StepKind.SLEEP:
            until = wake_time(row)
            if until is not None and until > now:
                return Wait(until)
            began = StepWrite(
                row.id,
                key,
                StepKind.SLEEP,
                StepStatus.RUNNING,
                row.started_at or row.created_at,
                context=row.context,
            )
            return Elapsed(replace(began, status=StepStatus.COMPLETED, finished_at=now))
        if over := self._at_limit():
            return over
        # Stored times have whole milliseconds, and rounding must not make a sleep shorter.
        until = add_ms(ceil_ms(now), duration_ms()) if at is None else ceil_ms(at)
        context = {"kind": "sleep", "resumeAt": iso_ms(until)}
        began = StepWrite(
            self._new_id(), key, StepKind.SLEEP, StepStatus.RUNNING, now, context=context
        )
        return Wait(until, write=began)

    # --- waits for an answer ----------------------------------------------------------------

    def decide_wait(
        self, key: str, kind: StepKind, purpose: Purpose | None = None
    ) -> Recall | Reject | Await | Begin | OverLimit | Diverged:
        """Decide what to do with a wait for a child run or a signal.

        A recorded wait must be for the same ``purpose``, if that is given.
        """
        if diverged := self.check_kind(key, kind):
            return diverged
        row = self._history.latest(key)
        if row is None or row.kind != kind:
            return self._at_limit() or Begin(self._new_id())
        if diverged := divergence.of_purpose(key, row, purpose, self._history.attempts()):
            return diverged
        match row.status:
            case StepStatus.COMPLETED | StepStatus.SUCCEEDED:
                return Recall(row.output)
            case StepStatus.FAILED:
                return Reject(StoredError.from_json(row.error), row)
            case _:
                return Await(row)

    def add_answer(self, key: str, answer: ChildRunState | DeliveredSignal | None) -> None:
        """Add ``answer`` to the recorded wait; None changes nothing."""
        row = self._history.running[key]
        self._history.running[key] = replace(row, answer=answer or row.answer)

    def replace_answer(self, key: str, answer: DeliveredSignal | None) -> None:
        """Set the answer of the recorded wait; with None, the wait goes on."""
        self._history.running[key] = replace(self._history.running[key], answer=answer)

    def waits_for_signal(self, signal: str) -> str | None:
        """Return the key of a recorded wait for ``signal`` that this execution has not reached."""
        for key, row in self._history.running.items():
            context = row.context if isinstance(row.context, dict) else {}
            waits = row.kind == StepKind.SIGNAL_WAIT and context.get("signal") == signal
            if waits and key not in self.asked:
                return key
        return None

    def next_wait(self) -> RecordedAttempt | None:
        """Return the running wait that ends first; None if no recorded step waits."""
        ends = [
            (until, attempt)
            for attempt in self._history.running.values()
            if (until := wake_time(attempt)) is not None
        ]
        return min(ends, key=lambda each: each[0], default=(None, None))[1]
