"""Lets the process of a run die after each of its commits, and compares how the run ends."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from owsuper.core.model import WriteSet
from owsuper.testing.in_process import Child, InProcessWorker, application_of
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
    code depends on something that is no result of a step, such as the time or chance.
    """

    def execute(crash_after: int | None) -> tuple[InProcessRun[O], int]:
        with InProcessWorker(application_of(workflow), steps=steps, children=children) as worker:
            run_id = worker.start(workflow, input)
            if crash_after is not None:
                worker.store.after_commit = _Crash(worker, crash_after)
            worker.finish(run_id, signals)
            return worker.read(workflow, worker.last_of(run_id)), worker.tables.commits

    expected, commits = execute(None)
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


class _Crash:
    """Ends the claims of the runs that are written in one commit, the ``number``-th."""

    def __init__(self, worker: InProcessWorker, number: int) -> None:
        self._tables = worker.tables
        self._number = number

    def __call__(self, writes: Iterable[WriteSet]) -> None:
        if self._tables.commits >= self._number:
            self._number = 1 << 62
            for run_id in {write.run_id for write in writes}:
                if not self._tables.runs[run_id].ended:
                    self._tables.lose_claim(run_id)


def _end(run: InProcessRun[Any]) -> tuple[str, Any, tuple[str | None, str] | None]:
    error = None if run.error is None else (run.error.name, run.error.message)
    return run.status.value, run.output, error
