"""Runs and their steps as text that people read: aligned, in UTC, one thing a line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from owsuper.cli import documents
from owsuper.client.details import Run, StepAttempt
from owsuper.core.durations import parse_iso
from owsuper.core.model import ErrorPayload, RunStatus, StepKind, StepStatus

_LONG: Final = 10.0  # seconds that a run may be due before somebody should wonder
_WIDTH: Final = 100  # characters of a value or an error; --json shows all


def now() -> datetime:
    """The time by this host's clock, which may differ a little from the database's."""
    return datetime.now(UTC)


# --- words -----------------------------------------------------------------------------------


def span(seconds: float) -> str:
    """A length of time in its two largest units; a negative one counts as none."""
    seconds = max(0.0, seconds)
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.995:
        return f"{seconds:.2f}s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days}d {hours}h"
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {rest}s"


def moment(when: datetime) -> str:
    """A time to the second."""
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"


def _relative(when: datetime, at: datetime) -> str:
    """``when``, as seen at the time ``at``: 5m 0s ago, or in 5m 0s."""
    ahead = (when - at).total_seconds()
    return f"in {_rough(ahead)}" if ahead > 0 else f"{_rough(-ahead)} ago"


def _rough(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds < 59.5 else span(seconds)


def plain(text: str, width: int = _WIDTH) -> str:
    """``text`` on one line, cut to ``width``, without what would command a terminal."""
    line = " ".join(text.split())
    line = line if len(line) <= width else f"{line[: width - 3]}..."
    return _printable(line)


def table(rows: Iterable[Sequence[object]], right: Sequence[int] = ()) -> list[str]:
    """Rows in columns, two blanks apart; those at the indices in ``right`` end at one edge."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            cell.rjust(width) if index in right else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in texts
    ]


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
        return _summary(run.error, 60)
    if _is_open(run) and run.worker_id is None and run.available_at is not None:
        return f"due {_relative(run.available_at, at)}"
    return ""


# --- one run ---------------------------------------------------------------------------------


def everything(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """What is known of a run: facts, what it waits for, and its steps in time."""
    lines = table(_facts(run, at))
    notes = [*_waits(run, steps, at), *_neglect(run, at)]
    if notes:
        lines += ["", *notes]
    if steps:
        lines += ["", "steps, by the time since the run was created:", *timeline(run, steps, at)]
    if run.status is RunStatus.FAILED and run.error and run.error.stack:
        stack = run.error.stack.rstrip().splitlines()
        lines += ["", "in the worker:", *(f"  {_printable(line)}" for line in stack)]
    return lines


def _facts(run: Run, at: datetime) -> Iterator[tuple[str, str]]:
    version = "" if run.version is None else f", version {plain(run.version)}"
    yield "run", plain(run.id)
    yield "workflow", plain(run.workflow_name) + version
    yield "status", run.status
    yield "created", f"{moment(run.created_at)}, {_relative(run.created_at, at)}"
    if run.finished_at:
        after = span((run.finished_at - run.created_at).total_seconds())
        yield "finished", f"{moment(run.finished_at)}, after {after}"
    elif run.available_at:
        what = "due" if run.worker_id is None else "leased until"
        yield what, f"{moment(run.available_at)}, {_relative(run.available_at, at)}"
    if run.deadline_at:
        yield "deadline", f"{moment(run.deadline_at)}, {_relative(run.deadline_at, at)}"
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
        yield "error", earlier + _summary(run.error)


def _waits(run: Run, steps: Sequence[StepAttempt], at: datetime) -> Iterator[str]:
    """What a run that nobody executes just now waits for."""
    if not _is_open(run) or run.worker_id is not None or run.available_at is None:
        return
    if run.available_at <= at:
        return
    waiting = [step for step in steps if step.status is StepStatus.RUNNING and _waits_for(step)]
    for step in waiting:
        until = _until(step)
        limit = "" if until is None else f", until {moment(until)} ({_relative(until, at)})"
        yield f"it waits for {_waits_for(step)}{limit}"
    if not waiting and run.error is not None:
        yield f"it will be tried again {_relative(run.available_at, at)}"
    elif not waiting:
        yield f"it will be due {_relative(run.available_at, at)}"


def _neglect(run: Run, at: datetime) -> Iterator[str]:
    """That nobody cares, if so."""
    if not _is_open(run) or run.available_at is None:
        return
    late = (at - run.available_at).total_seconds()
    if late < _LONG:
        return
    since = "since it was due" if run.worker_id is None else "since the lease of its worker ran out"
    yield (
        f"no worker has claimed it {since}, {_rough(late)} ago: is one running that has this"
        " workflow and version, in this namespace, and is not busy with others?"
    )


def timeline(run: Run, steps: Sequence[StepAttempt], at: datetime) -> list[str]:
    """A line for each attempt, in the order in which they began."""
    tries: Counter[str] = Counter()
    last = {step.step_name: step.id for step in steps}
    totals = Counter(step.step_name for step in steps)
    rows = []
    for step in steps:
        tries[step.step_name] += 1
        name = plain(step.step_name)
        if totals[step.step_name] > 1:
            name += f" ({tries[step.step_name]}. attempt)"
        lost = not _is_open(run) or last[step.step_name] != step.id or _is_nobodys(run, step)
        began = ((step.started_at or step.created_at) - run.created_at).total_seconds()
        took = _took(step, at, lost=lost)
        rows.append((f"  +{span(began)}", took, step.kind, step.status, name, _remark(step, lost)))
    return table(rows, right=(0, 1))


def _took(step: StepAttempt, at: datetime, *, lost: bool) -> str:
    began = step.started_at or step.created_at
    if step.finished_at is not None:
        return span((step.finished_at - began).total_seconds())
    return "?" if lost else span((at - began).total_seconds())


def _remark(step: StepAttempt, lost: bool) -> str:
    """``lost`` says that the attempt, if it has not ended, never will."""
    if step.status is StepStatus.FAILED:
        return _summary(step.error)
    if step.status is StepStatus.RUNNING:
        if lost:
            return "it never ended: its process died, or its run ended before it"
        if (what := _waits_for(step)) and (until := _until(step)):
            return f"waits for {what}, until {moment(until)}"
        return "so far"
    return f"run {plain(step.child_run_id)}" if step.child_run_id else ""


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


def _summary(error: ErrorPayload | None, width: int = _WIDTH) -> str:
    return "" if error is None else plain(error.summary(), width)


def _is_nobodys(run: Run, step: StepAttempt) -> bool:
    """Whether it was the call of a function in a process that has given the run back, or died."""
    return step.kind is StepKind.FUNCTION and run.worker_id is None


def _is_open(run: Run) -> bool:
    return not run.status.is_terminal


def _printable(line: str) -> str:
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in line)
