"""How the code of a workflow differs from the recorded history of a run, in words for users."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from owsuper.core.decisions import Diverged
from owsuper.core.model import RecordedAttempt, StepKind
from owsuper.core.names import list_names
from owsuper.core.purpose import Purpose, recorded_purpose


def of_kind(key: str, recorded: str, asked: StepKind) -> Diverged | None:
    """Return the divergence of a step that is recorded as one of another kind."""
    if recorded == asked:
        return None
    return Diverged(key, str(recorded), str(asked))  # plain text: a message shows their repr


def of_purpose(
    key: str, attempt: RecordedAttempt, asked: Purpose | None, attempts: Iterable[RecordedAttempt]
) -> Diverged | None:
    """Return the divergence of a step whose recorded ``attempt`` is for something else.

    ``attempts`` is the whole history, which may record what is asked for under another key.
    """
    recorded = recorded_purpose(attempt)
    if asked is None or recorded is None or recorded.is_same(asked):
        return None
    there = next((other for other in attempts if recorded_purpose(other) == asked), None)
    where = "" if there is None else f", which is recorded as step {there.step_name!r}"
    message = (
        f"Step {key!r} is recorded for {recorded}, but the code now asks for {asked}{where}."
        " Branches side by side may have called it in another order: give each of their steps"
        " its own name=. If the workflow was changed while runs of it were in progress, give"
        " the new step another name, or the workflow another version."
    )
    input_of = attempt.id if recorded.is_target(asked) else None
    return Diverged(key, str(recorded), str(asked), message, input_of)


def of_new_step(key: str, passed: Sequence[str]) -> Diverged:
    """Return the divergence of a new step that begins before the steps ``passed`` are called."""
    names = list_names(passed)
    message = (
        f"Step {key!r} is new, and the code has not called steps that this run has recorded:"
        f" {names}. If one of them was renamed, give the new step formerly= with the old name."
        " If the workflow was changed otherwise, give the workflow another version."
    )
    return Diverged(key, names, key, message)


def of_return(unreached: Sequence[str]) -> Diverged:
    """Return the divergence of a workflow function that returns without these recorded steps."""
    names = list_names(unreached)
    message = (
        f"The code has returned and has not called steps that this run has recorded: {names}."
        " If the workflow was changed while runs of it were in progress, give the workflow"
        " another version."
    )
    return Diverged(unreached[0], names, "the end of the run", message)
