"""Errors for what the state of a run does not allow, from the answers of statements."""

from __future__ import annotations

import difflib
from datetime import datetime
from typing import Any, Final

import orjson

from owsuper.core.model import RunStatus
from owsuper.core.names import list_names
from owsuper.core.undoing import undone_workflow
from owsuper.errors import (
    RunExists,
    RunNotCancelable,
    RunNotRerunnable,
    RunNotRetryable,
    RunNotWakeable,
)

_OPEN: Final = frozenset({RunStatus.PENDING, RunStatus.RUNNING, RunStatus.SLEEPING})


def check_own(run_id: str, workflow_name: str, rows: list[tuple[Any, ...]]) -> str:
    """Return the id of a run that was started, or had been; ``rows`` hold its workflow's name."""
    for (name,) in rows:
        if name != workflow_name:
            raise RunExists(
                f'Cannot start workflow "{workflow_name}" with the id {run_id}: a run of'
                f' workflow "{name}" has this id. Choose another id.',
                run_id=run_id,
            )
    return run_id


def check_canceled(run_id: str, status: str) -> None:
    """Raise for a run that had this ``status`` when it was to be canceled."""
    if status in _OPEN or status == RunStatus.CANCELED:
        return
    if status in (RunStatus.COMPLETED, RunStatus.SUCCEEDED, RunStatus.FAILED):
        raise RunNotCancelable(
            f"Cannot cancel workflow run {run_id} with status {status}", run_id=run_id
        )
    raise RunNotCancelable("Failed to cancel workflow run", run_id=run_id)


def check_retried(
    run_id: str, status: str, missed: datetime | None, undone_by: str | None = None
) -> None:
    """Raise for a run that had this ``status``, or this ``missed`` deadline, before a retry.

    Raises for a run that is ``undone_by`` another, too.
    """
    if status != RunStatus.FAILED:
        raise _not_retryable(run_id, status, "only a failed run can be retried")
    if reason := _passed(missed, undone_by):
        raise _not_retryable(run_id, status, reason)


def check_rewound(
    run_id: str,
    step: str,
    status: str,
    missed: datetime | None,
    undone_by: str | None,
    hindrances: dict[str, Any],
) -> None:
    """Raise for a run that was not put back to ``step``. ``hindrances`` are those of ``retry``."""
    if (undone := undone_workflow(hindrances["workflow"])) is not None:
        reason = f'it undoes a run of workflow "{undone}". Retry it without a step if it has failed'
    elif status in _OPEN:
        reason = "it has not ended. Cancel it first, or wait for its end"
    elif (successor := hindrances["successor"]) is not None:
        reason = f"it has continued as run {successor}. Rerun it, or retry that run"
    elif (known := hindrances["steps"]) is not None:
        reason = f"it has no step {step!r}. {_similar(step, known)}"
    elif passed := _passed(missed, undone_by):
        raise _not_retryable(run_id, status, passed)
    elif hindrances["undone"] is not None:
        since = _undone_since(hindrances["undone"], step)
        reason = f"{since}. Retry from that step, or from an earlier one"
    elif children := hindrances["children"]:
        listed = list_names([f"{child} of step {name!r}" for name, child in children])
        reason = (
            f"child runs of the steps to repeat have not ended: {listed}. Cancel them, or wait for"
            " their end"
        )
    elif (parent := hindrances["parent"]) is not None:
        reason = (
            f"its parent, run {parent[0]}, has its result, or is taking it. Retry or rerun that run"
            f" from step {parent[1]!r}"
        )
    else:
        return
    raise _not_retryable(run_id, status, reason if reason.endswith("?") else f"{reason}.")


