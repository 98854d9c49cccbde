"""Executes the undos of a run that has failed or was canceled, as steps of a run of their own.

First the function of the workflow is executed once more, over the history of the ended run and not
beyond it: so its undos are known, with their arguments. Then they are executed. Both happen again
at each execution, and what is recorded of the second part is recalled, as in any other run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from owsuper.child.execution.base import Execution
from owsuper.child.execution.drive import Operations
from owsuper.child.services import Services
from owsuper.core import codec
from owsuper.core.model import ClaimedRun, Fail, RecordedAttempt, StepStatus
from owsuper.core.names import list_names
from owsuper.core.replay import LARGEST_STEP_LIMIT, Replay
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.undoing import undo_name, undone_workflow
from owsuper.db.runs import UndoneRun
from owsuper.errors import DataError, NonDeterminismError, RunNotFound
from owsuper.step import AsyncStep, Step
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow

Convert: TypeAlias = Callable[[Workflow[Any, Any], bytes | None], CallResult | CallError]


@dataclass(frozen=True, slots=True)
class UndoneHistory:
    """What is known of a run to undo. ``input`` is CallError if it does not fit its type.

    ``told_run`` is the run that its code is told to be in.
    """

    told_run: ClaimedRun
    attempts: list[RecordedAttempt]
    input: CallResult | CallError


def load(
    services: Services, workflow: Workflow[Any, Any], run: ClaimedRun, convert: Convert
) -> UndoneHistory | StoredError:
    """Return the history of the run that ``run`` undoes, or the error if there is none."""
    database, store = services.database, services.store
    try:
        run_id = _undone_id(run)
    except DataError as error:
        return StoredError.from_exception(error)
    undone = database.run_with_retries(lambda conn: store.load_undone(conn, run_id))
    if undone is None or undone.undone_by != run.run_id:
        return StoredError.from_exception(_not_undone(run, run_id, undone))
    stored = database.run_with_retries(
        lambda conn: store.load(conn, run_id, run.worker_id, enough=LARGEST_STEP_LIMIT)
    )
    name = undone_workflow(run.workflow_name)
    assert name is not None
    told = replace(
        run,
        run_id=run_id,
        workflow_name=name,
        created_at=undone.created_at,
        started_at=undone.created_at,
        deadline_at=undone.deadline_at,
    )
    return UndoneHistory(told, stored.history, convert(workflow, undone.input_json))


def _undone_id(run: ClaimedRun) -> str:
    """Return the id in the input of a run that undoes another. Raises DataError."""
    value = codec.decode(run.input_json, path="input", owner=f"run {run.run_id}")
    if not isinstance(value, dict) or not isinstance(run_id := value.get("run"), str):
        raise DataError(
            f"The input of run {run.run_id} names no run to undo. Runs of workflow"
            f' "{run.workflow_name}" are started by owsuper alone.'
        )
    return run_id


def _not_undone(run: ClaimedRun, run_id: str, undone: UndoneRun | None) -> Exception:
    if undone is None:
        return RunNotFound(
            f"Run {run_id}, whose steps are to be undone, does not exist any more. Undo by hand"
            " what it has done.",
            run_id=run_id,
        )
    return DataError(
        f"Run {run_id} is not undone by run {run.run_id}. Runs of workflow"
        f' "{run.workflow_name}" are started by owsuper alone.'
    )


def replay_of(undone: UndoneHistory, new_id: Callable[[], str]) -> Replay:
    """Return the replay of the history of a run, which does not go beyond it.

    It has the deadline of that run: a step whose retry would have come later has failed for good.
    """
    return Replay(
        undone.attempts,
        new_id=new_id,
        deadline=undone.told_run.deadline_at,
        limit=LARGEST_STEP_LIMIT,
        recalls_only=True,
    )


def recall(
    execution: Execution,
    workflow: Workflow[Any, Any],
    undone: UndoneHistory,
    done: Sequence[RecordedAttempt],
) -> Operations[StoredError | None]:
    """Execute the function of the workflow up to the end of the history.

    ``execution.undos`` then has the undos. Returns an error if some of them are not known, or None.
    Those that ``done`` says are finished, or were skipped, need not be known. How the function ends
    decides nothing: it has ended in some way before.
    """
    end: CallResult | CallError = undone.input
    if isinstance(end, CallResult):
        step = execution.step()
        arguments = (step, end.value) if workflow.takes_input else (step,)
        end = yield partial(execution.run_body, workflow.fn, arguments)
        execution.exit_if_forked(end)
    yield partial(execution.join, returned=isinstance(end, CallResult))
    execution.code_has_ended = True
    over = {each.step_name for each in done if each.status == StepStatus.COMPLETED}
    missing = [
        key
        for key in execution.replay.undoable()
        if key not in execution.undos and undo_name(key) not in over
    ]
    return _missed(missing, end, execution) if missing else None


def _missed(
    keys: list[str], end: CallResult | CallError, execution: Execution
) -> StoredError | None:
    reason = ""
    if isinstance(execution.decided_outcome, Fail):
        reason = f" It fails: {StoredError.from_json(execution.decided_outcome.error).summary()}"
    elif isinstance(end, CallError) and isinstance(end.exception, Exception):
        reason = f" It raises {StoredError.from_exception(end.exception).summary()}"
    message = (
        f"Cannot undo run {execution.told_run.run_id}: its steps {list_names(keys)} have undos, and"
        f" this code does not come to them, or gives them none.{reason} Nothing was undone by this"
        " attempt. Mend the code, and retry this run."
    )
    return StoredError.from_exception(NonDeterminismError(keys[0], "", "", message))


def undo_all(step: Step) -> None:
    """Execute the undos of an ended run whose workflow is ``def``."""
    step.undo_all()


async def aundo_all(step: AsyncStep) -> None:
    """Execute the undos of an ended run whose workflow is ``async def``."""
    await step.undo_all()
