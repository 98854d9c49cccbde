"""How user code has ended: with a result that can be stored, or with an error, for good or not."""

from __future__ import annotations

from typing import Any

from owsuper.core import codec
from owsuper.core.decisions import Raised, Returned
from owsuper.core.retry import WORKFLOW_DEFAULT, no_retry_reason
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.errors import StepFailed
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow


def classify_end(
    end: CallResult | CallError | Raised, workflow: Workflow[Any, Any]
) -> Returned | Raised:
    """Convert the end of user code: encode a result, and tell whether an error is final."""
    match end:
        case Raised():
            return end
        case CallResult(value):
            try:
                # Clients convert the result, so a result that does not fit fails the run here.
                encoded, _ = codec.encode_as(value, workflow.output_type, path="result")
                return Returned(encoded)
            except MemoryError:
                raise
            except BaseException as exc:  # DataError, or what a hook of the type raised
                return Raised(StoredError.from_exception(exc), final=True)
        case CallError(exc):
            failed = _step_failure(exc)
            if failed is not None:
                return Raised(failed.error, final=True)
            reason = no_retry_reason(workflow.retry or WORKFLOW_DEFAULT, exc)
            error = StoredError.from_exception(exc, no_retry_reason=reason)
            return Raised(error, final=reason is not None)


def classify_undoing(end: CallResult | CallError | Raised) -> Returned | Raised:
    """Convert the end of undoing, which has no result."""
    match end:
        case Raised():
            return end
        case CallResult():
            return Returned(None)
        case CallError(exc):
            failed = _step_failure(exc)
            return Raised(failed.error if failed else StoredError.from_exception(exc), final=True)


def _step_failure(exc: BaseException) -> StepFailed | None:
    """Return the failure of an exhausted step in ``exc``; a TaskGroup wraps it in a group."""
    if isinstance(exc, StepFailed):
        return exc
    if isinstance(exc, BaseExceptionGroup):
        inner = [_step_failure(each) for each in exc.exceptions]
        return inner[0] if all(inner) else None
    return None
