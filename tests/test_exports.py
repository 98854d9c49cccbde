"""The public surface: the names that applications may import."""

from __future__ import annotations

import inspect
import subprocess
import sys

import owsuper
from owsuper import errors

PUBLIC = {
    "AsyncStep",
    "ChangedRuns",
    "Concurrency",
    "Current",
    "ExecutingRun",
    "LimitKey",
    "LimitStatus",
    "LogLine",
    "OpenWorkflow",
    "Page",
    "PastTick",
    "PausedWorkflow",
    "PostMortem",
    "ProcessStatus",
    "Rate",
    "Reason",
    "ReasonKind",
    "RetryPolicy",
    "Run",
    "RunCounts",
    "RunHandle",
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
}
DAILY = {
    "ChildFailed",
    "NonRetryableError",
    "OwsuperError",
    "ResultTimeout",
    "RunCanceled",
    "RunFailed",
    "RunNotFound",
    "StepFailed",
}
"""The errors that programs catch or raise daily; the others are in ``owsuper.errors`` alone."""


def error_classes() -> set[str]:
    return {
        name
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, Exception)
    }


def test_the_package_exports_exactly_the_public_names_and_the_daily_errors() -> None:
    assert set(owsuper.__all__) == PUBLIC | DAILY


def test_the_module_of_errors_exports_every_error_and_nothing_else() -> None:
    assert set(errors.__all__) == error_classes()


def test_every_exported_name_exists_and_is_documented() -> None:
    undocumented = [name for name in owsuper.__all__ if not getattr(owsuper, name).__doc__]
    assert undocumented == []


def test_the_list_of_exports_is_sorted_and_without_repetition() -> None:
    assert sorted(set(owsuper.__all__)) == list(owsuper.__all__)


def test_every_error_is_an_owsuper_error_and_stands_in_the_drawn_tree() -> None:
    for name in error_classes():
        assert issubclass(getattr(errors, name), errors.OwsuperError)
        assert name in (errors.__doc__ or "")


def test_importing_the_package_starts_no_thread_and_opens_no_socket() -> None:
    script = """
import os, socket, stat, threading
def sockets():
    open_now = [fd for fd in range(256) if os.path.exists(f"/dev/fd/{fd}")]
    return {fd for fd in open_now if stat.S_ISSOCK(os.fstat(fd).st_mode)}
before = sockets()
import owsuper
print(threading.active_count(), sockets() - before)
"""
    program = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        stdin=subprocess.DEVNULL,
    )
    assert program.stdout == "1 set()\n"
