"""Durable, resumable workflows on PostgreSQL, run by a multiprocess supervisor.

Everything that applications use is here; all other modules may change without notice.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.details import Run
    from owsuper.client.handle import RunHandle
    from owsuper.core.model import ErrorPayload, RunStatus
    from owsuper.core.retry import RetryPolicy
    from owsuper.errors import (
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
        StepError,
        StepFailed,
        StepLimitExceeded,
        StepUsageError,
        WorkerError,
    )
    from owsuper.step import AsyncStep, Step
    from owsuper.worker import Worker
    from owsuper.workflow import Workflow

# Imported when they are first used: the supervisor is in this package too, and should not
# carry what only applications need.
_HOMES = {
    "OpenWorkflow": "owsuper.client.app",
    "Run": "owsuper.client.details",
    "RunHandle": "owsuper.client.handle",
    "ErrorPayload": "owsuper.core.model",
    "RunStatus": "owsuper.core.model",
    "RetryPolicy": "owsuper.core.retry",
    "AsyncStep": "owsuper.step",
    "Step": "owsuper.step",
    "Worker": "owsuper.worker",
    "Workflow": "owsuper.workflow",
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
    "ConfigurationError",
    "DataError",
    "DatabaseError",
    "DatabaseUnreachable",
    "EmbeddedUnavailable",
    "ErrorPayload",
    "InvalidData",
    "InvalidDuration",
    "InvalidSchemaName",
    "MigrationError",
    "NonDeterminismError",
    "NonRetryableError",
    "NotSerializable",
    "OpenWorkflow",
    "OwsuperError",
    "RegistrationError",
    "ResultTimeout",
    "RetryPolicy",
    "Run",
    "RunCanceled",
    "RunError",
    "RunFailed",
    "RunHandle",
    "RunNotCancelable",
    "RunNotFound",
    "RunStatus",
    "Step",
    "StepError",
    "StepFailed",
    "StepLimitExceeded",
    "StepUsageError",
    "Worker",
    "WorkerError",
    "Workflow",
]
