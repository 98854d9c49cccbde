"""One execution of a workflow function: the part that sync and async share.

``decided_outcome`` alone determines how the execution ends. User code that swallows Unwind changes
nothing.
"""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NoReturn

from owsuper.child import process_exit
from owsuper.child.committer import LeaseLost
from owsuper.child.database import is_refusal
from owsuper.child.execution.recorded_writes import RecordedWrites
from owsuper.child.giving_back import database_time, give_back_outcome, log_engine_error
from owsuper.child.hard_stops import TimedCall
from owsuper.child.services import Services
from owsuper.core import attributes
from owsuper.core.attributes import AttributeChanges
from owsuper.core.decisions import Diverged, OverLimit, Wait
from owsuper.core.model import (
    ClaimedRun,
    ContinueAsNew,
    Fail,
    NewChildRun,
    Outcome,
    Release,
    StepStatus,
    StepWrite,
    WriteSet,
)
from owsuper.core.names import check_step_name
from owsuper.core.outcomes import outcome_of_waits
from owsuper.core.replay import Replay
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.core.steps.effects import CallError, CallResult
from owsuper.core.undoing import Undos
from owsuper.core.unwind import Unwind, unwind
from owsuper.db.reports import NewProgress
from owsuper.errors import NonDeterminismError, StepLimitExceeded, StepUsageError
from owsuper.ids import new_id
from owsuper.ipc.messages import CAUGHT_UNWIND, LEASE_LOST, PAST_DEADLINE
from owsuper.step import current
from owsuper.step.requests import Startable
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow
from owsuper.workflow.input import encode_input
from owsuper.workflow.run_config import config_of

if TYPE_CHECKING:
    from owsuper.tracing.execution import ExecutionTrace

_log = logging.getLogger("owsuper.child")

_ANSWER_PERIOD: Final = 1.0  # seconds between two reads of an answer that a step waits for
_MOST_UNWINDS: Final = 10  # after which it is watched whether the code catches them for ever
_LONGEST_PAUSE: Final = 3600.0  # seconds; primitives overflow if they wait for thousands of years


class Abandon:
    """The decision for a run whose lease is lost: nothing may be written."""

    def __repr__(self) -> str:
        return "ABANDON"


ABANDON: Final = Abandon()


