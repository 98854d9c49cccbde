"""Undos: what takes back the effects of a step when its run fails or is canceled.

The undos of an ended run are executed by another run, of a workflow whose name is derived here, so
that no worker without undos takes it for a run of the workflow itself. That run executes the
function of the workflow once more over the history of the ended run, without going beyond it, and
so learns which undos there are and with which arguments. See docs/compensation.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from owsuper.core.model import RecordedAttempt, StepStatus

UNDO_CONTEXT: Final[dict[str, Any]] = {"undo": True}
"""What the context of a step attempt has if the step has an undo."""

UNDO_PREFIX: Final = "undo:"
"""Begins the names of the workflows that execute undos; other workflows have no such name."""

UndoOf: TypeAlias = Callable[[Callable[[], Any]], Callable[[], Any]]
"""Makes the call of an undo, which takes no arguments, from what returns the step's result."""


def undo_workflow(name: str) -> str:
    """Return the name of the workflow that executes the undos of runs of the workflow ``name``."""
    return UNDO_PREFIX + name


def undone_workflow(name: str) -> str | None:
    """Return the workflow whose undos the workflow ``name`` executes; None for any other."""
    return name.removeprefix(UNDO_PREFIX) if name.startswith(UNDO_PREFIX) else None


def undo_name(key: str) -> str:
    """Return the name of the step that undoes the step ``key``."""
    return f"undo {key}"


def has_undo(attempt: RecordedAttempt) -> bool:
    """Whether the attempt was begun by code that gave the step an undo."""
    return isinstance(attempt.context, dict) and attempt.context.get("undo") is True


def is_undoable(attempt: RecordedAttempt) -> bool:
    """Whether the attempt has completed a step that has an undo."""
    completed = attempt.status in (StepStatus.COMPLETED, StepStatus.SUCCEEDED)
    return completed and has_undo(attempt)


@dataclass(frozen=True, slots=True)
class Undo:
    """The undo of the completed step ``key``: ``call`` takes no arguments.

    ``timeout`` is that of each attempt, in seconds.
    """

    key: str
    completed_at: datetime
    call: Callable[[], Any]
    timeout: float | None = None


class Undos:
    """The undos of the steps that one execution has found completed, and has not undone."""

    def __init__(self) -> None:
        self._left: dict[str, Undo] = {}
        self._done: set[str] = set()

    def add(self, undo: Undo) -> None:
        """Add the undo of a step."""
        self._left[undo.key] = undo

    def next(self) -> Undo | None:
        """Return the undo of the step that completed last; None if none is left."""
        last: Undo | None = None
        for undo in list(self._left.values()):  # of two of one moment, the one called later
            if last is None or undo.completed_at >= last.completed_at:
                last = undo
        return last

    def finish(self, undo: Undo) -> None:
        """Note that a step is undone."""
        self._left.pop(undo.key, None)
        self._done.add(undo.key)

    def __contains__(self, key: str) -> bool:
        """Whether the undo of the step ``key`` is known, done or not."""
        return key in self._left or key in self._done
