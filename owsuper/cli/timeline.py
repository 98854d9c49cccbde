"""The steps of a run as people read them: attempt by attempt, and what is waited for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from owsuper.cli.columns import table
from owsuper.cli.formatting import in_full, moment, plain, relative, span, summary
from owsuper.client.models import Run, StepAttempt
from owsuper.core.durations import parse_iso
from owsuper.core.model import StepKind, StepStatus

_MOST_ALIKE: Final = 6  # attempts in a row of which each is worth a line
_ROUNDING: Final = timedelta(milliseconds=10)  # waits are stored in whole milliseconds


# --- attempts --------------------------------------------------------------------------------


def timeline(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """A line for each attempt, in the order in which they began; many that are alike are folded."""
    tries: Counter[str] = Counter()
    last = {step.step_name: step.id for step in steps}
    totals = Counter(step.step_name for step in steps)
    rows: list[tuple[str, ...]] = []
    folds: dict[int, int] = {}  # how many are left out before a row
    for _, alike in groupby(steps, _likeness):
        group = list(alike)
        left_out = len(group) - 2 if len(group) > _MOST_ALIKE else 0
        for index, step in enumerate(group):
            tries[step.step_name] += 1
            if left_out and 0 < index <= left_out:
                folds[len(rows)] = left_out
                continue
            name = plain(step.step_name)
            if totals[step.step_name] > 1:
                name += f" ({tries[step.step_name]}. attempt)"
            lost = run.status.is_terminal or last[step.step_name] != step.id
            lost = lost or _is_nobodys(run, step)
            began = ((step.started_at or step.created_at) - run.created_at).total_seconds()
            took = _took(step, at, lost=lost)
            rows.append(
                (f"  +{span(began)}", took, step.kind, step.status, name, _remark(step, lost))
            )
    return list(_unfolded(table(rows, right=(0, 1)), folds))


def _unfolded(lines: Sequence[str], folds: dict[int, int]) -> Iterator[str]:
    for index, line in enumerate(lines):
        if index in folds:
            yield f"  … {folds[index]} more …"
        yield line


def _likeness(step: StepAttempt) -> tuple[object, ...]:
    """What attempts have in common that need not be told of one by one."""
    error = step.error and (step.error.name, step.error.message)
    return (step.step_name, step.kind, step.status, error, step.child_run_id)


def _took(step: StepAttempt, at: datetime, *, lost: bool) -> str:
    began = step.started_at or step.created_at
    if step.finished_at is not None:
        return span((step.finished_at - began).total_seconds())
    return "?" if lost else span((at - began).total_seconds())


def _remark(step: StepAttempt, lost: bool) -> str:
    """``lost`` says that the attempt, if it has not ended, never will."""
    if step.status is StepStatus.FAILED:
        return summary(step.error)
    if step.status is StepStatus.RUNNING:
        if lost:
            return "it never ended: its process died, or its run ended before it"
        if (what := _waits_for(step)) and (until := _until(step)):
            return f"waits for {what}, until {moment(until)}"
        return "so far"
    return f"run {plain(step.child_run_id)}" if step.child_run_id else ""


def _is_nobodys(run: Run, step: StepAttempt) -> bool:
    """Whether it was the call of a function in a process that has given the run back, or died."""
    return step.kind is StepKind.FUNCTION and run.worker_id is None


# --- errors ----------------------------------------------------------------------------------


def long_errors(steps: Sequence[StepAttempt]) -> Iterator[tuple[str, list[str]]]:
    """(step, lines) of the last errors of steps, where these do not fit into the timeline."""
    for step in {step.step_name: step for step in steps if step.error}.values():
        if lines := in_full(step.error):
            yield plain(step.step_name), lines


# --- waits -----------------------------------------------------------------------------------


def waits(run: Run, steps: Sequence[StepAttempt], at: datetime) -> Iterator[str]:
    """What a run that nobody executes just now waits for."""
    if run.status.is_terminal or run.worker_id is not None or run.available_at is None:
        return
    if run.available_at <= at:
        return
    waiting = [step for step in steps if step.status is StepStatus.RUNNING and _waits_for(step)]
    for step in waiting:
        until = _until(step)
        limit = "" if until is None else f", until {moment(until)} ({relative(until, at)})"
        yield f"it waits for {_waits_for(step)}{limit}"
    if waiting:
        yield from _retries(run.available_at, steps, waiting, at)
    elif run.error is not None:
        yield f"it will be tried again {relative(run.available_at, at)}"
    else:
        yield f"it will be due {relative(run.available_at, at)}"


def _retries(
    due: datetime, steps: Sequence[StepAttempt], waiting: Sequence[StepAttempt], at: datetime
) -> Iterator[str]:
    """The steps that are to be tried again beside what is waited for.

    When is stored nowhere but in ``due``, if that is before everything else; and of a step whose
    retries are used up, nothing tells it but the code of the workflow.
    """
    failures = Counter(step.step_name for step in steps if step.status is StepStatus.FAILED)
    failed = [
        step
        for step in {step.step_name: step for step in steps}.values()
        if step.status is StepStatus.FAILED
        and step.kind is StepKind.FUNCTION
        and not (step.error and step.error.final)
    ]
    ends = [until for step in waiting if (until := _until(step)) is not None]
    first = not ends or due < min(ends) - _ROUNDING
    for step in failed:
        times = failures[step.step_name]
        often = "once" if times == 1 else f"{times} times"
        what = f"{plain(step.step_name)!r}, which has failed {often}"
        if first and len(failed) == 1:
            yield f"it will try {what}, again {relative(due, at)}"
        else:
            yield f"it may have to try {what}, again"
    if first and len(failed) > 1:
        yield f"the first of these is due {relative(due, at)}"


def _waits_for(step: StepAttempt) -> str:
    """What a running step waits for; nothing, if it does something itself."""
    context = step.context if isinstance(step.context, dict) else {}
    match step.kind:
        case StepKind.SLEEP:
            return f"the end of {plain(step.step_name)!r}"
        case StepKind.SIGNAL_WAIT:
            return f"the signal {plain(str(context.get('signal', step.step_name)))!r}"
        case StepKind.WORKFLOW:
            return f"run {plain(step.child_run_id)}" if step.child_run_id else "its child run"
        case _:
            return ""


def _until(step: StepAttempt) -> datetime | None:
    context = step.context if isinstance(step.context, dict) else {}
    return parse_iso(context.get("resumeAt" if step.kind is StepKind.SLEEP else "timeoutAt"))
