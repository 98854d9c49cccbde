"""Runs and their steps as aligned text for people. Times are in UTC."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from owsuper.cli.formatting import (
    moment,
    plain,
    printable,
    relative,
    remaining_lines,
    rough_span,
    span,
    summary,
    table,
)
from owsuper.cli.output import to_json
from owsuper.client.models import Run, StepAttempt
from owsuper.core.durations import parse_iso
from owsuper.core.model import RunStatus, StepKind, StepStatus

_OVERDUE: Final = 10.0  # seconds; a shorter delay is normal
_MAX_SIMILAR: Final = 6  # similar attempts in a row; of more, only the first and last are listed
_ROUNDING: Final = timedelta(milliseconds=10)  # waits are stored in whole milliseconds


# --- lists of runs ---------------------------------------------------------------------------


def listing(runs: Iterable[Run], at: datetime) -> list[str]:
    """Return a line for each run, under a heading; ``at`` is the present time."""
    heading = ("ID", "WORKFLOW", "VERSION", "STATUS", "CREATED", "TOOK", "")
    return table([heading, *(_line(run, at) for run in runs)], right=(5,))


def _line(run: Run, at: datetime) -> tuple[str, ...]:
    took = run.finished_at - run.created_at if run.finished_at else None
    return (
        plain(run.id),
        plain(run.workflow_name),
        "-" if run.version is None else plain(run.version),
        run.status,
        moment(run.created_at),
        "" if took is None else span(took.total_seconds()),
        _note(run, at),
    )


def _note(run: Run, at: datetime) -> str:
    if run.status is RunStatus.FAILED:
        return summary(run.error, 60)
    if _is_open(run) and run.worker_id is None and run.available_at is not None:
        return f"due {relative(run.available_at, at)}"
    return ""


# --- one run ---------------------------------------------------------------------------------


def details(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """Return the lines about one run: its facts, its waits, its steps in time, its errors.

    ``at`` is the present time.
    """
    lines = table(_facts(run, at))
    notes = [*_waits(run, steps, at), *_overdue(run, at)]
    if notes:
        lines += ["", *notes]
    if steps:
        lines += ["", "steps, by the time since the run was created:", *_timeline(run, steps, at)]
    for heading, text in _long_texts(run, steps):
        lines += ["", heading, *(f"  {line}" for line in text)]
    return lines


def _facts(run: Run, at: datetime) -> Iterator[tuple[str, object]]:
    version = "" if run.version is None else f", version {plain(run.version)}"
    yield "run", plain(run.id)
    yield "workflow", plain(run.workflow_name) + version
    yield "status", run.status
    yield "created", f"{moment(run.created_at)}, {relative(run.created_at, at)}"
    if run.finished_at:
        after = span((run.finished_at - run.created_at).total_seconds())
        yield "finished", f"{moment(run.finished_at)}, after {after}"
    elif run.available_at:
        label = "due" if run.worker_id is None else "leased until"
        yield label, f"{moment(run.available_at)}, {relative(run.available_at, at)}"
    if run.deadline_at:
        yield "deadline", f"{moment(run.deadline_at)}, {relative(run.deadline_at, at)}"
    yield "claims", run.attempts
    if run.worker_id is not None:
        yield "worker", plain(run.worker_id)
    if run.idempotency_key is not None:
        yield "key", plain(run.idempotency_key)
    if run.input is not None:
        yield "input", plain(to_json(run.input))
    if run.status is RunStatus.COMPLETED:
        yield "output", plain(to_json(run.output))
    if run.error:
        earlier = "" if run.status is RunStatus.FAILED else "earlier: "
        yield "error", earlier + summary(run.error)


def _long_texts(run: Run, steps: Sequence[StepAttempt]) -> Iterator[tuple[str, list[str]]]:
    """Yield (heading, lines) for errors longer than one line, and for the run's traceback."""
    stack = run.error.stack if run.error and run.status is RunStatus.FAILED else None
    of_run = remaining_lines(run.error)
    if of_run and run.error and run.error.message not in (stack or ""):
        yield "the error in full:", of_run
    for step in {step.step_name: step for step in steps if step.error}.values():
        lines = remaining_lines(step.error)
        if lines and lines != of_run:
            yield f"the error of {plain(step.step_name)!r} in full:", lines
    if stack:
        yield "in the worker:", [printable(line) for line in stack.rstrip().splitlines()]


def _overdue(run: Run, at: datetime) -> Iterator[str]:
    """Yield a note on a run that is due and that no worker claims."""
    if not _is_open(run) or run.available_at is None:
        return
    late = (at - run.available_at).total_seconds()
    if late < _OVERDUE:
        return
    since = "it was due" if run.worker_id is None else "the lease of its worker ended"
    yield (
        f"no worker has claimed this run since {since}, {rough_span(late)} ago. Check that a"
        " worker with this workflow and version runs in this namespace and has free slots."
    )


