"""The step attempts of a run as a timeline, and what a parked run waits for."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Final

from owsuper.cli.formatting import Layout, moment, plain, relative, span, summary
from owsuper.cli.tables import Column, fitted, with_folds
from owsuper.client import waiting
from owsuper.client.limit_reasons import may_wait
from owsuper.client.models import Run, RunRetry, StepAttempt
from owsuper.client.waiting import Parked
from owsuper.core.model import RunStatus, StepKind, StepStatus

_MAX_SIMILAR: Final = 6  # similar attempts in a row; of more, only the first and last are listed
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
        over = run.status.is_terminal or superseded or step.retried_at is not None
        lost = over or _has_lost_process(run, step)
        cells = (
            _offset(run, began),
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


def _offset(run: Run, began: datetime) -> str:
    """Return when a step began; a rerun has kept steps of the run that it repeats."""
    seconds = (began - run.created_at).total_seconds()
    return "  kept" if run.rerun_of and seconds < 0 else f"  +{span(seconds)}"


def _retry(run: Run, retry: RunRetry, width: int | None) -> _Entry:
    """Return the line for a retry of the run by a client."""
    offset = f"  +{span((retry.retried_at - run.created_at).total_seconds())}"
    step = "" if retry.from_step is None else f", from {plain(retry.from_step, width)!r}"
    has_failed = retry.status is RunStatus.FAILED
    was = summary(retry.error, width) if has_failed else f"was {retry.status}"
    return _Entry((offset, "", "retry", "", f"of the run{step}", was))


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
        if (awaited := _awaited(step, width)) and (until := waiting.until(step)):
            return f"waits for {awaited}, until {moment(until)}"
        return "so far"
    if step.retried_at is not None:
        return "set aside by the retry"
    if isinstance(step.context, dict) and isinstance(step.context.get("skipped"), dict):
        skipped = step.context["skipped"]
        why = f": {skipped['reason']}" if skipped.get("reason") else ""
        return plain(f"skipped by {skipped.get('by')}{why}", width)
    return f"run {plain(step.child_run_id)}" if step.child_run_id else ""


def _has_lost_process(run: Run, step: StepAttempt) -> bool:
    """Whether the attempt called a function in a process that died or released the run."""
    return step.kind is StepKind.FUNCTION and run.worker_id is None


# --- waits -----------------------------------------------------------------------------------


def waits(run: Run, steps: Sequence[StepAttempt], at: datetime, layout: Layout) -> Iterator[str]:
    """Yield notes on the waits of a parked run; of many, only some unless ``layout.full``."""
    parked = waiting.parked(run, steps, at)
    if parked is None:
        return
    if may_wait(run):
        yield "waits for a limit"
        return
    few = layout.full or len(parked.waits) <= _MAX_SIMILAR
    width = layout.room()
    for step in parked.waits if few else parked.waits[:2]:
        until = waiting.until(step)
        limit = "" if until is None else f", until {moment(until)} ({relative(until, at)})"
        yield f"waits for {_awaited(step, width)}{limit}"
    if not few:
        yield f"... and {len(parked.waits) - 2} more waits"
    if parked.waits:
        yield from _retries(parked, at, width)
    elif run.error is not None:
        yield f"retries {relative(parked.due, at)}"
    else:
        yield f"due {relative(parked.due, at)}"


def _retries(parked: Parked, at: datetime, width: int | None) -> Iterator[str]:
    """Yield notes on steps that have a retry pending beside the waits."""
    for retry in parked.retries:
        name = f"{plain(retry.step_name, width)!r} (failures: {retry.failures})"
        if parked.retry_due and len(parked.retries) == 1:
            yield f"retries {name} {relative(parked.due, at)}"
        else:
            yield f"may retry {name}"
    if parked.retry_due and len(parked.retries) > 1:
        yield f"the first of these retries is due {relative(parked.due, at)}"


def _awaited(step: StepAttempt, width: int | None) -> str:
    """Return a phrase for the object of a running step's wait; empty if it does not wait."""
    match step.kind:
        case StepKind.SLEEP:
            return f"the end of {plain(step.step_name, width)!r}"
        case StepKind.SIGNAL_WAIT:
            return f"the signal {plain(waiting.signal(step), width)!r}"
        case StepKind.WORKFLOW:
            return f"run {plain(step.child_run_id)}" if step.child_run_id else "its child run"
        case _:
            return ""
