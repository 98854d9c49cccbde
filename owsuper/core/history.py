"""The recorded attempts of a run, grouped by step key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from owsuper.core.durations import add_years, parse_iso
from owsuper.core.model import RecordedAttempt, StepKind, StepStatus


class History:
    """The attempts of one run, added oldest first, grouped by step key; later attempts win.

    completed     step key → the attempt that completed the step
    failed        step key → its failed attempts, oldest first
    running       step key → the last attempt that is neither completed nor failed
    """

    __slots__ = ("completed", "counted", "failed", "running")

    def __init__(self, attempts: Iterable[RecordedAttempt] = ()) -> None:
        self.completed: dict[str, RecordedAttempt] = {}
        self.failed: dict[str, list[RecordedAttempt]] = {}
        self.running: dict[str, RecordedAttempt] = {}
        self.counted = 0
        """Attempts that count towards the step limit: all except those that a crash interrupted."""
        for attempt in attempts:
            self.add(attempt)

    def add(self, attempt: RecordedAttempt) -> None:
        """Add an attempt that is newer than all before it."""
        match attempt.status:
            case StepStatus.COMPLETED | StepStatus.SUCCEEDED:
                self.completed[attempt.step_name] = attempt
            case StepStatus.FAILED:
                self.failed.setdefault(attempt.step_name, []).append(attempt)
            case _:
                self.running[attempt.step_name] = attempt
        self.counted += not attempt.is_abandoned

    def keys(self) -> frozenset[str]:
        """Return the keys of all steps that have an attempt."""
        return frozenset(self.completed.keys() | self.failed.keys() | self.running.keys())

    def latest(self, key: str) -> RecordedAttempt | None:
        """Return the attempt that decides about the step: completed, else failed, else running."""
        if (done := self.completed.get(key)) is not None:
            return done
        if failed := self.failed.get(key):
            return failed[-1]
        return self.running.get(key)

    def attempts(self) -> Iterator[RecordedAttempt]:
        """Yield the attempts that decide about their steps, in no order."""
        for key in self.keys():
            if (attempt := self.latest(key)) is not None:
                yield attempt

    def kind_of(self, key: str) -> str | None:
        """Return the kind of step that is recorded under this key, or None."""
        row = self.latest(key)
        return None if row is None or row.is_abandoned else row.kind


def wake_time(attempt: RecordedAttempt) -> datetime | None:
    """Return the latest end of a running attempt's wait, or None for an attempt without one."""
    context = attempt.context if isinstance(attempt.context, dict) else {}
    match attempt.kind:
        case StepKind.SLEEP:
            return parse_iso(context.get("resumeAt")) if context.get("kind") == "sleep" else None
        case StepKind.WORKFLOW | StepKind.SIGNAL_WAIT:
            known = context.get("kind") == attempt.kind
            stored = parse_iso(context.get("timeoutAt")) if known else None
            return stored or add_years(attempt.created_at, 1)
        case _:
            return None
