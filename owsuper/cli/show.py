"""Runs and their steps as text that people read: aligned, in UTC, one thing a line."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from typing import Final

from owsuper.cli import documents
from owsuper.cli.columns import table
from owsuper.cli.formatting import in_full, moment, plain, printable, relative, rough, span, summary
from owsuper.cli.timeline import long_errors, timeline, waits
from owsuper.client.models import Run, StepAttempt
from owsuper.core.model import RunStatus

_LONG: Final = 10.0  # seconds that a run may be due before somebody should wonder


# --- lists of runs ---------------------------------------------------------------------------


def listing(runs: Iterable[Run], at: datetime) -> list[str]:
    """A line for each run, under a heading."""
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
        _in_a_word(run, at),
    )


def _in_a_word(run: Run, at: datetime) -> str:
    if run.status is RunStatus.FAILED:
        return summary(run.error, 60)
    if _is_open(run) and run.worker_id is None and run.available_at is not None:
        return f"due {relative(run.available_at, at)}"
    return ""


# --- one run ---------------------------------------------------------------------------------


def everything(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """What is known of a run: facts, what it waits for, and its steps in time."""
    lines = table(_facts(run, at))
    notes = [*waits(run, steps, at), *_neglect(run, at)]
    if notes:
        lines += ["", *notes]
    if steps:
        lines += ["", "steps, by the time since the run was created:", *timeline(run, steps, at)]
    for heading, text in _details(run, steps):
        lines += ["", heading, *(f"  {line}" for line in text)]
    return lines


def _details(run: Run, steps: Sequence[StepAttempt]) -> Iterator[tuple[str, list[str]]]:
    """(heading, lines) of what is too long for one line."""
    stack = run.error.stack if run.error and run.status is RunStatus.FAILED else None
    whole = in_full(run.error)
    if whole and run.error and run.error.message not in (stack or ""):
        yield "the error in full:", whole
    for name, lines in long_errors(steps):
        if lines != whole:
            yield f"the error of {name!r} in full:", lines
    if stack:
        yield "in the worker:", [printable(line) for line in stack.rstrip().splitlines()]


def _facts(run: Run, at: datetime) -> Iterator[tuple[str, str]]:
    version = "" if run.version is None else f", version {plain(run.version)}"
    yield "run", plain(run.id)
    yield "workflow", plain(run.workflow_name) + version
    yield "status", run.status
    yield "created", f"{moment(run.created_at)}, {relative(run.created_at, at)}"
    if run.finished_at:
        after = span((run.finished_at - run.created_at).total_seconds())
        yield "finished", f"{moment(run.finished_at)}, after {after}"
    elif run.available_at:
        what = "due" if run.worker_id is None else "leased until"
        yield what, f"{moment(run.available_at)}, {relative(run.available_at, at)}"
    if run.deadline_at:
        yield "deadline", f"{moment(run.deadline_at)}, {relative(run.deadline_at, at)}"
    times = {0: "never", 1: "once"}
    yield "taken up", times.get(run.attempts, f"{run.attempts} times")
    if run.worker_id is not None:
        yield "worker", plain(run.worker_id)
    if run.idempotency_key is not None:
        yield "key", plain(run.idempotency_key)
    if run.input is not None:
        yield "input", plain(documents.encode(run.input))
    if run.status is RunStatus.COMPLETED:
        yield "output", plain(documents.encode(run.output))
    if run.error:
        earlier = "" if run.status is RunStatus.FAILED else "earlier: "
        yield "error", earlier + summary(run.error)


def _neglect(run: Run, at: datetime) -> Iterator[str]:
    """That nobody cares, if so."""
    if not _is_open(run) or run.available_at is None:
        return
    late = (at - run.available_at).total_seconds()
    if late < _LONG:
        return
    since = "since it was due" if run.worker_id is None else "since the lease of its worker ran out"
    yield (
        f"no worker has claimed it {since}, {rough(late)} ago: is one running that has this"
        " workflow and version, in this namespace, and is not busy with others?"
    )


def _is_open(run: Run) -> bool:
    return not run.status.is_terminal
