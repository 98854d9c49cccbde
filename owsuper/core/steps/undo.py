"""The steps that undo other steps, the one that completed last first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from owsuper.core.retry import STEP_DEFAULT
from owsuper.core.steps.function import FunctionStep, function_step
from owsuper.core.steps.protocol import Context, StepGenerator
from owsuper.core.undoing import undo_name


class UndoContext(Context, Protocol):
    """The part of an execution that undoing needs."""

    def undo_key(self, name: str) -> str:
        """Return the key of the next step that undoes another. Raises Unwind."""
        ...


def undo_steps(context: UndoContext) -> StepGenerator:
    """Undo all steps that have undos and are completed.

    Raises StepFailed when the retries of an undo are exhausted; the undos after it are left.
    """
    while (undo := context.undos.next()) is not None:
        key = context.undo_key(undo_name(undo.key))
        call: Callable[[], Any] = undo.call
        step = FunctionStep(key, call, STEP_DEFAULT, timeout=undo.timeout, keeps_result=False)
        yield from function_step(context, step)
        context.undos.finish(undo)
