"""The step attempts of a run as a timeline, and what a parked run waits for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from typing import Final

from owsuper.cli.formatting import Layout, moment, plain, relative, span, summary
from owsuper.cli.tables import Column, fitted, with_folds
from owsuper.client.models import Run, RunRetry, StepAttempt
from owsuper.core.durations import parse_iso
from owsuper.core.model import StepKind, StepStatus

_MAX_SIMILAR: Final = 6  # similar attempts in a row; of more, only the first and last are listed
_ROUNDING: Final = timedelta(milliseconds=10)  # waits are stored in whole milliseconds
_NUMBER: Final = re.compile(r":\d+\Z")  # of the second, third ... step of one name


# --- the step attempts -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Entry:
    """A line of the timeline. Of many entries of one ``kind``, ``similar`` ones are folded."""

    cells: tuple[str, ...]
    kind: tuple[str, ...] = ()
    similar: tuple[object, ...] = ()
    status: str = ""


def timeline(
    run: Run,
    steps: Sequence[StepAttempt],
    retries: Sequence[RunRetry],
    at: datetime,
    layout: Layout,
) -> list[str]:
    """Return a line for each attempt and each retry of the run, in the order of time.

    Many similar attempts are folded. ``at`` is the present time.
    """
    entries = _entries(run, steps, retries, at, layout)
    folds: dict[int, str] = {}
    if not layout.full:
        entries, folds = _folded(entries)
    offsets, tooks, kinds, statuses, names, remarks = zip(
        *(entry.cells for entry in entries), strict=True
    )
    columns = [
        Column(cells=offsets, rank=4, least=20, right=True),
        Column(cells=tooks, rank=5, least=20, right=True),
        Column(cells=kinds, rank=6, least=20),
        Column(cells=statuses, rank=2, least=20),
        Column(cells=names, rank=1, least=20, yields=2),
        Column(cells=remarks, rank=3, least=25, yields=1),
    ]
    return with_folds(fitted(columns, None if layout.full else layout.width), folds)


def _entries(
    run: Run,
    steps: Sequence[StepAttempt],
    retries: Sequence[RunRetry],
    at: datetime,
    layout: Layout,
) -> list[_Entry]:
    width = layout.room()
    numbers: Counter[str] = Counter()
    last = {step.step_name: step.id for step in steps}
    totals = Counter(step.step_name for step in steps)
    entries: list[_Entry] = []
    ahead = list(retries)
    for step in steps:
        began = step.started_at or step.created_at
        while ahead and ahead[0].retried_at < began:
            entries.append(_retry(run, ahead.pop(0), width))
        numbers[step.step_name] += 1
        name = plain(step.step_name, width)
        if totals[step.step_name] > 1:
            name += f" (attempt {numbers[step.step_name]})"
        superseded = last[step.step_name] != step.id
        lost = run.status.is_terminal or superseded or _has_lost_process(run, step)
        cells = (
            f"  +{span((began - run.created_at).total_seconds())}",
            _took(step, at, lost=lost),
            step.kind,
            step.status,
            name,
            _remark(step, lost, width),
        )
        kind = (_NUMBER.sub("", step.step_name), step.kind)
        error = step.error and (step.error.name, step.error.message)
        entries.append(_Entry(cells, kind, (step.status, error, lost), step.status))
    return [*entries, *(_retry(run, each, width) for each in ahead)]


def _retry(run: Run, retry: RunRetry, width: int | None) -> _Entry:
    """Return the line for a retry of the run by a client."""
    offset = f"  +{span((retry.retried_at - run.created_at).total_seconds())}"
    return _Entry((offset, "", "retry", "", "of the run", summary(retry.error, width)))


def _folded(entries: Sequence[_Entry]) -> tuple[list[_Entry], dict[int, str]]:
    """Return the entries to list, and by index the text before an entry for those left out."""
    shown: list[_Entry] = []
    folds: dict[int, str] = {}
    for kind, stretch in groupby(entries, lambda entry: entry.kind):
        group = list(stretch)
        kept = _kept(group) if kind else set(range(len(group)))
        left_out: list[_Entry] = []
        for index, entry in enumerate(group):
            if index not in kept:
                left_out.append(entry)
                continue
            if left_out:
                folds[len(shown)] = f"  ... {_count(left_out)} ..."
                left_out = []
            shown.append(entry)
    return shown, folds


def _kept(group: Sequence[_Entry]) -> set[int]:
    """Return the indices that are listed: all of few similar entries, the ends of many."""
    places: dict[tuple[object, ...], list[int]] = {}
    for index, entry in enumerate(group):
        places.setdefault(entry.similar, []).append(index)
    kept: set[int] = set()
    for indices in places.values():
        kept.update(indices if len(indices) <= _MAX_SIMILAR else (indices[0], indices[-1]))
    return kept


def _count(left_out: Sequence[_Entry]) -> str:
    statuses = Counter(entry.status for entry in left_out)
    if len(statuses) == 1:
        return f"{len(left_out)} more"
    return f"{len(left_out)} more: " + ", ".join(f"{n} {each}" for each, n in statuses.items())


def _took(step: StepAttempt, at: datetime, *, lost: bool) -> str:
    began = step.started_at or step.created_at
    if step.finished_at is not None:
        return span((step.finished_at - began).total_seconds())
    return "?" if lost else span((at - began).total_seconds())


def _remark(step: StepAttempt, lost: bool, width: int | None) -> str:
    """Return a remark on the attempt. If ``lost``, a running attempt can no longer end."""
    if step.status is StepStatus.FAILED:
        return summary(step.error, width)
    if step.status is StepStatus.RUNNING:
        if lost:
            return "never ended: its process died, or its run ended first"
        if (awaited := _awaited(step, width)) and (until := _until(step)):
            return f"waits for {awaited}, until {moment(until)}"
        return "so far"
    return f"run {plain(step.child_run_id)}" if step.child_run_id else ""


def _has_lost_process(run: Run, step: StepAttempt) -> bool:
    """Whether the attempt called a function in a process that died or released the run."""
    return step.kind is StepKind.FUNCTION and run.worker_id is None


# --- waits -----------------------------------------------------------------------------------


def waits(run: Run, steps: Sequence[StepAttempt], at: datetime, layout: Layout) -> Iterator[str]:
    """Yield notes on the waits of a parked run; of many, only some unless ``layout.full``."""
    if run.status.is_terminal or run.worker_id is not None or run.available_at is None:
        return
    if run.available_at <= at:
        return
    waiting = [step for step in steps if step.status is StepStatus.RUNNING and _awaited(step, None)]
    few = layout.full or len(waiting) <= _MAX_SIMILAR
    width = layout.room()
    for step in waiting if few else waiting[:2]:
        until = _until(step)
        limit = "" if until is None else f", until {moment(until)} ({relative(until, at)})"
        yield f"waits for {_awaited(step, width)}{limit}"
    if not few:
        yield f"... and {len(waiting) - 2} more waits"
    if waiting:
        yield from _retries(run.available_at, steps, waiting, at, width)
    elif run.error is not None:
        yield f"retries {relative(run.available_at, at)}"
    else:
        yield f"due {relative(run.available_at, at)}"


def _retries(
    due: datetime,
    steps: Sequence[StepAttempt],
    waiting: Sequence[StepAttempt],
    at: datetime,
    width: int | None,
) -> Iterator[str]:
    """Yield notes on steps that have a retry pending beside the waits.

    The time of a retry is stored only in ``due``, and only when it comes before every wait. The
    rows do not show whether the retries of a step are exhausted: the workflow's code decides.
    """
    steps = [step for step in steps if step.retried_at is None]
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
        name = f"{plain(step.step_name, width)!r} (failures: {failures[step.step_name]})"
        if due_first and len(failed) == 1:
            yield f"retries {name} {relative(due, at)}"
        else:
            yield f"may retry {name}"
    if due_first and len(failed) > 1:
        yield f"the first of these retries is due {relative(due, at)}"


def _awaited(step: StepAttempt, width: int | None) -> str:
    """Return a phrase for the object of a running step's wait; empty if it does not wait."""
    context = step.context if isinstance(step.context, dict) else {}
    match step.kind:
        case StepKind.SLEEP:
            return f"the end of {plain(step.step_name, width)!r}"
        case StepKind.SIGNAL_WAIT:
            return f"the signal {plain(str(context.get('signal', step.step_name)), width)!r}"
        case StepKind.WORKFLOW:
            return f"run {plain(step.child_run_id)}" if step.child_run_id else "its child run"
        case _:
            return ""


def _until(step: StepAttempt) -> datetime | None:
    context = step.context if isinstance(step.context, dict) else {}
    return parse_iso(context.get("resumeAt" if step.kind is StepKind.SLEEP else "timeoutAt"))
