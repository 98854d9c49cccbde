"""One pass from assignment to outcome: load, replay, run user code, write how it ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any, Final

from owsuper.child.database import ChildDatabase
from owsuper.child.execution.asynchronous import AsyncExecution
from owsuper.child.execution.base import Abandon, Execution, Services
from owsuper.child.execution.sync import SyncExecution
from owsuper.core import codec
from owsuper.core.decisions import Raised, Returned
from owsuper.core.model import (
    ClaimedRun,
    Complete,
    Fail,
    Outcome,
    Park,
    RecordedAttempt,
    Release,
    Retry,
)
from owsuper.core.replay import Replay
from owsuper.core.retry import WORKFLOW_DEFAULT, no_retry_reason
from owsuper.core.steps.effects import Threw, Value
from owsuper.core.unwind import Unwind
from owsuper.db.runs import RunStore
from owsuper.errors import DataError, StepFailed
from owsuper.ids import Ids
from owsuper.step import AsyncStep, Step
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

_log = logging.getLogger("owsuper.child")

_NAMES: Final = 10  # of steps in one line of the log


@dataclass(frozen=True, slots=True)
class Ended:
    """How a pass ended: a word for the log, and seconds until the run is due again."""

    outcome: str
    due_in: float | None = None


_GONE = Ended("lost")


@dataclass(frozen=True, slots=True)
class LoadedExecution:
    """What a pass starts from: ``input`` has the declared type, or could not be made so."""

    history: list[RecordedAttempt]
    failures: int
    input: Value | Threw


class Executor:
    """Executes assigned runs of one child; ``executions`` are those under way, by worker id."""

    def __init__(
        self, registry: Registry, database: ChildDatabase, store: RunStore, services: Services
    ) -> None:
        self.executions: dict[str, Execution] = {}
        self._registry = registry
        self._database = database
        self._store = store
        self._services = services
        self._new_id = Ids()

    def workflow_of(self, run: ClaimedRun) -> Workflow[Any, Any]:
        """The workflow that ``run`` is a run of. Raises LookupError if it is not registered."""
        workflow = self._registry.get(run.workflow_name, run.version)
        if workflow is None:
            raise LookupError(f"{run.workflow_name!r} (version: {run.version})")
        return workflow

    # --- both colours ----------------------------------------------------------------------

    def execute(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> Ended:
        """One pass of a ``def`` workflow, in this thread."""
        loaded = self._load(workflow, run)
        this = SyncExecution(run, self._replay(workflow, run, loaded), self._services, slot)
        self.executions[run.worker_id] = this
        self._services.deadlines.watch(this)
        try:
            arguments = self._arguments(workflow, loaded, this, Step(this))
            end = (
                arguments
                if isinstance(arguments, Raised)
                else copy_context().run(_call, workflow.fn, arguments)
            )
            if not isinstance(end, Raised):
                this.exit_if_forked(end)
            decided_outcome = this.join(returned=isinstance(end, Value))
            outcome = self._outcome(workflow, this, end, decided_outcome)
            if isinstance(outcome, Abandon):
                return _GONE
            try:
                this.flush(outcome)
            except Unwind:
                outcome = this.fallback_outcome()
                this.flush(outcome)
            return self._ended(this, outcome)
        except Unwind:
            return _GONE
        finally:
            self._services.deadlines.forget(this)
            del self.executions[run.worker_id]

    async def execute_async(
        self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int
    ) -> Ended:
        """One pass of an ``async def`` workflow, on the loop's thread."""
        if run.first and not run.input_stored:
            loaded = self._load(workflow, run)  # nothing to wait for
        else:
            job = self._services.threads.submit(self._load, workflow, run)
            loaded = await asyncio.wrap_future(job)
        this = AsyncExecution(run, self._replay(workflow, run, loaded), self._services, slot)
        self.executions[run.worker_id] = this
        self._services.deadlines.watch(this)
        try:
            arguments = self._arguments(workflow, loaded, this, AsyncStep(this))
            end: Value | Threw | Raised
            if isinstance(arguments, Raised):
                end = arguments
            else:
                try:
                    end = await this.run_body(_await(workflow.fn, arguments))
                except asyncio.CancelledError as exc:
                    end = Threw(exc)
            if not isinstance(end, Raised):
                this.exit_if_forked(end)
            decided_outcome = await this.join(returned=isinstance(end, Value))
            outcome = self._outcome(workflow, this, end, decided_outcome)
            if isinstance(outcome, Abandon):
                return _GONE
            try:
                await this.flush(outcome)
            except Unwind:
                outcome = this.fallback_outcome()
                await this.flush(outcome)
            return self._ended(this, outcome)
        except Unwind:
            return _GONE
        finally:
            self._services.deadlines.forget(this)
            del self.executions[run.worker_id]

    # --- before ----------------------------------------------------------------------------

    def _load(self, workflow: Workflow[Any, Any], run: ClaimedRun) -> LoadedExecution:
        history: list[RecordedAttempt] = []
        failures = 0
        if not run.first:
            limit = workflow.step_limit
            stored = self._database.patiently(
                lambda conn: self._store.load(conn, run.run_id, enough=limit)
            )
            history, failures = stored.history, stored.failures
        raw = run.input_json
        if run.input_stored:
            raw = self._database.patiently(lambda conn: self._store.load_input(conn, run.run_id))
        return LoadedExecution(history, failures, _converted(workflow, raw))

    def _replay(
        self, workflow: Workflow[Any, Any], run: ClaimedRun, loaded: LoadedExecution
    ) -> Replay:
        return Replay(
            loaded.history,
            new_id=self._new_id,
            failures=loaded.failures,
            policy=workflow.retry or WORKFLOW_DEFAULT,
            deadline=run.deadline_at,
            limit=workflow.step_limit,
            run_id=run.run_id,
        )

    def _arguments(
        self,
        workflow: Workflow[Any, Any],
        loaded: LoadedExecution,
        this: Execution,
        step: Step | AsyncStep,
    ) -> tuple[Any, ...] | Raised:
        """What to call the workflow function with, or why not to call it at all."""
        if (over := this.replay.overrun()) is not None:
            return Raised(StoredError.from_exception(this.exceed(over)), final=True)
        if isinstance(loaded.input, Threw):
            # It will not fit any better the next time.
            return Raised(StoredError.from_exception(loaded.input.exception), final=True)
        return (step, loaded.input.value) if workflow.takes_input else (step,)

    # --- after -----------------------------------------------------------------------------

    def _outcome(
        self,
        workflow: Workflow[Any, Any],
        this: Execution,
        end: Value | Threw | Raised,
        decided_outcome: Outcome | Abandon | None,
    ) -> Outcome | Abandon:
        """What to write. The engine's own verdict wins over what came out of user code."""
        if decided_outcome is not None:
            return decided_outcome
        return this.replay.finish(_judged(end, workflow), this.now())

    def _ended(self, this: Execution, outcome: Outcome) -> Ended:
        match outcome:
            case Complete():
                _tell_unreached(this)
                return Ended("completed")
            case Park(until):
                if this.replay.is_beyond_history:
                    _tell_unreached(this)
                return Ended("parked", max(0.0, (until - this.now()).total_seconds()))
            case Retry(at, error, counts):
                due_in = max(0.0, (at - this.now()).total_seconds())
                if counts:
                    told = _told(this, error) | {"due_in": due_in}
                    _log.warning("run failed and will be tried again", extra=told)
                return Ended("retrying", due_in)
            case Fail(error, not_retried):
                told = _told(this, StoredError.from_json(error)) | {"not_retried": not_retried}
                _log.error("run failed", extra=told)
                return Ended("failed")
            case Release():
                return Ended("released", 0.0)


