"""Ends the waits of a run in memory, as ``RunHandle.wake`` does in the database."""

from __future__ import annotations

from dataclasses import replace

from owsuper.core.durations import iso_ms
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.errors import RunNotWakeable
from owsuper.testing.rows import MemoryAttempt
from owsuper.testing.tables import Tables


def wake(tables: Tables, run_id: str, step: str | None) -> None:
    """End the waits of a run, or that of one step, now. Raises RunNotWakeable."""
    run = tables.runs[run_id]
    own = [each for each in tables.attempts.values() if each.run_id == run_id]
    done = {each.write.step_name for each in own if each.write.status == StepStatus.COMPLETED}
    waits = [
        each
        for each in own
        if each.write.kind in (StepKind.SLEEP, StepKind.SIGNAL_WAIT)
        and each.write.status == StepStatus.RUNNING
    ]
    pauses = [
        each
        for each in own
        if each.write.kind == StepKind.FUNCTION
        and each.write.status == StepStatus.FAILED
        and each.write.step_name not in done
    ]
    named = [each for each in (*waits, *pauses) if step in (None, each.write.step_name)]
    pending = step is None and run.status == RunStatus.PENDING
    if run.ended or not (pending or (waits if step is None else named)):
        raise RunNotWakeable(
            f"Cannot wake the run of {run.workflow_name} with status {run.status}: it has no wait"
            " to end.",
            run_id=run_id,
            status=run.status,
        )
    for each in named:
        _end(tables, each)
    tables.wake(run_id)


def _end(tables: Tables, attempt: MemoryAttempt) -> None:
    write, at = attempt.write, iso_ms(tables.now)
    if write.error is not None:
        attempt.write = replace(write, error=replace(write.error, retry_at=at))
    else:
        member = "resumeAt" if write.kind == StepKind.SLEEP else "timeoutAt"
        attempt.write = replace(write, context={**(write.context or {}), member: at})
