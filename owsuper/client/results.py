"""Turns the end of a run into the value or the exception of ``result()``."""

from __future__ import annotations

import threading
from typing import Any

from owsuper.client import models
from owsuper.core import codec, upcasts
from owsuper.core.durations import Duration, seconds
from owsuper.core.model import RunStatus
from owsuper.core.upcasts import Upcast
from owsuper.db.waits import Progress
from owsuper.errors import ResultTimeout, RunCanceled, RunFailed, RunNotFound, StepLimitExceeded


def limit(timeout: Duration | None) -> float | None:
    """Return the most seconds to wait; None waits without limit. Raises InvalidDuration."""
    if timeout is None:
        return None
    return min(max(seconds(timeout), 0.0), threading.TIMEOUT_MAX)


def value(end: Progress, output_type: Any, upcast: Upcast | None = None) -> Any:
    """Return the run's result as ``output_type``. Raises RunFailed, RunCanceled, InvalidData."""
    if end.status == RunStatus.FAILED:
        raise _failed(end)
    if end.status == RunStatus.CANCELED:
        raise RunCanceled(f"Workflow {end.workflow_name} was canceled", run_id=end.run_id)
    owner = f'workflow "{end.workflow_name}" (run {end.run_id})'
    output = codec.decode(end.output, path="result", owner=owner)
    return upcasts.convert(output, output_type, upcast, path="result", owner=owner)


def not_found(run_id: str) -> RunNotFound:
    """Return the error for a run that this namespace does not have."""
    return RunNotFound(f"Workflow run {run_id} does not exist in this namespace", run_id=run_id)


def timed_out(run_id: str) -> ResultTimeout:
    """Return the error for a run that has not ended in time."""
    return ResultTimeout(
        f"Timed out waiting for workflow run {run_id} to finish; the run itself is not affected",
        run_id=run_id,
    )


def _failed(end: Progress) -> RunFailed:
    error = models.error_from_text(end.error)
    reason = f"{error.name}: {error.message}" if error.name else error.message
    if error.name == StepLimitExceeded.STORED_NAME:
        reason = f"{reason}. {StepLimitExceeded.ADVICE}"
    failed = RunFailed(
        f"Workflow {end.workflow_name} failed: {reason}", run_id=end.run_id, error=error
    )
    if error.stack:
        failed.add_note(f"In the worker:\n{error.stack.rstrip()}")
    return failed
