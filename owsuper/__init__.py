"""Durable, resumable workflows on PostgreSQL, run by a multiprocess supervisor.

These names, and those of ``owsuper.errors``, are what applications use. All other modules may
change without notice.
"""

from owsuper.client.app import OpenWorkflow
from owsuper.client.handle import RunHandle
from owsuper.client.models import (
    Run,
    RunCounts,
    RunParent,
    RunRetry,
    SkippedSignal,
    StepAttempt,
    Unreadable,
)
from owsuper.client.post_mortem import PostMortem
from owsuper.client.why import Reason, ReasonKind
from owsuper.client.worker import Worker
from owsuper.client.workers import ExecutingRun, ProcessStatus, WorkerState, WorkerStatus
from owsuper.core.model import RunStatus, Signal, StepKind, StepStatus
from owsuper.core.pages import Page
from owsuper.core.retry import RetryPolicy
from owsuper.errors import (
    ChildFailed,
    NonRetryableError,
    OwsuperError,
    ResultTimeout,
    RunCanceled,
    RunFailed,
    RunNotFound,
    StepFailed,
)
from owsuper.step import AsyncStep, Step
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow

__all__ = [
    "AsyncStep",
    "ChildFailed",
    "ExecutingRun",
    "NonRetryableError",
    "OpenWorkflow",
    "OwsuperError",
    "Page",
    "PostMortem",
    "ProcessStatus",
    "Reason",
    "ReasonKind",
    "ResultTimeout",
    "RetryPolicy",
    "Run",
    "RunCanceled",
    "RunCounts",
    "RunFailed",
    "RunHandle",
    "RunNotFound",
    "RunParent",
    "RunRetry",
    "RunStatus",
    "Signal",
    "SkippedSignal",
    "Step",
    "StepAttempt",
    "StepFailed",
    "StepKind",
    "StepStatus",
    "StoredError",
    "Unreadable",
    "Worker",
    "WorkerState",
    "WorkerStatus",
    "Workflow",
]
