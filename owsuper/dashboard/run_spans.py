"""What happened to a run, as spans for its timeline. Pure; times become seconds since its creation.

The tables keep when the run was created, claimed first and ended, and each attempt. Earlier claims
are not kept, except for those that ended with the death of a process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from owsuper.client import waiting
from owsuper.client.models import Run, RunRetry, StepAttempt
from owsuper.client.post_mortem import PostMortem
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.dashboard.axis import Axis, axis
from owsuper.dashboard.timeline import Span
from owsuper.stored_error import StoredError

RUN_LABEL: Final = "the run"
_MAX_TITLE: Final = 200
_SHORTEST_PAUSE: Final = 0.001  # seconds between two attempts that are worth a bar
_MARGIN: Final = 0.02  # of the axis of a run that has not ended, so that its bars can grow


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStory:
    """What the timeline shows of a run, at the time ``at``.

    ``hide_values``: messages of errors are not shown, as they may hold values.
    """

    run: Run
    attempts: Sequence[StepAttempt]
    at: datetime
    retries: Sequence[RunRetry] = ()
    deaths: Sequence[PostMortem] = ()
    hide_values: bool = False
    attempt_href: Callable[[StepAttempt], str] = field(default=lambda attempt: "")


def whole_axis(story: RunStory) -> Axis:
    """Return the axis from the creation of the run to its end, or to a little after ``at``."""
    last = story.run.finished_at or story.at
    ends = [each.finished_at for each in story.attempts if each.finished_at is not None]
    length = _since(story.run, max([last, *ends]))
    if not story.run.status.is_terminal:
        length *= 1 + _MARGIN
    return axis(0.0, length)


def spans(story: RunStory) -> Iterator[Span]:
    """Yield the spans of a run: its own first, then those of its steps by the time they began."""
    yield from _of_run(story)
    yield from _of_steps(story)


# --- the run itself ------------------------------------------------------------------------------


def _of_run(story: RunStory) -> Iterator[Span]:
    run = story.run
    began = run.began_at or _first_known_claim(story)
    end = run.finished_at or story.at
    queued_until = began or end
    yield _span(
        story, RUN_LABEL, "queue", "waiting", run.created_at, queued_until,
        "waits for its first claim", growing=began is None and not run.status.is_terminal,
    )  # fmt: skip
    if began is not None:
        yield _span(
            story, RUN_LABEL, "run", run.status, began, end,
            f"from its first claim, {run.status}", growing=not run.status.is_terminal,
        )  # fmt: skip
    if run.worker_id is not None and not run.status.is_terminal:
        since = max(run.started_at or run.created_at, *_claim_limits(story))
        yield _span(
            story, "claims", "claim", "running", since, story.at,
            f"claimed by {run.worker_id}", growing=True,
        )  # fmt: skip
    for death in story.deaths:
        length = timedelta(seconds=death.run_seconds or 0.0)
        counted = "" if death.counted else " (not counted as a crash)"
        step = f" in {death.step!r}" if death.step else ""
        title = f"its process died{step}: {death.cause}{counted}"
        began = max(death.died_at - length, run.created_at)
        yield _span(story, "claims", "crash", "failed", began, death.died_at, title)
    for retry in story.retries:
        why = _reason(story, retry.error)
        after = "a failure" if retry.status is RunStatus.FAILED else f"it was {retry.status}"
        step = "" if retry.from_step is None else f" from {retry.from_step!r}"
        title = f"retried by a client{step} after {after}{why}"
        yield _span(story, RUN_LABEL, "retry", "waiting", retry.retried_at, retry.retried_at, title)


def _first_known_claim(story: RunStory) -> datetime | None:
    """Return when the first execution began that ended with the death of its process."""
    begins = [each.died_at - timedelta(seconds=each.run_seconds or 0.0) for each in story.deaths]
    return max(min(begins), story.run.created_at) if begins else None


def _claim_limits(story: RunStory) -> list[datetime]:
    """Return times after which the present claim began."""
    ends = [death.died_at for death in story.deaths]
    ends += [retry.retried_at for retry in story.retries]
    return [story.run.created_at, *ends]


# --- steps ---------------------------------------------------------------------------------------


def _of_steps(story: RunStory) -> Iterator[Span]:
    latest = {each.step_name: each.id for each in story.attempts}
    before: dict[str, StepAttempt] = {}
    numbers: dict[str, int] = {}
    for attempt in sorted(story.attempts, key=began_at):
        name = attempt.step_name
        numbers[name] = numbers.get(name, 0) + 1
        if (earlier := before.get(name)) is not None and earlier.finished_at is not None:
            yield from _pause(story, name, earlier.finished_at, began_at(attempt))
        before[name] = attempt
        yield _attempt(story, attempt, numbers[name], superseded=latest[name] != attempt.id)
    yield from _pending_retries(story, before)


def _pause(story: RunStory, name: str, begin: datetime, end: datetime) -> Iterator[Span]:
    if (end - begin).total_seconds() >= _SHORTEST_PAUSE:
        yield _span(story, name, "pause", "waiting", begin, end, "pause before the next attempt")


def _pending_retries(story: RunStory, last: dict[str, StepAttempt]) -> Iterator[Span]:
    parked = waiting.parked(story.run, story.attempts, story.at)
    if parked is None:
        return
    for retry in parked.retries:
        attempt = last[retry.step_name]
        if attempt.finished_at is not None:
            title = f"pause before the next attempt (failures: {retry.failures})"
            yield _span(
                story, retry.step_name, "pause", "waiting", attempt.finished_at, story.at,
                title, growing=True,
            )  # fmt: skip


def _attempt(story: RunStory, attempt: StepAttempt, number: int, *, superseded: bool) -> Span:
    run = story.run
    begin = began_at(attempt)
    kind = attempt.kind.value
    title = f"attempt {number}" if attempt.kind is StepKind.FUNCTION else kind
    href = story.attempt_href(attempt)
    if attempt.finished_at is not None:
        kept = run.rerun_of is not None and begin < run.created_at
        status = "kept" if kept else attempt.status.value
        if kept:  # its times are those of another run
            begin = end = run.created_at
        else:
            end = attempt.finished_at
        why = _reason(story, attempt.error) if attempt.status is StepStatus.FAILED else ""
        said = f"kept from run {run.rerun_of}" if kept else f"{attempt.status}{why}"
        return _span(
            story, attempt.step_name, kind, status, begin, end, f"{title}, {said}", href=href
        )
    if is_lost(run, attempt, superseded=superseded):
        end = run.finished_at or begin
        said = "never ended: its process died, or its run ended first"
        return _span(
            story, attempt.step_name, kind, "lost", begin, end, f"{title}, {said}", href=href
        )
    waits = attempt.kind in (StepKind.SLEEP, StepKind.SIGNAL_WAIT, StepKind.WORKFLOW)
    return _span(
        story, attempt.step_name, kind, "waiting" if waits else "running", begin, story.at,
        f"{title}, {_present(attempt)}", href=href, growing=True,
    )  # fmt: skip


def is_lost(run: Run, attempt: StepAttempt, *, superseded: bool) -> bool:
    """Whether an attempt that has no end can no longer end."""
    if attempt.status is not StepStatus.RUNNING:
        return False
    in_a_process = attempt.kind in (StepKind.FUNCTION, StepKind.SIGNAL_SEND)
    over = run.status.is_terminal or superseded or attempt.retried_at is not None
    return over or (in_a_process and run.worker_id is None)


def began_at(attempt: StepAttempt) -> datetime:
    """Return when an attempt began."""
    return attempt.started_at or attempt.created_at


def _present(attempt: StepAttempt) -> str:
    end = waiting.until(attempt)
    limit = "" if end is None else f", until {end:%Y-%m-%d %H:%M:%SZ}"
    match attempt.kind:
        case StepKind.SLEEP:
            return f"sleeps{limit}"
        case StepKind.SIGNAL_WAIT:
            return f"waits for the signal {waiting.signal(attempt)!r}{limit}"
        case StepKind.WORKFLOW:
            return f"waits for run {attempt.child_run_id or '(not started yet)'}{limit}"
        case _:
            return "running"


def _reason(story: RunStory, error: StoredError | None) -> str:
    """Return the beginning of a message, unless messages are hidden."""
    return "" if error is None or story.hide_values else f": {error.summary()}"


def _span(
    story: RunStory,
    label: str,
    kind: str,
    status: RunStatus | str,
    begin: datetime,
    end: datetime,
    title: str,
    *,
    href: str = "",
    growing: bool = False,
) -> Span:
    title = f"{label}: {title}"
    start = _since(story.run, begin)
    return Span(
        label,
        kind,
        str(status),
        start,
        max(start, _since(story.run, end)),
        title if len(title) <= _MAX_TITLE else f"{title[: _MAX_TITLE - 3]}...",
        href,
        growing,
    )


def _since(run: Run, when: datetime) -> float:
    return (when - run.created_at).total_seconds()