def _is_open(run: Run) -> bool:
    return not run.status.is_terminal


# --- the step attempts -----------------------------------------------------------------------


def _timeline(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """Return a line for each attempt, ordered by start; many similar ones are folded."""
    numbers: Counter[str] = Counter()
    last = {step.step_name: step.id for step in steps}
    totals = Counter(step.step_name for step in steps)
    rows: list[tuple[str, ...]] = []
    folds: dict[int, int] = {}  # row → how many attempts are left out before it
    for _, similar in groupby(steps, _similarity):
        group = list(similar)
        left_out = len(group) - 2 if len(group) > _MAX_SIMILAR else 0
        for index, step in enumerate(group):
            numbers[step.step_name] += 1
            if left_out and 0 < index <= left_out:
                folds[len(rows)] = left_out
                continue
            name = plain(step.step_name)
            if totals[step.step_name] > 1:
                name += f" (attempt {numbers[step.step_name]})"
            superseded = last[step.step_name] != step.id
            lost = run.status.is_terminal or superseded or _has_lost_process(run, step)
            began = ((step.started_at or step.created_at) - run.created_at).total_seconds()
            took = _took(step, at, lost=lost)
            rows.append(
                (f"  +{span(began)}", took, step.kind, step.status, name, _remark(step, lost))
            )
    return list(_with_folds(table(rows, right=(0, 1)), folds))


def _with_folds(lines: Sequence[str], folds: dict[int, int]) -> Iterator[str]:
    for index, line in enumerate(lines):
        if index in folds:
            yield f"  … {folds[index]} more …"
        yield line


def _similarity(step: StepAttempt) -> tuple[object, ...]:
    """Return the key that is equal for attempts of which only some need a line."""
    error = step.error and (step.error.name, step.error.message)
    return (step.step_name, step.kind, step.status, error, step.child_run_id)


def _took(step: StepAttempt, at: datetime, *, lost: bool) -> str:
    began = step.started_at or step.created_at
    if step.finished_at is not None:
        return span((step.finished_at - began).total_seconds())
    return "?" if lost else span((at - began).total_seconds())


def _remark(step: StepAttempt, lost: bool) -> str:
    """Return a remark on the attempt. If ``lost``, a running attempt can no longer end."""
    if step.status is StepStatus.FAILED:
        return summary(step.error)
    if step.status is StepStatus.RUNNING:
        if lost:
            return "never ended: its process died, or its run ended first"
        if (awaited := _awaited(step)) and (until := _until(step)):
            return f"waits for {awaited}, until {moment(until)}"
        return "so far"
    return f"run {plain(step.child_run_id)}" if step.child_run_id else ""


def _has_lost_process(run: Run, step: StepAttempt) -> bool:
    """Whether the attempt called a function in a process that died or released the run."""
    return step.kind is StepKind.FUNCTION and run.worker_id is None


# --- waits -----------------------------------------------------------------------------------


def _waits(run: Run, steps: Sequence[StepAttempt], at: datetime) -> Iterator[str]:
    """Yield notes on the waits of a parked run."""
    if run.status.is_terminal or run.worker_id is not None or run.available_at is None:
        return
    if run.available_at <= at:
        return
    waiting = [step for step in steps if step.status is StepStatus.RUNNING and _awaited(step)]
    for step in waiting:
        until = _until(step)
        limit = "" if until is None else f", until {moment(until)} ({relative(until, at)})"
        yield f"waits for {_awaited(step)}{limit}"
    if waiting:
        yield from _retries(run.available_at, steps, waiting, at)
    elif run.error is not None:
        yield f"retries {relative(run.available_at, at)}"
    else:
        yield f"due {relative(run.available_at, at)}"


def _retries(
    due: datetime, steps: Sequence[StepAttempt], waiting: Sequence[StepAttempt], at: datetime
) -> Iterator[str]:
    """Yield notes on steps that have a retry pending beside the waits.

    The time of a retry is stored only in ``due``, and only when it comes before every wait. The
    rows do not show whether the retries of a step are exhausted: the workflow's code decides.
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
    due_first = not ends or due < min(ends) - _ROUNDING
    for step in failed:
        name = f"{plain(step.step_name)!r} (failures: {failures[step.step_name]})"
        if due_first and len(failed) == 1:
            yield f"retries {name} {relative(due, at)}"
        else:
            yield f"may retry {name}"
    if due_first and len(failed) > 1:
        yield f"the first of these retries is due {relative(due, at)}"


def _awaited(step: StepAttempt) -> str:
    """Return a phrase for the object of a running step's wait; empty if it does not wait."""
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
