"""Repeats a run in memory from one of its steps on, as ``RunHandle.rerun`` does in the database."""

from __future__ import annotations

from dataclasses import replace

from owsuper.core.model import StepKind, StepStatus
from owsuper.core.undoing import undo_name
from owsuper.errors import RunNotRerunnable
from owsuper.ids import new_id
from owsuper.testing.rows import MemoryAttempt, MemoryRun
from owsuper.testing.tables import Tables

_WAITS = frozenset({StepKind.SLEEP, StepKind.WORKFLOW, StepKind.SIGNAL_WAIT})


def rerun(
    tables: Tables, run_id: str, from_step: str | None, input_json: tuple[bytes | None] | None
) -> MemoryRun:
    """Start a run that repeats a run; ``input_json`` holds another input.

    Raises RunNotRerunnable.
    """
    run = tables.runs[run_id]
    own = [each for each in tables.attempts.values() if each.run_id == run_id]
    names = list(dict.fromkeys(each.write.step_name for each in own))
    undone = run.undone_by is not None and from_step is not None
    undone = undone or _keeps_undone_step(own, names, from_step)
    if not run.ended or from_step not in (None, *names) or undone or run.undo_of:
        reason = f"it has no step {from_step!r}" if run.ended else "it has not ended"
        if run.undo_of:
            reason = "it undoes another run"
        elif undone:
            reason = "its steps are undone, so their results hold no longer"
        raise RunNotRerunnable(
            f"Cannot rerun the run of {run.workflow_name} with status {run.status}: {reason}.",
            run_id=run_id,
            status=run.status,
        )
    raw = run.input_json if input_json is None else input_json[0]
    new = tables.start(run.workflow_name, run.version, raw, attributes=run.attributes)
    before = set(names[: names.index(from_step)]) if from_step is not None else set()
    for attempt in own:
        is_open = attempt.write.status == StepStatus.RUNNING
        if attempt.write.step_name in before and (not is_open or attempt.write.kind in _WAITS):
            _copy(tables, attempt, new, forget_purpose=input_json is not None)
    return new


def _keeps_undone_step(own: list[MemoryAttempt], names: list[str], from_step: str | None) -> bool:
    """Whether a step before ``from_step`` was undone by a step after it."""
    if from_step not in names:
        return False
    place = names.index(from_step)
    with_undo = {each.write.step_name for each in own if (each.write.context or {}).get("undo")}
    return any(undo_name(name) in names[place:] for name in names[:place] if name in with_undo)


def _copy(tables: Tables, attempt: MemoryAttempt, run: MemoryRun, *, forget_purpose: bool) -> None:
    write = replace(attempt.write, attempt_id=new_id())
    if forget_purpose and write.kind == StepKind.WORKFLOW and write.context is not None:
        context = {name: value for name, value in write.context.items() if name != "child"}
        write = replace(write, context=context)
    if write.context is not None and "undo" in write.context:
        context = {name: value for name, value in write.context.items() if name != "undo"}
        write = replace(write, context=context or None)
    copy = MemoryAttempt(run.id, write, list(attempt.delivered), attempt.child_run_id)
    tables.attempts[write.attempt_id] = copy
    if write.status == StepStatus.RUNNING and attempt.child_run_id is not None:
        tables.runs[attempt.child_run_id].parent = write.attempt_id