def _told(this: Execution, error: StoredError) -> dict[str, object]:
    """What the log says of a run that failed."""
    run = this.run
    return {
        "run_id": run.run_id,
        "workflow": run.workflow_name,
        "attempt": run.attempts,
        "error": error.summary(),
    }


def _tell_unreached(this: Execution) -> None:
    """Say which steps of earlier passes the code has left aside, if it has."""
    unreached = this.replay.unreached()
    if not unreached:
        return
    names = ", ".join(unreached[:_NAMES])
    if len(unreached) > _NAMES:
        names += f" and {len(unreached) - _NAMES} more"
    _log.warning(
        "recorded steps that this code never reached: %s; was the workflow changed while runs"
        " were under way?",
        names,
        extra={"run_id": this.run.run_id, "workflow": this.run.workflow_name},
    )


def _converted(workflow: Workflow[Any, Any], raw: bytes | None) -> Value | Threw:
    if not workflow.takes_input:
        return Value(None)
    try:
        owner = str(workflow)
        value = codec.decode(raw, path="input", owner=owner)
        return Value(codec.convert(value, workflow.input_type, path="input", owner=owner))
    except DataError as exc:
        return Threw(exc)


def _judged(end: Value | Threw | Raised, workflow: Workflow[Any, Any]) -> Returned | Raised:
    """How user code ended, in the words of the replay."""
    match end:
        case Raised():
            return end
        case Value(value):
            try:
                encoded = codec.encode(value, path="result")
                # Whoever asks for the result converts it: what does not fit is said here.
                stored = codec.as_stored(codec.decode(encoded))
                codec.convert(stored, workflow.output_type, path="result")
                return Returned(encoded)
            except DataError as exc:
                return Raised(StoredError.from_exception(exc), final=True)
        case Threw(exc):
            failed = _step_failure(exc)
            if failed is not None:
                return Raised(failed.error, final=True)
            why = no_retry_reason(workflow.retry or WORKFLOW_DEFAULT, exc)
            error = StoredError.from_exception(exc, no_retry_reason=why)
            return Raised(error, final=why is not None)


def _step_failure(exc: BaseException) -> StepFailed | None:
    """The exhausted step that ``exc`` is about; a TaskGroup wraps it in a group."""
    if isinstance(exc, StepFailed):
        return exc
    if isinstance(exc, BaseExceptionGroup):
        inner = [_step_failure(each) for each in exc.exceptions]
        return inner[0] if all(inner) else None
    return None


def _call(fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Value | Threw:
    try:
        return Value(fn(*arguments))
    except BaseException as exc:  # SystemExit must not end the slot's thread
        return Threw(exc)


async def _await(fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Value | Threw:
    try:
        return Value(await fn(*arguments))
    except asyncio.CancelledError:
        raise
    except BaseException as exc:  # SystemExit must not end the loop's thread
        return Threw(exc)
