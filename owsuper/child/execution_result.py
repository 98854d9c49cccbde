"""What an execution has come to: for the supervisor, and in the log."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

from owsuper.child.execution.base import Execution
from owsuper.core.model import (
    ClaimedRun,
    Complete,
    ContinueAsNew,
    Fail,
    Outcome,
    Park,
    Release,
    Retry,
)
from owsuper.core.names import list_names
from owsuper.stored_error import StoredError

_log = logging.getLogger("owsuper.child")


@dataclass(frozen=True, slots=True)
class ExecutionResult:
    """The outcome of an execution as a word for the log, and the seconds until the run is due."""

    outcome: str
    due_in: float | None = None


LOST: Final = ExecutionResult("lost")


def not_beginning(run: ClaimedRun) -> ExecutionResult:
    """Log that a run is not executed, because its claim is lost already."""
    _log.warning(
        "run %s was canceled, or another worker claimed it; not beginning it",
        run.run_id,
    )
    return LOST


def log_end(execution: Execution, outcome: Outcome) -> ExecutionResult:
    """Log the outcome of an execution, and return the result for the supervisor."""
    match outcome:
        case Complete():
            _log_unreached(execution)
            return ExecutionResult("completed")
        case Park(until):
            if execution.replay.asked.are_beyond:
                _log_unreached(execution)
            return ExecutionResult("parked", max(0.0, (until - execution.now()).total_seconds()))
        case Retry(at, error, counts):
            due_in = max(0.0, (at - execution.now()).total_seconds())
            if counts:
                fields = _log_fields(execution, error) | {"due_in": due_in}
                _log.warning("run failed and will be tried again", extra=fields)
            return ExecutionResult("retrying", due_in)
        case Fail(error, not_retried):
            fields = _log_fields(execution, StoredError.from_json(error))
            _log.error("run failed", extra=fields | {"not_retried": not_retried})
            return ExecutionResult("failed")
        case Release():
            return ExecutionResult("released", 0.0)
        case ContinueAsNew():
            _log_unreached(execution)
            return ExecutionResult("completed")


def _log_fields(execution: Execution, error: StoredError) -> dict[str, object]:
    run = execution.run
    return {
        "run_id": run.run_id,
        "workflow": run.workflow_name,
        "attempt": run.attempts,
        "error": error.summary(),
    }


def _log_unreached(execution: Execution) -> None:
    """Log the steps in the history that the code has not called, if there are any."""
    unreached = execution.replay.unreached()
    if not unreached:
        return
    _log.warning(
        "recorded steps that this code never reached: %s; was the workflow changed while runs"
        " were in progress?",
        list_names(unreached),
        extra={"run_id": execution.run.run_id, "workflow": execution.run.workflow_name},
    )