class Execution(ABC):
    """The state of one execution in slot number ``slot``.

    The abstract methods that return Any return the value itself when the workflow is a
    ``def`` function, and an awaitable of the value when it is an ``async def`` function.
    """

    def __init__(
        self,
        run: ClaimedRun,
        replay: Replay,
        services: Services,
        slot: int,
        *,
        workflow: Workflow[Any, Any],
        strict: bool = False,
        trace: ExecutionTrace | None = None,
        undos: Undos | None = None,
        told_run: ClaimedRun | None = None,
    ) -> None:
        self.run = run
        self.told_run = told_run or run
        """The run that user code is told to be in."""
        self.undos = undos or Undos()
        self.workflow = workflow
        self.replay = replay
        self.slot = slot
        self.decided_outcome: Outcome | Abandon | None = None
        self.engine_error: BaseException | None = None
        """Why the run is given back; None if nothing happened to the engine."""
        self.code_has_ended = False
        """Whether all user code is over, and only writes are left."""
        self.final_write_sent = False
        """Whether the write that ends the claim was sent. It fails if the lease is lost by then."""
        self.leased_until = run.claim_sent + services.leases.seconds
        """time.monotonic() of the end of the lease, as far as this process knows."""
        self.services = services
        self._pid = os.getpid()
        self.strict = strict
        self.trace = trace
        self.step_timeout = workflow.step_timeout
        self.turns: dict[str, datetime] | None = None
        """When steps with limits may begin; None until the database was asked."""
        self._has_warned = False
        self._body_ended = False
        self._unwinds = 0  # how often a step was called after the decision
        self._unwinds_seen: int | None = None
        self._recorded = RecordedWrites()
        self._attributes_of_steps: dict[str, AttributeChanges] = {}  # of running attempts

    def now(self) -> datetime:
        """Return the time on the database's clock, late by the time of the claim's answer."""
        return database_time(self.run)

    # --- for the sync and async subclasses --------------------------------------------------

    @abstractmethod
    def step(self) -> Any:
        """Return the step object for the workflow function."""

    @abstractmethod
    def run_body(self, fn: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
        """Call the workflow function; the result is CallResult or CallError."""

    @abstractmethod
    def join(self, returned: bool) -> Any:
        """Wait for the branches, after the end of the body.

        If the body ``returned`` and submitted steps wait, the run is parked. If the body raised,
        the submitted steps that wait are dropped.
        """

    @abstractmethod
    def call_function(self, function: Callable[[], Any], limit: TimedCall | None = None) -> Any:
        """Call the function of a step; the result is CallResult or CallError.

        With a ``limit``, async code is cancelled at its end.
        """

    @abstractmethod
    def block(self, wait: Wait) -> Any:
        """Block the branch until ``wait`` is over. Raises Unwind once the outcome is decided."""

    @abstractmethod
    def let_others_catch_up(self) -> Any:
        """Let the other branches come to what they had called when a recalled step failed.

        The failure took its time then, and comes at once now. It may end the other branches.
        """

    @abstractmethod
    def call_database(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call ``function``, which blocks on the database; return its result."""

    @abstractmethod
    def delay(self, seconds: float) -> Any:
        """Wait for a moment within the slot."""

    def confirm_lease(self) -> None:
        """Renew a lease that may have ended unnoticed. Blocks until the answer is known."""
        self.services.leases.confirm(self)

    @abstractmethod
    def record(self, write: StepWrite) -> None:
        """Keep ``write``, and schedule a flush in case nothing else writes it soon."""

    @abstractmethod
    def needs_flush(self) -> bool:
        """Whether a write must become durable before the next step's function starts."""

    @abstractmethod
    def flush(self, outcome: Outcome | None = None) -> Any:
        """Write the recorded step attempts, and ``outcome`` if it is given.

        Raises Unwind if the lease is lost or the database refuses the write.
        """

    # --- the steps --------------------------------------------------------------------------

    def step_key(self, name: str, formerly: str | None = None) -> str:
        """Return the key of the step that user code calls ``name``, and called ``formerly``.

        Raises StepUsageError for a call in the wrong place, and Unwind once the outcome is decided.
        """
        self._check_place(f"Step {name!r}")
        check_step_name(name)
        if formerly is not None and check_step_name(formerly) == name:
            raise StepUsageError(f"Step {name!r}: formerly= is its own name. Pass the old name.")
        self._check_may_go_on()
        return self.replay.asked.next_key(name, formerly)

    def undo_key(self, name: str) -> str:
        """Return the key of the step ``name``, which undoes another.

        Raises StepUsageError for a call in the wrong place, and Unwind once the outcome is decided.
        """
        self._check_place("step.undo_all()")
        if not self.is_body():
            raise StepUsageError(
                "step.undo_all() was called in a branch beside the workflow function. Let the"
                " branch return, and call it from the workflow function itself."
            )
        self._check_may_go_on()
        return self.replay.asked.next_key(name)

    def _check_place(self, step: str) -> None:
        """Raise StepUsageError inside the function of a step, and after the end of the run."""
        if (outer := current.called_from()) is not None:
            raise StepUsageError(
                f"{step} was called inside the function of step {outer!r}. Steps do not "
                "nest: call it from the workflow function, or call its function directly."
            )
        self.check_not_ended(step)

    def _check_may_go_on(self) -> None:
        """Raise Unwind once the outcome is decided, which may be now."""
        if self.run.deadline_at is not None and self.now() >= self.run.deadline_at:
            self.fail_at_deadline()
        if self.decided_outcome is None and self.services.stopping.is_set():
            self.decide(Release())
        if self.decided_outcome is not None:
            self._unwinds += 1
            if self._unwinds == _MOST_UNWINDS:
                self.services.overdue_watch.expect_end(self, CAUGHT_UNWIND)
            raise unwind()

    def patched(self, name: str) -> bool:
        """Return whether the run takes the new branch of the patch ``name``.

        Raises StepUsageError for a call in the wrong place or a wrong name, StepLimitExceeded,
        NonDeterminismError, and Unwind once the outcome is decided.
        """
        self._check_place(f"step.patched({name!r})")
        check_step_name(name)
        self._check_may_go_on()
        match self.replay.decide_patch(name, self.now()):
            case OverLimit() as over:
                raise self.limit_error(over)
            case Diverged() as diverged:
                raise self.diverge(diverged)
            case StepWrite() as write:
                answer = write.output_json == b"true"
                self.replay.record(write, answer)
                if not self.replay.recalls_only:
                    self.record(write)
                return answer
            case bool() as recorded:
                return recorded

    def set_progress(self, done: float, total: float | None, message: str | None) -> None:
        """Report how far the run is, unless this code is replayed, or the run is not ours."""
        if self.decided_outcome is None and not self.code_has_ended and not current.is_replayed():
            step = current.called_from()
            self.services.reports.progress(NewProgress(self.run.run_id, done, total, message, step))

    def set_attributes(self, changes: AttributeChanges) -> None:
        """Change attributes of the run: with the step whose function calls, or as a step.

        Raises StepUsageError after the end of the run, StepLimitExceeded, NonDeterminismError, and
        Unwind once the outcome is decided.
        """
        if (step := current.called_from()) is not None:
            self._attributes_of_steps.setdefault(step, {}).update(changes)
            return
        self.check_not_ended("step.set_attributes()")
        self._check_may_go_on()
        key = self.replay.asked.next_key(attributes.step_name(changes))
        match self.replay.decide_attributes(key, changes, self.now()):
            case OverLimit() as over:
                raise self.limit_error(over)
            case Diverged() as diverged:
                raise self.diverge(diverged)
            case StepWrite() if self.replay.recalls_only:
                return
            case StepWrite() as write:
                self.check_passed(key)
                self.replay.record(write, changes)
                try:
                    self.record(write)
                except BaseException as exc:
                    raise self.give_back(exc) from exc
                current.go_beyond(self.replay)

    def with_attributes(self, write: StepWrite) -> StepWrite:
        """Return the write of a step with the attributes that its function has changed.

        Those of a failed attempt are dropped.
        """
        if not self._attributes_of_steps:
            return write
        changes = self._attributes_of_steps.pop(write.step_name, None)
        if not changes or write.status != StepStatus.COMPLETED:
            return write
        return replace(write, attributes=changes)

    def continue_as_new(self, input: Any, workflow: Startable[Any, Any] | None) -> NoReturn:
        """End the run, and begin a successor of it with this input.

        Raises StepUsageError for a call in the wrong place, DataError for an input that cannot be
        stored, and otherwise Unwind.
        """
        self._check_place("continue_as_new()")
        if workflow is not None and not isinstance(workflow, Startable):
            raise StepUsageError(
                f"continue_as_new(workflow={workflow!r:.60}): pass a workflow, or leave it out to"
                " continue with the workflow of this run"
            )
        self._check_may_go_on()
        if not self.is_body():
            raise StepUsageError(
                "continue_as_new() was called in a branch beside the workflow function. Let the"
                " branch return, and call it from the workflow function itself."
            )
        target = workflow or self.workflow
        raw = encode_input(target, input, "input")
        # The keys of limits follow the input; the priority is that of this run.
        config = config_of(target, raw, 0) if target.limits else None
        successor = NewChildRun(new_id(), target.name, target.version, raw, config=config)
        self.check_end()
        self.decide(ContinueAsNew(successor))
        raise unwind()

    def check_not_ended(self, step: str) -> None:
        """Raise StepUsageError for a step after the end of the workflow function."""
        if self._body_ended and self.decided_outcome is None:
            raise StepUsageError(
                f"{step} was called after its run {self.run.run_id} had ended. Await or join"
                " everything that calls steps before the workflow function returns."
            )

    def limit_error(self, over: OverLimit) -> StepLimitExceeded:
        """Fail the run at its step limit. Returns the error to raise; catching it is no help."""
        self.decide(Fail(over.stored_error(), StepLimitExceeded.ADVICE))
        return StepLimitExceeded(over.limit, over.count)

    @property
    @abstractmethod
    def in_order(self) -> bool:
        """Whether the steps so far cannot have depended on which of several branches was faster."""

    @abstractmethod
    def is_body(self) -> bool:
        """Whether this is called by the workflow function itself, and not by a branch."""

    def check_passed(self, key: str) -> None:
        """Log, or raise if the workflow is strict, that a new step takes a recorded one's place."""
        passed = None if self.replay.recalls_only else self.replay.passed(key)
        if passed is None or not (self.in_order and self.is_body()):
            return
        if self.strict:
            raise self.diverge(passed)
        if not self._has_warned:  # once: more new steps may follow
            self._has_warned = True
            run = self.run
            extra = {"run_id": run.run_id, "workflow": run.workflow_name, "step": key}
            _log.warning("%s", passed.message, extra=extra)

    def check_end(self) -> None:
        """Fail the run of a strict workflow that has returned without all recorded steps."""
        if self.strict and self.in_order and (passed := self.replay.passed_at_end()) is not None:
            self.diverge(passed)

    def diverge(self, diverged: Diverged) -> NonDeterminismError:
        """Fail the run because code and history disagree. Returns the error to raise."""
        error = NonDeterminismError(
            diverged.key, diverged.recorded, diverged.asked, diverged.message
        )
        self.decide(Fail(StoredError(str(error), name=type(error).__name__).to_json()))
        return error

    def exit_if_forked(self, answer: CallResult | CallError) -> None:
        """Exit if user code made this process with os.fork(): the run is its parent's."""
        if os.getpid() != self._pid:
            process_exit.leave_copy(answer.exception if isinstance(answer, CallError) else None)

    def pause_of(self, wait: Wait) -> float:
        """Return the seconds to block for ``wait`` before its step checks again.

        0 or less when the wait is over. A wait for an answer is interrupted every second: while
        other branches keep the run here, only this process can notice the answer.
        """
        left = (wait.until - self.now()).total_seconds()
        return min(left, _LONGEST_PAUSE if wait.awaits is None else _ANSWER_PERIOD)

    # --- the outcome --------------------------------------------------------------------------

    def decide(self, outcome: Outcome | Abandon) -> None:
        """Set ``decided_outcome``. The first decision counts; only ABANDON replaces it."""
        if self.decided_outcome is None or outcome is ABANDON:
            self.decided_outcome = outcome

    def park(self, waits: list[Wait]) -> None:
        """Park the run, because every branch waits."""
        self.decide(outcome_of_waits(waits))

    def abandon(self) -> None:
        """Stop as soon as possible, because the lease is lost. Safe from any thread."""
        self.decide(ABANDON)
        self.services.overdue_watch.expect_end(self, LEASE_LOST)

    def fail_at_deadline(self) -> None:
        """Stop as soon as possible: the run's deadline has passed. Safe from any thread."""
        self.decide(Fail(dict(DEADLINE_ERROR)))
        self.services.overdue_watch.expect_end(self, PAST_DEADLINE)

    def stop_at_next_step(self) -> None:
        """Begin no further step: this process is about to be killed. Safe from any thread."""
        self.decide(Release())

    def catches_unwind(self) -> bool:
        """Whether code has called more steps since the last look, and none is executed."""
        seen, self._unwinds_seen = self._unwinds_seen, self._unwinds
        goes_on = seen is not None and self._unwinds > seen
        return goes_on and self.services.flight_recorder.read(self.slot) is None

    @abstractmethod
    def stack(self) -> str:
        """Return where the code of this execution is, as a traceback shows it."""

    @abstractmethod
    def interrupt(self) -> None:
        """Release the run at its next step, because this process stops. Safe from any thread."""

    def fallback_outcome(self) -> Outcome:
        """Return the outcome of a run whose first outcome could not be written.

        Raises Unwind if the lease is lost.
        """
        if self.decided_outcome is None or isinstance(self.decided_outcome, Abandon):
            raise unwind()
        return self.decided_outcome

    def give_back(self, exc: BaseException) -> Unwind:
        """Give the run back, because of an error of the engine. Safe from any thread.

        Returns the exception that unwinds the branch. Running steps finish and are recorded.
        """
        if self.engine_error is None and self.decided_outcome is not ABANDON:
            self.engine_error = exc
            log_engine_error(self.run, exc)
        self.decide(give_back_outcome(self.run, self.services))
        return unwind()

    # --- writes ------------------------------------------------------------------------------

    def has_unwritten(self, write: StepWrite) -> bool:
        """Whether ``write`` is recorded and not yet sent to the database."""
        return self._recorded.has(write)

    def _take_recorded(self, outcome: Outcome | None = None) -> WriteSet | None:
        """Return the write set of the recorded attempts and ``outcome``; None if it is empty.

        Raises Unwind if an earlier write was refused, and ``outcome`` is not that failure.
        """
        decided = self.decided_outcome
        if outcome is not None and isinstance(decided, Fail) and decided is not outcome:
            raise unwind()
        steps = self._recorded.take()
        self.final_write_sent = self.final_write_sent or outcome is not None
        if not steps and outcome is None:
            return None
        return WriteSet(self.run.run_id, self.run.worker_id, steps, outcome, self.run.first)

    def _write_failed(self, exc: Exception, write: WriteSet | None) -> None:
        """Decide the outcome after a failed write.

        Fail if the database refused the values, ABANDON if the lease is lost. Else the run is
        given back, and its last write repeats the steps of this one.
        """
        if is_refusal(exc):
            _log.error("run %s: the database refused a write: %s", self.run.run_id, exc)
            self.decided_outcome = Fail(StoredError.from_exception(exc).to_json())
        elif isinstance(exc, LeaseLost):
            if self.decided_outcome is not ABANDON:
                _log.warning("run %s: a write is dropped: the lease is lost", self.run.run_id)
            self.decide(ABANDON)
        else:
            if write is not None:
                self._recorded.put_back(write.steps)
            self.give_back(exc)
