"""Durable, resumable workflows on PostgreSQL, run by a multiprocess supervisor.

Everything that applications use is here; all other modules may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.handle import RunHandle
    from owsuper.client.models import Run, RunCounts, StepAttempt, Unreadable
    from owsuper.client.worker import Worker
    from owsuper.core.model import RunStatus, Signal, StepKind, StepStatus
    from owsuper.core.pages import Page
    from owsuper.core.retry import RetryPolicy
    from owsuper.errors import (
        ChildCanceled,
        ChildFailed,
        ChildTimedOut,
        ConfigurationError,
        DatabaseError,
        DatabaseUnreachable,
        DataError,
        EmbeddedUnavailable,
        InvalidData,
        InvalidDuration,
        InvalidSchemaName,
        MigrationError,
        NonDeterminismError,
        NonRetryableError,
        NotSerializable,
        OwsuperError,
        RegistrationError,
        ResultTimeout,
        RunCanceled,
        RunError,
        RunFailed,
        RunNotCancelable,
        RunNotFound,
        RunNotRetryable,
        StepError,
        StepFailed,
        StepLimitExceeded,
        StepUsageError,
        WorkerError,
    )
    from owsuper.step import AsyncStep, Step
    from owsuper.stored_error import StoredError
    from owsuper.workflow.definition import Workflow

# Imported when they are first used: the supervisor is in this package too, and should not
# carry what only applications need.
_HOMES = {
    "OpenWorkflow": "owsuper.client.app",
    "Run": "owsuper.client.models",
    "RunCounts": "owsuper.client.models",
    "StepAttempt": "owsuper.client.models",
    "Unreadable": "owsuper.client.models",
    "RunHandle": "owsuper.client.handle",
    "StoredError": "owsuper.stored_error",
    "RunStatus": "owsuper.core.model",
    "Signal": "owsuper.core.model",
    "StepKind": "owsuper.core.model",
    "StepStatus": "owsuper.core.model",
    "Page": "owsuper.core.pages",
    "RetryPolicy": "owsuper.core.retry",
    "AsyncStep": "owsuper.step",
    "Step": "owsuper.step",
    "Worker": "owsuper.client.worker",
    "Workflow": "owsuper.workflow.definition",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES.get(name, "owsuper.errors")), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "AsyncStep",
    "ChildCanceled",
    "ChildFailed",
    "ChildTimedOut",
    "ConfigurationError",
    "DataError",
    "DatabaseError",
    "DatabaseUnreachable",
    "EmbeddedUnavailable",
    "InvalidData",
    "InvalidDuration",
    "InvalidSchemaName",
    "MigrationError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotSerializable",
    "OpenWorkflow",
    "OwsuperError",
    "Page",
    "RegistrationError",
    "ResultTimeout",
    "RetryPolicy",
    "Run",
    "RunCanceled",
    "RunCounts",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunNotCancelable",
    "RunNotFound",
    "RunNotRetryable",
    "RunStatus",
    "Signal",
    "Step",
    "StepAttempt",
    "StepError",
    "StepFailed",
    "StepKind",
    "StepLimitExceeded",
    "StepStatus",
    "StepUsageError",
    "StoredError",
    "Unreadable",
    "Worker",
    "WorkerError",
    "Workflow",
]
