"""A worker in the process of a test: executes runs as a child process does, on tables in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, Self, TypeVar, overload
from uuid import UUID

from owsuper.client.new_run import check_chosen_id
from owsuper.client.registration import Registration
from owsuper.core import codec
from owsuper.core.attributes import check_attributes
from owsuper.core.durations import Duration, milliseconds
from owsuper.core.model import RunStatus
from owsuper.core.undoing import undone_workflow
from owsuper.db import refusals
from owsuper.db.clients import not_found
from owsuper.errors import ConfigurationError
from owsuper.testing import arguments, outcome, rerunning, waking
from owsuper.testing.child_runs import Child, ChildReplacements
from owsuper.testing.engine import InProcessEngine
from owsuper.testing.faults import CommitCrashes, Fault
from owsuper.testing.outcome import InProcessRun
from owsuper.testing.plan import Plan, execution_types
from owsuper.testing.rows import MemoryRun
from owsuper.testing.stores import MemoryRelatedStore, MemoryRunStore
from owsuper.testing.tables import BEGINNING, Tables
from owsuper.workflow.definition import Workflow
from owsuper.workflow.input import encode_input
from owsuper.workflow.registry import Registry

I = TypeVar("I")  # noqa: E741 - as in Workflow[I, O]
O = TypeVar("O")  # noqa: E741 - likewise

_SAME: Final[Any] = object()  # the input that the run had
_MOST_EXECUTIONS: Final = 10_000  # in one call; a run that is replayed so often makes no progress


class InProcessWorker:
    """Executes the runs of one application, one execution at a time, in the calling thread.

    Use it as a context manager. ``async def`` workflows run on an event loop in a thread. Runs
    are executed while ``run_until_idle`` or ``finish`` is called, and time stands still otherwise.

    ``steps`` has functions to call in place of those of steps, by the names of the steps;
    ``faults`` happen in them, or after commits. ``children`` has, by the names of workflows, what
    their child runs do instead of being executed: a result, an exception to fail with, or a
    function of the input. ``patches`` has, by the names of patches, which branch runs take: False
    is the old one. With ``allow_unused``, ``steps`` and ``children`` may have more than the runs
    need, as a dict that several tests share has.
    ``now`` is the time at which the test begins, aware.
    """

    def __init__(
        self,
        application: Registration,
        *,
        steps: Mapping[str, Callable[..., Any]] | None = None,
        children: Mapping[str, Child] | None = None,
        faults: Iterable[Fault] = (),
        patches: Mapping[str, bool] | None = None,
        now: datetime = BEGINNING,
        allow_unused: bool = False,
    ) -> None:
        arguments.check_application(application)
        arguments.check_time(now)
        self._registry: Registry = application.registry
        self.tables = Tables(now)
        self._children = ChildReplacements(arguments.named("children", children), self.tables)
        in_steps, after_commits = arguments.faults_of(faults)
        self.plan = Plan(
            arguments.named("steps", steps),
            in_steps,
            lambda: self.tables.now,
            arguments.named("patches", patches),
        )
        self._allow_unused = allow_unused
        self._executions = 0
        self.store = MemoryRunStore(self.tables)
        if after_commits:
            self.store.after_commit = CommitCrashes(self.tables, after_commits)
        self._engine = InProcessEngine(
            self._registry,
            self.tables,
            (self.store, MemoryRelatedStore(self.tables)),
            execution_types(self.plan),
            tuple(application.step_contexts),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
        if kind is None:
            self.check_used()

    def close(self) -> None:
        """End the threads."""
        self._engine.close()

    def check_used(self) -> None:
        """Raise AssertionError for a replacement, fault or patch that nothing has used so far.

        This is done at the end of a ``with`` block, too. With ``allow_unused``, replacements are
        left out.
        """
        try:
            self.plan.check_used(steps=not self._allow_unused)
            if not self._allow_unused:
                self._children.check_used()
        except AssertionError as error:
            raise outcome.with_failure(str(error), self.tables) from None

    # --- time --------------------------------------------------------------------------------

    @property
    def now(self) -> datetime:
        """The time of the test."""
        return self.tables.now

    def advance(self, duration: Duration) -> None:
        """Let time pass, and execute what becomes due, in order.

        Raises ConfigurationError for a duration that is negative.
        """
        ms = milliseconds(duration)
        if ms < 0:
            raise ConfigurationError(
                f"advance({duration!r}): time does not go back; pass a duration that is not"
                " negative"
            )
        try:
            end = self.tables.now + timedelta(milliseconds=ms)
        except OverflowError:
            raise ConfigurationError(
                f"advance({duration!r}): the time would be after the year 9999; pass a shorter"
                " duration"
            ) from None
        before = self.tables.now
        while (run := self._next(end)) is not None:
            if self.tables.now > before:
                before, self._executions = self.tables.now, 0
            self._execute(run)
        self.tables.now = max(self.tables.now, end)

    # --- runs --------------------------------------------------------------------------------

    @overload
    def start(
        self,
        workflow: Workflow[None, Any],
        input: None = None,
        *,
        id: str | UUID | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str: ...
    @overload
    def start(
        self,
        workflow: Workflow[I, Any],
        input: I,
        *,
        id: str | UUID | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str: ...
    def start(
        self,
        workflow: Workflow[Any, Any],
        input: Any = None,
        *,
        id: str | UUID | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> str:
        """Start a run; return its id. Raises as ``Workflow.run`` does."""
        arguments.check_workflow(workflow)
        raw = encode_input(workflow, input, "input")
        checked = check_attributes(attributes)
        run_id = None if id is None else check_chosen_id(id)
        if run_id is not None and (run := self.tables.runs.get(run_id)) is not None:
            return refusals.check_own(run_id, workflow.name, [(run.workflow_name,)])
        return self.tables.start(
            workflow.name, workflow.version, raw, run_id=run_id, attributes=checked
        ).id

    def send_signal(self, signal: str, data: Any = None, *, buffer: bool = False) -> list[str]:
        """Send a signal; return the ids of the runs that it reached."""
        return self.tables.send(signal, codec.decode(codec.encode(data, path="data")), keep=buffer)

    def cancel(self, run_id: str) -> None:
        """Cancel a run, or the last run that it continued as; without effect on a canceled run.

        Raises RunNotFound, and RunNotCancelable for a completed or failed run.
        """
        run = self._run(self.last_of(run_id))
        refusals.check_canceled(run.id, run.status)
        if not run.ended:
            self.tables.end(run, RunStatus.CANCELED)

    def rerun(self, run_id: str, from_step: str | None = None, *, input: Any = _SAME) -> str:
        """Start a run that repeats a run, as :meth:`RunHandle.rerun` does; return its id.

        Raises RunNotFound, RunNotRerunnable and NotSerializable.
        """
        self._run(run_id)
        given = None if input is _SAME else (codec.encode(input, path="input"),)
        return rerunning.rerun(self.tables, run_id, from_step, given).id

    def wake(self, run_id: str, step: str | None = None) -> None:
        """End the waits of a run, or that of one step, as :meth:`RunHandle.wake` does.

        The run is due now. Raises RunNotFound and RunNotWakeable.
        """
        self._run(run_id)
        waking.wake(self.tables, run_id, step)

    def run_until_idle(self) -> None:
        """Execute runs until none is due now."""
        self._executions = 0
        self._execute_due()

    def _execute_due(self) -> None:
        while (run := self._next(self.tables.now)) is not None:
            self._execute(run)

    def finish(self, run_id: str, signals: Iterable[tuple[str, Any]] = ()) -> None:
        """Execute runs until this one has ended, or the last run that it continued as; and undone.

        Each of ``signals`` is sent when a run waits for it and nothing is due. Then time passes.
        Raises AssertionError if the run can never end, or does not use a signal, and RunNotFound.
        """
        left = arguments.signals_of(signals)
        self._executions = 0
        while not self._is_over(self._run(self.last_of(run_id))):
            self._execute_due()
            run = self._run(self.last_of(run_id))
            if self._is_over(run):
                break
            if self._send_next(left):
                continue
            due = self.tables.next_due()
            if due is None or due.available_at is None:
                raise AssertionError(f"the run of {run.workflow_name} waits, and nothing is due")
            self.tables.now = max(self.tables.now, due.available_at)
        if left:
            names = ", ".join(repr(name) for name, _ in left)
            raise outcome.with_failure(
                f"signals: nothing waited for {names} before the run ended", self.tables
            )

    def _is_over(self, run: MemoryRun) -> bool:
        return run.ended and (run.undone_by is None or self._run(run.undone_by).ended)

    def last_of(self, run_id: str) -> str:
        """Return the id of the last run of the chain that this run has continued as."""
        while (after := self._run(run_id).continued_as) is not None:
            run_id = after
        return run_id

    def read(self, workflow: Workflow[Any, O], run_id: str) -> InProcessRun[O]:
        """Return a run as it is now. Raises RunNotFound."""
        self._run(run_id)
        return outcome.read(self.tables, run_id, self._registry, workflow)

    def _run(self, run_id: str) -> MemoryRun:
        run = self.tables.runs.get(run_id)
        if run is None:
            raise not_found(run_id)
        return run

    # --- executions --------------------------------------------------------------------------

    def _next(self, until: datetime) -> MemoryRun | None:
        """Return the next run to execute, at its time, if that is not after ``until``."""
        run = self.tables.next_due()
        if run is None or run.available_at is None or run.available_at > until:
            return None
        self.tables.now = max(self.tables.now, run.available_at)
        return run

    def _send_next(self, signals: list[tuple[str, Any]]) -> bool:
        for number, (name, data) in enumerate(signals):
            if any(not each.delivered for each in self.tables.waiting_for(name)):
                del signals[number]
                self.send_signal(name, data)
                return True
        return False

    def _execute(self, run: MemoryRun) -> None:
        self._executions += 1
        if self._executions > _MOST_EXECUTIONS:
            raise AssertionError(
                f"the run of {run.workflow_name} makes no progress: it was executed"
                f" {run.attempts} times"
            )
        if self._children.end(run):
            return
        name = undone_workflow(run.workflow_name) or run.workflow_name
        workflow = self._registry.get(name, run.version)
        if workflow is None:
            raise AssertionError(
                f"no workflow {run.workflow_name!r} (version: {run.version}) is registered with"
                " this OpenWorkflow. Import its module, or replace it:"
                f" children={{{run.workflow_name!r}: result}}"
            )
        self._engine.execute(workflow, run)
        if self.plan.interruption is not None:
            raise self.plan.interruption
