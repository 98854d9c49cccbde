"""Durable, resumable workflows on PostgreSQL, run by a multiprocess supervisor.

These names, and those of ``owsuper.errors``, are what applications use. All other modules may
change without notice.

A name is imported when it is first used. The ``owsuper`` command imports this package before it
knows what it is asked for, and a health check or a supervisor needs none of these names.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from owsuper.client.app import OpenWorkflow
    from owsuper.client.handle import RunHandle
    from owsuper.client.limits import LimitKey, LimitStatus
    from owsuper.client.many_runs import ChangedRuns
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
    from owsuper.client.reasons import Reason, ReasonKind
    from owsuper.client.reports import LogLine, RunProgress
    from owsuper.client.schedule_models import PastTick, ScheduleState, ScheduleStatus
    from owsuper.client.shards import Shards
    from owsuper.client.worker import Worker
    from owsuper.client.workers import ExecutingRun, ProcessStatus, WorkerState, WorkerStatus
    from owsuper.client.workflow_status import PausedWorkflow, WorkflowStatus
    from owsuper.core.limits import Concurrency, Rate
    from owsuper.core.model import RunStatus, Signal, StepKind, StepStatus
    from owsuper.core.pages import Page
    from owsuper.core.retry import RetryPolicy
    from owsuper.core.schedules.tick import Tick
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
    from owsuper.step.current import Current, current, current_step
    from owsuper.stored_error import StoredError
    from owsuper.thread_worker import ThreadWorker
    from owsuper.workflow.definition import Workflow

__all__ = [
    "AsyncStep",
    "ChangedRuns",
    "ChildFailed",
    "Concurrency",
    "Current",
    "ExecutingRun",
    "LimitKey",
    "LimitStatus",
    "LogLine",
    "NonRetryableError",
    "OpenWorkflow",
    "OwsuperError",
    "Page",
    "PastTick",
    "PausedWorkflow",
    "PostMortem",
    "ProcessStatus",
    "Rate",
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
    "RunProgress",
    "RunRetry",
    "RunStatus",
    "ScheduleState",
    "ScheduleStatus",
    "Shards",
    "Signal",
    "SkippedSignal",
    "Step",
    "StepAttempt",
    "StepFailed",
    "StepKind",
    "StepStatus",
    "StoredError",
    "ThreadWorker",
    "Tick",
    "Unreadable",
    "Worker",
    "WorkerState",
    "WorkerStatus",
    "Workflow",
    "WorkflowStatus",
    "current",
    "current_step",
]

_MODULES = {
    "AsyncStep": "owsuper.step",
    "ChangedRuns": "owsuper.client.many_runs",
    "ChildFailed": "owsuper.errors",
    "Concurrency": "owsuper.core.limits",
    "Current": "owsuper.step.current",
    "ExecutingRun": "owsuper.client.workers",
    "LimitKey": "owsuper.client.limits",
    "LimitStatus": "owsuper.client.limits",
    "LogLine": "owsuper.client.reports",
    "NonRetryableError": "owsuper.errors",
    "OpenWorkflow": "owsuper.client.app",
    "OwsuperError": "owsuper.errors",
    "Page": "owsuper.core.pages",
    "PastTick": "owsuper.client.schedule_models",
    "PausedWorkflow": "owsuper.client.workflow_status",
    "PostMortem": "owsuper.client.post_mortem",
    "ProcessStatus": "owsuper.client.workers",
    "Rate": "owsuper.core.limits",
    "Reason": "owsuper.client.reasons",
    "ReasonKind": "owsuper.client.reasons",
    "ResultTimeout": "owsuper.errors",
    "RetryPolicy": "owsuper.core.retry",
    "Run": "owsuper.client.models",
    "RunCanceled": "owsuper.errors",
    "RunCounts": "owsuper.client.models",
    "RunFailed": "owsuper.errors",
    "RunHandle": "owsuper.client.handle",
    "RunNotFound": "owsuper.errors",
    "RunParent": "owsuper.client.models",
    "RunProgress": "owsuper.client.reports",
    "RunRetry": "owsuper.client.models",
    "RunStatus": "owsuper.core.model",
    "ScheduleState": "owsuper.client.schedule_models",
    "ScheduleStatus": "owsuper.client.schedule_models",
    "Shards": "owsuper.client.shards",
    "Signal": "owsuper.core.model",
    "SkippedSignal": "owsuper.client.models",
    "Step": "owsuper.step",
    "StepAttempt": "owsuper.client.models",
    "StepFailed": "owsuper.errors",
    "StepKind": "owsuper.core.model",
    "StepStatus": "owsuper.core.model",
    "StoredError": "owsuper.stored_error",
    "ThreadWorker": "owsuper.thread_worker",
    "Tick": "owsuper.core.schedules.tick",
    "Unreadable": "owsuper.client.models",
    "Worker": "owsuper.client.worker",
    "WorkerState": "owsuper.client.workers",
    "WorkerStatus": "owsuper.client.workers",
    "Workflow": "owsuper.workflow.definition",
    "WorkflowStatus": "owsuper.client.workflow_status",
    "current": "owsuper.step.current",
    "current_step": "owsuper.step.current",
}

if not TYPE_CHECKING:  # type checkers would take any name for one of these

    def __getattr__(name: str) -> object:
        """Import a public name, or the module of errors, and keep it."""
        if name == "errors":
            return import_module("owsuper.errors")
        if name not in _MODULES:
            raise AttributeError(f"module 'owsuper' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_MODULES[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
