"""Lets the process of a run die after each of its commits, and compares how the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from typing import Any, TypeVar, Unpack, overload
from uuid import UUID

from owsuper.ids import new_id
from owsuper.testing.arguments import signals_of
from owsuper.testing.child_runs import Child
from owsuper.testing.faults import crash_after
from owsuper.testing.in_process import InProcessWorker
from owsuper.testing.one_run import Replacements, application_of
from owsuper.testing.outcome import InProcessRun
from owsuper.workflow.definition import Workflow

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise


@overload
def survives_crashes(
    workflow: Workflow[None, O], input: None = None, **options: Unpack[Replacements]
) -> InProcessRun[O]: ...
@overload
def survives_crashes(
    workflow: Workflow[I, O], input: I, **options: Unpack[Replacements]
) -> InProcessRun[O]: ...
def survives_crashes(
    workflow: Workflow[Any, Any],
    input: Any = None,
    *,
    id: str | UUID | None = None,
    attributes: Mapping[str, str] | None = None,
    steps: Mapping[str, Callable[..., Any]] | None = None,
    children: Mapping[str, Child] | None = None,
    signals: Iterable[tuple[str, Any]] = (),
    allow_unused: bool = False,
) -> InProcessRun[Any]:
    """Execute a run again and again, each time with a crash after another of its commits.

    The run has the same id each time, and so have its child runs.

    Returns the run without a crash. Raises AssertionError if a run with a crash ends otherwise: its
    code depends on something that is no result of a step, such as the time or chance. Raises it
    also for what ``run_in_process`` refuses; for the arguments see there.
    """
    chosen, sent = new_id() if id is None else id, signals_of(signals)

    def execute(number: int = 0) -> tuple[InProcessRun[Any], int]:
        application, faults = application_of(workflow), [crash_after(number)] if number else []
        worker = InProcessWorker(
            application, steps=steps, children=children, faults=faults, allow_unused=allow_unused
        )
        with closing(worker):
            run_id = worker.start(workflow, input, id=chosen, attributes=attributes)
            worker.finish(run_id, sent)
            if not number:
                worker.check_used()
            return worker.read(workflow, worker.last_of(run_id)), worker.tables.commits

    expected, commits = execute()
    for number in range(1, commits):
        found, _ = execute(number)
        if _end(found) != _end(expected):
            recorded = ", ".join(map(repr, found.steps)) or "none"
            raise AssertionError(
                f"{workflow} does not survive a crash after commit {number} of {commits}. It ended"
                f" with {_end(found)!r}, and without a crash with {_end(expected)!r}."
                f" Its steps: {recorded}"
            )
    return expected


def _end(run: InProcessRun[Any]) -> tuple[object, ...]:
    error = None if run.error is None else (run.error.name, run.error.message)
    undos = [(undo.name, undo.status.value) for undo in run.undos.values()]
    return run.status.value, run.output, error, *undos
