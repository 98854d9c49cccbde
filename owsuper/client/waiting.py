"""What a parked run waits for, read from the run and its step attempts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from owsuper.client.models import Run, StepAttempt
from owsuper.core.durations import parse_iso
from owsuper.core.model import StepKind, StepStatus

_ROUNDING: Final = timedelta(milliseconds=10)  # waits are stored in whole milliseconds
_WAITING: Final = (StepKind.SLEEP, StepKind.SIGNAL_WAIT, StepKind.WORKFLOW)


@dataclass(frozen=True, slots=True)
class PendingRetry:
    """A step that has failed so many times, and may be tried again."""

    step_name: str
    failures: int


@dataclass(frozen=True, slots=True)
class Parked:
    """The waits of a run that has no owner until it is ``due``.

    ``waits`` are attempts of sleeps, of waits for signals and of child runs. The time of a retry is
    stored only in ``due``, and only if it comes before every wait: ``retry_due`` says so. The rows
    do not show whether the retries of a step are exhausted: the workflow's code decides.
    """

    due: datetime
    waits: tuple[StepAttempt, ...]
    retries: tuple[PendingRetry, ...]
    retry_due: bool


def parked(run: Run, steps: Sequence[StepAttempt], at: datetime) -> Parked | None:
    """Return what the run waits for at the time ``at``; None if it is not parked."""
    if run.status.is_terminal or run.worker_id is not None or run.available_at is None:
        return None
    if run.available_at <= at:
        return None
    steps = [step for step in steps if step.retried_at is None]
    waits = tuple(
        step for step in steps if step.status is StepStatus.RUNNING and step.kind in _WAITING
    )
    ends = [end for step in waits if (end := until(step)) is not None]
    retry_due = not ends or run.available_at < min(ends) - _ROUNDING
    return Parked(run.available_at, waits, _pending_retries(steps), retry_due)


def until(step: StepAttempt) -> datetime | None:
    """Return the end of a step's wait; None if it has none."""
    context = step.context if isinstance(step.context, dict) else {}
    return parse_iso(context.get("resumeAt" if step.kind is StepKind.SLEEP else "timeoutAt"))


def signal(step: StepAttempt) -> str:
    """Return the name of the signal that a step waits for."""
    context = step.context if isinstance(step.context, dict) else {}
    return str(context.get("signal", step.step_name))


def _pending_retries(steps: Sequence[StepAttempt]) -> tuple[PendingRetry, ...]:
    failures = Counter(step.step_name for step in steps if step.status is StepStatus.FAILED)
    return tuple(
        PendingRetry(step.step_name, failures[step.step_name])
        for step in {step.step_name: step for step in steps}.values()
        if step.status is StepStatus.FAILED
        and step.kind is StepKind.FUNCTION
        and not (step.error and step.error.final)
    )
