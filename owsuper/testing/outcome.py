"""What a test learns of a run that was executed in its process."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Generic, TypeVar, cast

from owsuper.client.reports import RunProgress, progress_from_row
from owsuper.core import upcasts
from owsuper.core.model import RunStatus, StepKind, StepStatus
from owsuper.errors import RunCanceled, RunFailed
from owsuper.stored_error import StoredError
from owsuper.testing.rows import MemoryRun
from owsuper.testing.tables import Tables
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

O = TypeVar("O", covariant=True)  # noqa: E741 - as in Workflow[I, O]


@dataclass(frozen=True, slots=True)
class InProcessStep:
    """A step of a run: its last attempt, and how many there were.

    ``output`` is what was stored. ``error`` is that of the last attempt that failed, if any.
    """

    name: str
    kind: StepKind
    status: StepStatus
    attempts: int
    output: Any
    error: StoredError | None


@dataclass(frozen=True, slots=True)
class InProcessRun(Generic[O]):
    """A run as it was when the test read it.

    ``steps`` has the steps by name, in the order in which they began; a name that was used more
    than once goes on with ``name:1``. ``slept`` is the time that the run spent in sleeps. Both are
    the run's own: a child run is one step, and what it does and sleeps is not among them.
    ``claims`` counts the times that a worker took the run: it is replayed each time.
    ``progress`` is what the code last said by ``step.set_progress``. ``attributes`` are those that
    were given at the start and set by the code.
    ``continued_from`` and ``continued_as`` are the ids of the runs before and after it in a chain.
    ``undos`` has the steps that undo those of this run, by their names, in the order in which they
    began: ``undo charge`` undoes ``charge``. They are steps of another run, ``undone_by``. What
    ``step.undo_all`` undoes is among ``steps``.
    """

    id: str
    workflow_name: str
    status: RunStatus
    steps: dict[str, InProcessStep]
    slept: timedelta
    claims: int
    error: StoredError | None
    output: O | None
    continued_from: str | None = None
    continued_as: str | None = None
    progress: RunProgress | None = None
    attributes: dict[str, str] = field(default_factory=dict)
    undone_by: str | None = None
    undos: dict[str, InProcessStep] = field(default_factory=dict)

    @property
    def result(self) -> O:
        """The result. Raises RunFailed and RunCanceled, as ``RunHandle.result`` does.

        Raises AssertionError if the run has not ended.
        """
        if self.status == RunStatus.FAILED:
            assert self.error is not None
            name = f"{self.error.name}: " if self.error.name else ""
            raise RunFailed(
                f"Workflow {self.workflow_name} failed: {name}{self.error.message}",
                run_id=self.id,
                error=self.error,
            )
        if self.status == RunStatus.CANCELED:
            raise RunCanceled(f"Workflow {self.workflow_name} was canceled", run_id=self.id)
        if not self.status.is_terminal:
            raise AssertionError(f"the run of {self.workflow_name} has not ended")
        return cast(O, self.output)  # which may be None, if that is the result


def with_failure(message: str, tables: Tables) -> AssertionError:
    """Return the error of a test that has arranged something in vain.

    It tells how a run failed, if one did: this is mostly why.
    """
    failed = [run for run in tables.runs.values() if run.status == RunStatus.FAILED]
    failed = [run for run in failed if run.parent is None] or failed
    if not failed or failed[-1].error is None:
        return AssertionError(message)
    cause = StoredError.from_json(failed[-1].error)
    error = AssertionError(
        f"{message}. The run of {failed[-1].workflow_name} failed: {cause.summary()}"
    )
    if cause.stack:
        error.add_note(cause.stack)
    return error


def read(
    tables: Tables, run_id: str, registry: Registry, workflow: Workflow[Any, O]
) -> InProcessRun[O]:
    """Return a run as it is now. Its result is read as its own workflow declares it.

    That is ``workflow``, unless the run is one of a chain or of an older version. Raises
    InvalidData.
    """
    run = tables.runs[run_id]
    return InProcessRun(
        id=run.id,
        workflow_name=run.workflow_name,
        status=run.status,
        steps=_steps(tables, run_id),
        slept=_slept(tables, run_id),
        claims=run.attempts,
        error=None if run.error is None else StoredError.from_json(run.error),
        output=_output(run, registry.get(run.workflow_name, run.version) or workflow),
        continued_from=run.continued_from,
        continued_as=run.continued_as,
        progress=progress_from_row(run.progress),
        attributes=dict(run.attributes),
        undone_by=run.undone_by,
        undos={} if run.undone_by is None else _steps(tables, run.undone_by),
    )


def _output(run: MemoryRun, workflow: Workflow[Any, Any]) -> Any:
    if run.status != RunStatus.COMPLETED or run.continued_as or run.undo_of:
        return None
    declared, upcast = workflow.output_type, workflow.upcasts.result
    return upcasts.convert(run.output, declared, upcast, path="result", owner="run")


def _steps(tables: Tables, run_id: str) -> dict[str, InProcessStep]:
    steps: dict[str, InProcessStep] = {}
    for each in tables.history(run_id):
        before = steps.get(each.step_name)
        error = None if each.error is None else StoredError.from_json(each.error)
        steps[each.step_name] = InProcessStep(
            each.step_name,
            StepKind(each.kind),
            StepStatus(each.status),
            1 if before is None else before.attempts + 1,
            each.output,
            error or (before.error if before else None),
        )
    return steps


def _slept(tables: Tables, run_id: str) -> timedelta:
    sleeps = [
        each.finished_at - each.created_at
        for each in tables.history(run_id)
        if each.kind == StepKind.SLEEP and each.finished_at is not None
    ]
    return sum(sleeps, timedelta())
