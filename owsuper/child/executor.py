"""Executes one run: loads its history, replays it, runs user code, writes the outcome."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from owsuper import tracing
from owsuper.child.code_end import classify_end, classify_undoing
from owsuper.child.execution.asynchronous import AsyncExecution
from owsuper.child.execution.base import ABANDON, Abandon, Execution
from owsuper.child.execution.drive import Operations, drive, drive_async
from owsuper.child.execution.sync import SyncExecution
from owsuper.child.execution_result import LOST, ExecutionResult, log_end, not_beginning
from owsuper.child.services import Services
from owsuper.core import codec, upcasts
from owsuper.core.decisions import Raised
from owsuper.core.model import (
    ClaimedRun,
    Outcome,
    Park,
    RecordedAttempt,
    Release,
)
from owsuper.core.outcomes import RunRetries
from owsuper.core.replay import Replay
from owsuper.core.retry import WORKFLOW_DEFAULT
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.undoing import Undos, undone_workflow
from owsuper.core.unwind import Unwind
from owsuper.ids import Ids
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

if TYPE_CHECKING:
    from owsuper.tracing.execution import ExecutionTrace

_log = logging.getLogger("owsuper.child")


@dataclass(frozen=True, slots=True)
class LoadedExecution:
    """The start of an execution. ``input`` is CallError if it does not fit the declared type.

    ``held``: the claim is good, as far as the database was asked.
    """

    history: list[RecordedAttempt]
    failures: int
    held: bool
    input: CallResult | CallError


class Executor:
    """Executes the assigned runs of one child.

    ``executions`` maps worker ids to running executions. ``types`` are their classes.
    """

    def __init__(
        self,
        registry: Registry,
        services: Services,
        types: tuple[type[SyncExecution], type[AsyncExecution]] = (SyncExecution, AsyncExecution),
    ) -> None:
        self._sync_type, self._async_type = types
        self.executions: dict[str, Execution] = {}
        self._registry = registry
        self._services = services
        self._new_id = Ids()
        for workflow in registry:
            for limit in workflow.limits:
                from owsuper.core.limits import definition  # few programs need it

                services.known_limits[str(limit.name)] = definition(limit)

    def workflow_of(self, run: ClaimedRun) -> Workflow[Any, Any]:
        """Return the workflow of ``run``, or the one of the run that it undoes.

        Raises LookupError if it is not registered.
        """
        name = undone_workflow(run.workflow_name) or run.workflow_name
        workflow = self._registry.get(name, run.version)
        if workflow is None:
            raise LookupError(f"{run.workflow_name!r} (version: {run.version})")
        return workflow

    def execute(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> ExecutionResult:
        """Execute a run of a ``def`` workflow in this thread.

        Return when the run ends, is parked or is released. An exception is the engine's: nothing
        that user code raises gets here.
        """
        return drive(self._begin(workflow, run, slot, self._sync_type))

    async def execute_async(
        self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int
    ) -> ExecutionResult:
        """Execute a run of an ``async def`` workflow on the running event loop.

        Returns and raises as ``execute`` does.
        """
        return await drive_async(self._begin(workflow, run, slot, self._async_type))

    def _begin(
        self,
        workflow: Workflow[Any, Any],
        run: ClaimedRun,
        slot: int,
        execution_type: type[SyncExecution] | type[AsyncExecution],
    ) -> Operations[ExecutionResult]:
        trace = tracing.begin_execution(run, self._services.namespace)
        undoes = undone_workflow(run.workflow_name) is not None
        execute = self._undo_operations if undoes else self._operations
        operations = execute(workflow, run, slot, execution_type, trace)
        return operations if trace is None else _traced(operations, trace)

    def _operations(
        self,
        workflow: Workflow[Any, Any],
        run: ClaimedRun,
        slot: int,
        execution_type: type[SyncExecution] | type[AsyncExecution],
        trace: ExecutionTrace | None,
    ) -> Operations[ExecutionResult]:
        """Load, replay, run user code, and write the outcome."""
        moves = run.version != workflow.version
        if run.first and not run.input_stored and not moves:
            loaded = self._load(workflow, run)  # no I/O, so no operation to yield
        else:
            load = partial(self._load, workflow, run)
            loaded = yield partial(execution_type.load, self._services, load)
            if not loaded.held:  # lost in a crash of the server, or while this waited for its end
                return not_beginning(run)
        if moves:
            run = replace(run, version=workflow.version)
        execution = execution_type(
            run,
            self._replay(workflow, run, loaded),
            self._services,
            slot,
            workflow=workflow,
            strict=workflow.strict,
            trace=trace,
        )
        build = partial(_build_arguments, workflow, loaded, execution)
        retries = _retries(workflow, run, loaded)

        def decide(end: CallResult | CallError | Raised) -> Outcome:
            return retries.outcome_of(classify_end(end, workflow), execution.now())

        return (yield from self._call_and_write(execution, workflow.fn, build, decide))

    def _undo_operations(
        self,
        workflow: Workflow[Any, Any],
        run: ClaimedRun,
        slot: int,
        execution_type: type[SyncExecution] | type[AsyncExecution],
        trace: ExecutionTrace | None,
    ) -> Operations[ExecutionResult]:
        """Find the undos of an ended run, execute them, and write the outcome."""
        from owsuper.child import undoing  # few need it

        loaded: LoadedExecution
        loaded = yield partial(
            execution_type.load,
            self._services,
            partial(self._load, workflow, run, lambda *_: CallResult(None)),
        )
        if not loaded.held:
            return not_beginning(run)
        run = replace(run, version=workflow.version)
        read = partial(undoing.load, self._services, workflow, run, _convert_input)
        undone: undoing.UndoneHistory | StoredError | None
        undone = yield partial(execution_type.load, self._services, read)
        undos = Undos()
        if isinstance(undone, undoing.UndoneHistory):
            recalling = execution_type(
                run,
                undoing.replay_of(undone, self._new_id),
                self._services,
                slot,
                workflow=workflow,
                undos=undos,
                told_run=undone.told_run,
            )
            self.executions[run.worker_id] = recalling
            try:
                undone = yield from undoing.recall(recalling, workflow, undone, loaded.history)
            finally:
                self._services.overdue_watch.forget(recalling)
                del self.executions[run.worker_id]
            if recalling.engine_error is not None:
                raise recalling.engine_error
            if isinstance(recalling.decided_outcome, Abandon):
                return LOST
            if isinstance(recalling.decided_outcome, Release):
                yield partial(recalling.flush, recalling.decided_outcome)
                return log_end(recalling, recalling.decided_outcome)
        execution = execution_type(
            run,
            self._replay(workflow, run, loaded),
            self._services,
            slot,
            workflow=workflow,
            trace=trace,
            undos=undos,
        )
        retries = _retries(workflow, run, loaded)
        error = undone
        fn = undoing.aundo_all if workflow.is_async else undoing.undo_all

        def build() -> tuple[Any, ...] | Raised:
            return Raised(error, final=True) if error is not None else (execution.step(),)

        def decide(end: CallResult | CallError | Raised) -> Outcome:
            return retries.outcome_of(classify_undoing(end), execution.now())

        return (yield from self._call_and_write(execution, fn, build, decide))

    def _call_and_write(
        self,
        execution: SyncExecution | AsyncExecution,
        fn: Callable[..., Any],
        build_arguments: Callable[[], tuple[Any, ...] | Raised],
        decide: Callable[[CallResult | CallError | Raised], Outcome],
    ) -> Operations[ExecutionResult]:
        """Call a workflow function, and write the outcome: ``decide`` says what follows its end."""
        run, trace = execution.run, execution.trace
        self.executions[run.worker_id] = execution
        self._services.deadlines.watch(execution)
        try:
            arguments = build_arguments()
            end: CallResult | CallError | Raised
            if isinstance(arguments, Raised):
                end = arguments
            else:
                called: CallResult | CallError
                called = yield partial(execution.run_body, fn, arguments)
                execution.exit_if_forked(called)
                end = called
            yield partial(execution.join, returned=isinstance(end, CallResult))
            execution.code_has_ended = True
            self._services.overdue_watch.forget(execution)
            if isinstance(end, CallResult):
                execution.check_end()
            outcome = execution.decided_outcome
            if outcome is None:
                outcome = decide(end)
            if isinstance(outcome, Abandon):
                return LOST
            try:
                yield partial(execution.flush, outcome)
            except Unwind:
                # The database may refuse this outcome, for example a result that is too large.
                # Then the run fails instead. Or the engine could not write: the run is given back.
                outcome = execution.fallback_outcome()
                yield partial(execution.flush, outcome)
            if trace is not None:
                _note_end(execution, trace, outcome, end)
            return log_end(execution, outcome)
        except Unwind:
            if execution.engine_error is not None and execution.decided_outcome is not ABANDON:
                raise execution.engine_error from None
            return LOST
        finally:
            self._services.deadlines.forget(execution)
            self._services.overdue_watch.forget(execution)
            del self.executions[run.worker_id]

    def _load(
        self,
        workflow: Workflow[Any, Any],
        run: ClaimedRun,
        convert: Callable[[Workflow[Any, Any], bytes | None], CallResult | CallError] | None = None,
    ) -> LoadedExecution:
        database, store = self._services.database, self._services.store
        history: list[RecordedAttempt] = []
        failures, held = 0, True
        if run.version != workflow.version:  # from now on, no worker of the older version takes it
            held = database.run_with_retries(
                lambda conn: store.move_version(conn, run.run_id, run.worker_id, workflow.version)
            )
        if held and not run.first:
            limit = workflow.step_limit
            stored = database.run_with_retries(
                lambda conn: store.load(conn, run.run_id, run.worker_id, enough=limit)
            )
            history, failures, held = stored.history, stored.failures, stored.held
        raw = run.input_json
        if run.input_stored:
            raw = database.run_with_retries(lambda conn: store.load_input(conn, run.run_id))
        return LoadedExecution(history, failures, held, (convert or _convert_input)(workflow, raw))

    def _replay(
        self, workflow: Workflow[Any, Any], run: ClaimedRun, loaded: LoadedExecution
    ) -> Replay:
        return Replay(
            loaded.history,
            new_id=self._new_id,
            deadline=run.deadline_at,
            limit=workflow.step_limit,
        )


def _retries(workflow: Workflow[Any, Any], run: ClaimedRun, loaded: LoadedExecution) -> RunRetries:
    policy = workflow.retry or WORKFLOW_DEFAULT
    return RunRetries(policy, loaded.failures, run.deadline_at, run.run_id)


def _traced(
    operations: Operations[ExecutionResult], trace: ExecutionTrace
) -> Operations[ExecutionResult]:
    """The operations of an execution within its span."""
    try:
        return (yield from operations)
    except GeneratorExit:
        raise
    except BaseException as exc:
        trace.fail(exc)
        raise
    finally:
        trace.end()


def _note_end(
    execution: Execution,
    trace: ExecutionTrace,
    outcome: Outcome,
    end: CallResult | CallError | Raised,
) -> None:
    trace.note(
        outcome,
        exc=end.exception if isinstance(end, CallError) else None,
        wait=execution.replay.next_wait() if isinstance(outcome, Park) else None,
        engine_error=execution.engine_error,
    )


def _convert_input(workflow: Workflow[Any, Any], raw: bytes | None) -> CallResult | CallError:
    """Return the input, converted to the type that the workflow declares."""
    if not workflow.takes_input:
        return CallResult(None)
    try:
        owner = str(workflow)
        value = codec.decode(raw, path="input", owner=owner)
        declared, upcast = workflow.input_type, workflow.upcasts.input
        return CallResult(upcasts.convert(value, declared, upcast, path="input", owner=owner))
    except MemoryError:
        raise
    except BaseException as exc:  # DataError, or what a hook of the type raised
        return CallError(exc)


def _build_arguments(
    workflow: Workflow[Any, Any], loaded: LoadedExecution, execution: Execution
) -> tuple[Any, ...] | Raised:
    """Return the arguments of the workflow function, or the error that prevents the call."""
    if (over := execution.replay.limit_exceeded()) is not None:
        return Raised(StoredError.from_exception(execution.limit_error(over)), final=True)
    if isinstance(loaded.input, CallError):  # final: the input is the same on every retry
        return Raised(StoredError.from_exception(loaded.input.exception), final=True)
    step = execution.step()
    return (step, loaded.input.value) if workflow.takes_input else (step,)
