"""One run and its steps as aligned text for people. Times are in UTC."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from owsuper.cli import post_mortems
from owsuper.cli.formatting import (
    Layout,
    cut,
    lines_unless,
    moment,
    plain,
    printable,
    relative,
    rough_span,
    span,
    summary,
    wrapped,
)
from owsuper.cli.output import to_json
from owsuper.cli.progress import described_at
from owsuper.cli.tables import GAP, table
from owsuper.cli.timeline import timeline, waits
from owsuper.client.limit_reasons import may_wait
from owsuper.client.models import Run, RunRetry, SkippedSignal, StepAttempt
from owsuper.client.post_mortem import PostMortem
from owsuper.client.reports import RunProgress
from owsuper.core.model import RunStatus
from owsuper.errors import StepLimitExceeded

_OVERDUE: Final = 10.0  # seconds; a shorter delay is normal
_NO_TERMINAL: Final = Layout()


def details(
    run: Run,
    steps: Sequence[StepAttempt],
    retries: Sequence[RunRetry],
    at: datetime,
    layout: Layout = _NO_TERMINAL,
    *,
    skipped: Sequence[SkippedSignal] = (),
    deaths: Sequence[PostMortem] = (),
    progress: RunProgress | None = None,
    undo: RunStatus | None = None,
) -> list[str]:
    """Return the lines about one run: its facts, its waits, its steps in time, its errors.

    ``at`` is the present time, ``skipped`` are the signals that its steps have skipped, ``deaths``
    those of its processes, ``progress`` is what its code last said, ``undo`` the status of the run
    that undoes it.
    """
    facts = [(label, str(value)) for label, value in _facts(run, at, progress, undo)]
    room = layout.room(max(len(label) for label, _ in facts) + GAP)
    lines = table((label, cut(value, room)) for label, value in facts)
    notes = [*waits(run, steps, at, layout), *overdue(run, at), *_advice(run)]
    if notes:
        lines += ["", *(line for note in notes for line in wrapped(note, layout.width))]
    if steps or retries:
        heading = "steps, by the time since the run was created:"
        lines += ["", heading, *timeline(run, steps, retries, at, layout)]
    if skipped:
        lines += [
            "",
            "signals that were skipped, by the same time:",
            *_skipped(run, skipped, layout),
        ]
    lines += post_mortems.section(run, deaths, layout)
    for heading, text in _long_texts(run, steps, "\n".join(lines)):
        lines += ["", *wrapped(heading, layout.width)]
        lines += [each for line in text for each in wrapped(f"  {line}", layout.width)]
    return lines


def _skipped(run: Run, signals: Sequence[SkippedSignal], layout: Layout) -> Iterator[str]:
    """Yield lines about each signal: its name and data, and why it was skipped."""
    for each in signals:
        offset = span((each.skipped_at - run.created_at).total_seconds())
        name = plain(each.signal, layout.room())
        data = plain(to_json(each.data), layout.room())
        text = f"  +{offset}  {name}  {data}: {plain(each.reason, None)}"
        yield from wrapped(text, layout.width)


def _facts(
    run: Run, at: datetime, progress: RunProgress | None, undo: RunStatus | None
) -> Iterator[tuple[str, object]]:
    version = "" if run.version is None else f", version {run.version}"
    yield "run", plain(run.id)
    yield "workflow", plain(run.workflow_name + version, None)
    if run.parent:
        yield "parent", f"{plain(run.parent.run_id)}, step {plain(run.parent.step_name, None)!r}"
    if run.continued_from:
        yield "continues", plain(run.continued_from, None)
    if run.continued_as:
        yield "continued as", plain(run.continued_as, None)
    if run.rerun_of:
        yield "rerun of", plain(run.rerun_of, None)
    if run.rerun_as:
        yield "rerun as", plain(run.rerun_as, None)
    if run.undo_of:
        yield "undoes", plain(run.undo_of, None)
    if run.undone_by:
        yield "undone by", plain(run.undone_by, None) + (f", {undo}" if undo else "")
    yield "status", run.status
    yield "created", f"{moment(run.created_at)}, {relative(run.created_at, at)}"
    if run.finished_at:
        began = run.began_at
        took = "" if began is None else f", took {span((run.finished_at - began).total_seconds())}"
        yield "finished", moment(run.finished_at) + took
    elif may_wait(run):
        yield "due", "when a limit lets it begin (owsuper why)"
    elif run.available_at:
        label = "due" if run.worker_id is None else "leased until"
        yield label, f"{moment(run.available_at)}, {relative(run.available_at, at)}"
    if run.deadline_at:
        yield "deadline", f"{moment(run.deadline_at)}, {relative(run.deadline_at, at)}"
    if progress is not None:
        yield "progress", described_at(progress, at)
    if run.priority:
        yield "priority", run.priority
    yield "claims", run.attempts
    if run.worker_id is not None:
        yield "worker", plain(run.worker_id, None)
    if run.idempotency_key is not None:
        yield "key", plain(run.idempotency_key, None)
    if run.attributes:
        pairs = (f"{name}={value}" for name, value in sorted(run.attributes.items()))
        yield "attributes", plain(", ".join(pairs), None)
    if run.input is not None:
        yield "input", plain(to_json(run.input), None)
    if run.status is RunStatus.COMPLETED:
        yield "output", plain(to_json(run.output), None)
    if run.error:
        earlier = "" if run.status is RunStatus.FAILED else "earlier: "
        yield "error", plain(earlier + summary(run.error, None), None)


def _long_texts(
    run: Run, steps: Sequence[StepAttempt], shown: str
) -> Iterator[tuple[str, list[str]]]:
    """Yield (heading, lines) for errors that ``shown`` cuts, and for the run's traceback."""
    stack = run.error.stack if run.error and run.status is RunStatus.FAILED else None
    of_run = lines_unless(shown, run.error)
    if of_run and run.error and run.error.message not in (stack or ""):
        yield "the error in full:", of_run
    known = [of_run]
    for step in {step.step_name: step for step in steps if step.error}.values():
        lines = lines_unless(shown, step.error)
        if lines not in ([], *known):
            known.append(lines)
            yield f"the error of {plain(step.step_name)!r} in full:", lines
    if stack:
        yield "in the worker:", [printable(line) for line in stack.rstrip().splitlines()]


def _advice(run: Run) -> Iterator[str]:
    """Yield what to do about a failure whose stored message does not say it."""
    if run.error and run.error.name == StepLimitExceeded.STORED_NAME:
        yield StepLimitExceeded.ADVICE


def overdue(run: Run, at: datetime) -> Iterator[str]:
    """Yield a note on a run that is due and that no worker claims."""
    if run.status.is_terminal or run.available_at is None:
        return
    late = (at - run.available_at).total_seconds()
    if late < _OVERDUE:
        return
    since = "it was due" if run.worker_id is None else "the lease of its worker ended"
    yield (
        f"no worker has claimed this run since {since}, {rough_span(late)} ago. Check that a"
        " worker with this workflow and version runs in this namespace and has free slots, or ask"
        " owsuper why."
    )
