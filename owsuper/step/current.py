"""Which run and which step the calling code belongs to, for code that gets no step object.

Context variables tell. So each thread and each task that owsuper starts knows its own, and so do
the tasks that user code creates.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from dataclasses import dataclass
from typing import TYPE_CHECKING

from owsuper.errors import StepUsageError

if TYPE_CHECKING:
    from owsuper.core.replay import Replay
    from owsuper.step.asynchronous import AsyncStep
    from owsuper.step.sync import Step

_step: ContextVar[Step | AsyncStep | None] = ContextVar("owsuper_run", default=None)
_call: ContextVar[tuple[str, Replay] | None] = ContextVar("owsuper_step", default=None)
_beyond: ContextVar[Replay | None] = ContextVar("owsuper_beyond", default=None)
"""The execution in which the calling branch has got an answer that was not recorded before."""


@dataclass(frozen=True, slots=True)
class Current:
    """What is executed here.

    ``step`` is the name of the step whose function calls, and ``attempt`` the number of its
    attempt, from 1; both are None between steps.
    """

    run_id: str
    workflow_name: str
    version: str | None
    step: str | None
    attempt: int | None


def current() -> Current | None:
    """Return what is executed here; None outside of a run, such as in a test of a function."""
    step = _step.get()
    if step is None:
        return None
    name, attempt = None, None
    if (call := _call.get()) is not None:
        name, replay = call
        attempt = replay.failures_of(name) + 1
    return Current(step.run_id, step.workflow_name, step.version, name, attempt)


def current_step() -> Step | AsyncStep:
    """Return the step object of the workflow function that calls this, directly or not.

    It is a Step in ``def`` workflows and an AsyncStep in ``async def`` workflows. Raises
    StepUsageError outside of a run, and in the function of a step, where steps do not nest.
    """
    step = _step.get()
    if step is None:
        raise StepUsageError(
            "current_step() was called outside of a run. Call it from a workflow function that a"
            " worker executes. A thread of your own knows its run if its target is"
            " contextvars.copy_context().run."
        )
    if (name := called_from()) is not None:
        raise StepUsageError(
            f"current_step() was called in the function of step {name!r}. Steps do not nest: call"
            " it from the workflow function."
        )
    return step


def is_replayed() -> bool:
    """Return whether an earlier execution of the run is known to have called the calling code.

    That is code of the workflow function, outside of the functions of steps, before a step that is
    recorded. Of code in parallel branches nobody can know it: other branches may have recorded that
    step. But once a branch has got an answer that was not recorded, what follows in it is new.
    """
    step = _step.get()
    if step is None or _call.get() is not None:
        return False
    replay = step._engine.replay
    return replay.recalls_only or (bool(replay.asked.missing) and _beyond.get() is not replay)


def begin_run(step: Step | AsyncStep) -> None:
    """Note that the calling context belongs to the run of ``step``."""
    _step.set(step)


def begin_call(key: str, replay: Replay) -> Token[tuple[str, Replay] | None]:
    """Note that the function of a step is about to be called; for ``end_call``."""
    return _call.set((key, replay))


def end_call(token: Token[tuple[str, Replay] | None]) -> None:
    """Note that the function is over."""
    _call.reset(token)


def go_beyond(replay: Replay) -> None:
    """Note that what follows in this branch was not executed before."""
    if replay.asked.missing:  # else nothing is replayed any more
        _beyond.set(replay)


def begin_elsewhere() -> None:
    """Note that what follows in this context is outside of the step that called it, if any."""
    _call.set(None)


def called_from() -> str | None:
    """Return the name of the step whose function calls this; None outside of one."""
    call = _call.get()
    return None if call is None else call[0]
