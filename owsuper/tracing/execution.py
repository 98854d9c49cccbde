"""The spans of one execution of a run: its own, and those of its steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.context import Context

from owsuper.core.model import (
    ClaimedRun,
    Complete,
    ContinueAsNew,
    Fail,
    NewChildRun,
    Outcome,
    Park,
    RecordedAttempt,
    Release,
    Retry,
)
from owsuper.core.steps.effects import Call, CallError, CallResult
from owsuper.errors import StepFailed
from owsuper.stored_error import StoredError
from owsuper.tracing import spans
from owsuper.tracing.spans import TracedOperation, attributes_of_run

_STALE = "stale"


def begin(run: ClaimedRun, namespace: str) -> ExecutionTrace:
    """Begin the span of an execution: a trace of its own, with a link to what started the run."""
    origin = spans.extract(run.carrier)
    attributes = attributes_of_run(run.workflow_name, run.run_id, namespace, run.version)
    operation = TracedOperation(
        "workflow_run.execute",
        spans.CONSUMER,
        {**attributes, "openworkflow.execution.attempt": run.attempts},
        parent=spans.without_span(origin),
        link=spans.origin_of(origin),
    )
    return ExecutionTrace(run, namespace, operation)


class ExecutionTrace:
    """The span of an execution, and the steps that failed in it. Any thread may call this."""

    def __init__(self, run: ClaimedRun, namespace: str, operation: TracedOperation) -> None:
        self._run = run
        self._namespace = namespace
        self._operation = operation
        self._outcome = _STALE
        self._failed_steps: dict[str, StoredError] = {}

    def enter(self) -> None:
        """Make the span the current one, for as long as this thread or task has its context."""
        self._operation.enter()

    # --- steps -------------------------------------------------------------------------------

    def begin_step(self, call: Call) -> TracedOperation:
        """Begin the span of a call, and make it the current one; for ``end_step``."""
        attributes = {
            "openworkflow.run.id": self._run.run_id,
            "openworkflow.step.name": call.key,
        }
        if call.signal is None:
            attributes["openworkflow.workflow.name"] = self._run.workflow_name
            name, kind = "step_attempt.execute", spans.INTERNAL
        else:
            attributes["openworkflow.signal.name"] = call.signal
            name, kind = "signal.send", spans.PRODUCER
        operation = TracedOperation(name, kind, attributes, parent=self._here())
        operation.enter()
        return operation

    def end_step(self, operation: TracedOperation, call: Call, answer: object) -> None:
        """End the span of a call that has this answer; None if it was given up."""
        if isinstance(answer, CallError):
            error = StoredError.from_exception(answer.exception)
            operation.fail(error, answer.exception, event=True)
            self._failed_steps[call.key] = error
        elif call.signal is not None and isinstance(answer, CallResult):
            reached = len(answer.value["workflowRunIds"])
            operation.set({"openworkflow.signal.recipient_count": reached})
        operation.end()

    def create_child(self, child: NewChildRun) -> NewChildRun:
        """Return the child run with the headers of the span that starts it."""
        attributes = attributes_of_run(
            child.workflow_name, child.run_id, self._namespace, child.version
        )
        attributes["openworkflow.parent.run.id"] = self._run.run_id
        operation = TracedOperation(
            "workflow_run.create", spans.PRODUCER, attributes, parent=self._here()
        )
        created = replace(child, context=operation.headers())
        operation.end()
        return created

    def _here(self) -> Context:
        """Return the current context, or that of the execution in a thread of the user's own."""
        here = contexts.get_current()
        return self._operation.context if spans.origin_of(here) is None else here

    # --- the end -----------------------------------------------------------------------------

    def note(
        self,
        outcome: Outcome,
        *,
        exc: BaseException | None,
        wait: RecordedAttempt | None,
        engine_error: BaseException | None,
    ) -> None:
        """Note the outcome that is stored.

        ``exc`` is what the workflow function has raised, ``wait`` the step that a parked run waits
        for, and ``engine_error`` why the run is given back.
        """
        match outcome:
            case Complete() | ContinueAsNew():
                self._outcome = "completed"
            case Park() if engine_error is None:
                self._outcome = "suspended"
                if wait is not None:
                    self._operation.set(_attributes_of_wait(wait))
            case Release() if engine_error is None:
                self._outcome = "suspended"
            case Park() | Release():
                self.fail(engine_error)
            case Retry(error=error, counts=counts):
                self._outcome = "retrying"
                self._note_failure(error, exc, by_step=not counts)
            case Fail(error=stored):
                self._outcome = "failed"
                self._note_failure(StoredError.from_json(stored), exc, by_step=False)

    def fail(self, exc: BaseException | None) -> None:
        """Note that the engine failed, and has given the run back."""
        self._outcome = "retrying"
        if exc is not None:
            error = StoredError(str(exc), name=type(exc).__name__)
            self._operation.fail(error, exc, event=True)

    def end(self) -> None:
        """End the span; without a noted outcome, the claim was lost."""
        self._operation.set({"openworkflow.execution.outcome": self._outcome})
        self._operation.end()

    def _note_failure(
        self, error: StoredError, exc: BaseException | None, *, by_step: bool
    ) -> None:
        step: str | None = None
        if isinstance(exc, StepFailed):
            step, exc = exc.step, exc.__cause__
        elif by_step and self._failed_steps:
            step = next(reversed(self._failed_steps))
        if step is not None:
            self._operation.set({"openworkflow.step.name": step})
        # The span of the step has the event of its error.
        self._operation.fail(error, exc, event=step not in self._failed_steps)


def _attributes_of_wait(wait: RecordedAttempt) -> dict[str, str | int]:
    context: Any = wait.context if isinstance(wait.context, dict) else {}
    found = {
        "openworkflow.step.name": wait.step_name,
        "openworkflow.step.kind": str(wait.kind),
        "openworkflow.child.run.id": getattr(wait.answer, "run_id", None),
    }
    match context.get("kind"):
        case "sleep":
            found["openworkflow.step.resume_at"] = context.get("resumeAt")
        case "signal-wait":
            found["openworkflow.signal.name"] = context.get("signal")
            found["openworkflow.step.timeout_at"] = context.get("timeoutAt")
        case "workflow":
            found["openworkflow.step.timeout_at"] = context.get("timeoutAt")
    return {name: value for name, value in found.items() if isinstance(value, str)}
