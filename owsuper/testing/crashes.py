"""Lets the process of a run die after each of its commits, and compares how the run ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from typing import Any, TypeVar

from owsuper.testing.child_runs import Child
from owsuper.testing.faults import crash_after
from owsuper.testing.in_process import InProcessWorker, application_of
from owsuper.testing.outcome import InProcessRun
from owsuper.workflow.definition import Workflow

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise


def survives_crashes(
    workflow: Workflow[I, O],
    input: Any = None,
    *,
    steps: Mapping[str, Callable[..., Any]] | None = None,
    children: Mapping[str, Child] | None = None,
    signals: Sequence[tuple[str, Any]] = (),
) -> InProcessRun[O]:
    """Execute a run again and again, each time with a crash after another of its commits.

    Returns the run without a crash. Raises AssertionError if a run with a crash ends otherwise: its
    code depends on something that is no result of a step, such as the time or chance. Raises it
    also for a replacement or a signal that nothing used, as ``run_in_process`` does.
    """

    def execute(number: int = 0) -> tuple[InProcessRun[O], int]:
        application, faults = application_of(workflow), [crash_after(number)] if number else []
        worker = InProcessWorker(application, steps=steps, children=children, faults=faults)
        with closing(worker):
            run_id = worker.start(workflow, input)
            worker.finish(run_id, signals)
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


def _end(run: InProcessRun[Any]) -> tuple[str, Any, tuple[str | None, str] | None]:
    error = None if run.error is None else (run.error.name, run.error.message)
    return run.status.value, run.output, error