def check_skipped(run_id: str, step: str, row: tuple[Any, ...]) -> None:
    """Raise for a run whose undo was not skipped. ``row`` is that of ``skip_undo``."""
    status, workflow, undone_by, stored, done, names = row
    left = orjson.loads(names)
    if stored:
        return
    if undone_workflow(workflow) is None:
        reason = "it undoes no run"
        if undone_by is not None:
            reason = f"its steps are undone by run {undone_by}. Skip the undo there"
    elif done:
        reason = "this undo is finished, or skipped"
        if status == RunStatus.FAILED:
            reason += ". Retry the run to go on with the others"
    elif step not in left:
        reason = f"it has no such undo. Undos that are left: {_quoted(left)}"
    elif status != RunStatus.FAILED:
        reason = "an undo is skipped when the run has failed, and not beside its execution"
    else:
        return
    raise RunNotRetryable(
        f"Cannot skip the undo of step {step!r} in workflow run {run_id} with status {status}:"
        f" {reason}.",
        run_id=run_id,
        status=status,
    )


def _passed(missed: datetime | None, undone_by: str | None) -> str | None:
    """Return why a run cannot go on that is undone, or whose deadline has passed."""
    if undone_by is not None:
        return (
            f"run {undone_by} undoes its steps, so their results hold no longer. Retry"
            " that run if it has failed, or rerun this one from the beginning."
        )
    if missed is not None:
        return (
            f"its deadline passed at {missed:%Y-%m-%d %H:%M:%S} UTC, so"
            " it would fail again at once. Start a new run."
        )
    return None


def _undone_since(undone: str, step: str) -> str:
    return f"step {undone!r}, which began before step {step!r}, has been undone since"


def _similar(step: str, known: list[str]) -> str:
    """Return the steps that may have been meant."""
    if close := difflib.get_close_matches(step, known, n=3):
        return f"Did you mean {' or '.join(map(repr, close))}?"
    return f"Its steps: {_quoted(known)}"


def _quoted(names: list[str]) -> str:
    return list_names([repr(each) for each in names]) or "none"


def _not_retryable(run_id: str, status: str, reason: str) -> RunNotRetryable:
    message = f"Cannot retry workflow run {run_id} with status {status}: {reason}"
    return RunNotRetryable(message, run_id=run_id, status=status)


def check_woken(run_id: str, step: str | None, row: tuple[Any, ...]) -> None:
    """Raise for a run with nothing to end. ``row`` is that of the statement ``wake``."""
    status, owned, due, limited, *names = row
    ended, waiting, children = (orjson.loads(each) for each in names)
    if status not in _OPEN:
        reason = "only a run that waits can be woken"
    elif owned:
        reason = "a worker is executing it. Try again when it waits"
    elif limited and not ended:
        reason = "it waits for a limit, which wake does not end. owsuper why says for which"
    elif step is not None and step not in ended and step in waiting:
        reason = f"step {step!r} waits for a child run. Wake or cancel that: {', '.join(children)}"
    elif step is not None and step not in ended:
        known = ", ".join(map(repr, dict.fromkeys(waiting))) or "none"
        reason = f"step {step!r} does not wait, nor pause before a retry. Steps that wait: {known}"
    elif not ended and children and not due and status != RunStatus.PENDING:
        reason = f"it waits for its child runs. Wake or cancel those: {', '.join(children)}"
    else:
        return
    raise RunNotWakeable(
        f"Cannot wake workflow run {run_id} with status {status}: {reason}.",
        run_id=run_id,
        status=status,
    )


def check_rerun(run_id: str, step: str | None, row: tuple[Any, ...]) -> None:
    """Raise for a run that was not repeated. ``row`` is that of the statement ``rerun``."""
    status, known, names, workflow, undone_by, undone_step = row
    if (undone := undone_workflow(workflow)) is not None:
        reason = f'it undoes a run of workflow "{undone}". If it has failed, retry it'
    elif status in _OPEN:
        reason = "it has not ended. Cancel it first, or wait for its end"
    elif not known:
        steps = ", ".join(map(repr, orjson.loads(names))) or "none"
        reason = f"it has no step {step!r}. Its steps: {steps}"
    elif step is not None and undone_by is not None:
        reason = (
            f"run {undone_by} undoes its steps, so their results hold no longer. Rerun it from the"
            " beginning"
        )
    elif step is not None and undone_step is not None:
        reason = (
            f"{_undone_since(undone_step, step)}. Rerun it from that step, or from an earlier one"
        )
    else:
        return
    raise RunNotRerunnable(
        f"Cannot rerun workflow run {run_id} with status {status}: {reason}.",
        run_id=run_id,
        status=status,
    )
