"""One execution of a workflow function: the part that sync and async share.

An execution decides by its own record. Once ``decided_outcome`` says how the run leaves this
process, what user code does with the exception that unwinds it no longer matters.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from owsuper.child.committer import Committer, LeaseLost
from owsuper.child.database import is_refusal
from owsuper.child.deadlines import Deadlines
from owsuper.child.deferred_writes import DeferredWrites
from owsuper.child.heartbeat import Leases
from owsuper.child.inquiries import Inquiries
from owsuper.child.running_rows import RunningRows
from owsuper.child.threads import LoopThread
from owsuper.child.timers import TimerThread
from owsuper.core.decisions import Diverged, OverLimit, Wait
from owsuper.core.model import (
    ClaimedRun,
    Fail,
    Outcome,
    Release,
    StepKind,
    StepStatus,
    StepWrite,
    WriteSet,
)
from owsuper.core.names import check_step_name
from owsuper.core.replay import Replay
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.core.steps.effects import Call, Threw, Value
from owsuper.core.unwind import unwind
from owsuper.errors import StepKindChanged, StepLimitExceeded, StepUsageError
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.stored_error import StoredError

_log = logging.getLogger("owsuper.child")

_LOOK_PERIOD: Final = 1.0  # seconds
_LONGEST_PAUSE: Final = 3600.0  # seconds; no primitive can wait for thousands of years

_in_flight: ContextVar[str | None] = ContextVar("owsuper_step", default=None)
"""The key of the step whose function is running in this context."""


class Abandon:
    """The verdict on a run that is no longer ours: nothing may be written."""

    def __repr__(self) -> str:
        return "GONE"


ABANDON: Final = Abandon()


@dataclass(slots=True)
class Services:
    """What all passes of one child share."""

    committer: Committer
    running_rows: RunningRows
    deferred_writes: DeferredWrites
    leases: Leases
    inquiries: Inquiries
    flight: FlightRecorder
    timers: TimerThread
    deadlines: Deadlines
    threads: ThreadPoolExecutor  # for user code
    writers: ThreadPoolExecutor  # for what must not wait until user code makes room
    loop: LoopThread
    stopping: threading.Event = field(default_factory=threading.Event)


class Execution:
    """The state of one pass. ``slot`` is where it runs."""

    def __init__(self, run: ClaimedRun, replay: Replay, services: Services, slot: int) -> None:
        self.run = run
        self.replay = replay
        self.slot = slot
        self.decided_outcome: Outcome | Abandon | None = None
        self.final_write_sent = False
        """The write that ends the claim is on its way, and says itself if it comes too late."""
        self.leased_until = run.claim_sent + services.leases.seconds
        """time.monotonic() of the end of the lease, as far as this process knows."""
        self.inquiries = services.inquiries
        self._services = services
        self._pid = os.getpid()
        self._ended = False
        self._recorded: list[StepWrite] = []

    def now(self) -> datetime:
        """The time on the database's clock, as far as the claim told it."""
        return self.run.claimed_at + timedelta(seconds=time.monotonic() - self.run.claim_sent)

    # --- the door for step calls -----------------------------------------------------------

    def begin(self, name: str) -> str:
        """The key of the step that user code calls ``name``. Raises StepUsageError."""
        if (outer := _in_flight.get()) is not None:
            raise StepUsageError(
                f"Step {name!r} was called inside the function of step {outer!r}. Steps do not "
                "nest: call it from the workflow function, or call its function directly."
            )
        if self._ended and self.decided_outcome is None:
            raise StepUsageError(
                f"Step {name!r} was called after its run {self.run.run_id} had ended. Await or "
                "join everything that calls steps before the workflow function returns."
            )
        check_step_name(name)
        if self.run.deadline_at is not None and self.now() >= self.run.deadline_at:
            self.fail_at_deadline()
        if self.decided_outcome is None and self._services.stopping.is_set():
            self.decide(Release())
        if self.decided_outcome is not None:
            raise unwind()
        return self.replay.key(name)

    def enter_step(self, call: Call) -> Token[str | None]:
        """Tell all who want to know that the function of a step is called now."""
        self._services.flight.enter(self.slot, call.key)
        row = partial(self.running_row, call, self.now())
        self._services.running_rows.began(call.attempt_id, row)
        return _in_flight.set(call.key)

    def leave_step(self, call: Call, token: Token[str | None]) -> None:
        """The function is over; ``token`` is what ``enter_step`` gave."""
        _in_flight.reset(token)
        self._services.running_rows.ended(call.attempt_id)
        self._services.flight.leave(self.slot, call.key)

    def exceed(self, over: OverLimit) -> StepLimitExceeded:
        """The run reached its step limit: it fails, whatever user code makes of the error."""
        self.decide(Fail(over.stored_error()))
        return StepLimitExceeded(over.limit, over.count)

    def diverge(self, diverged: Diverged) -> StepKindChanged:
        """Code and history disagree: the run fails, whatever user code makes of the error."""
        error = StepKindChanged(diverged.key, diverged.recorded, diverged.asked)
        self.decide(Fail(StoredError(str(error), name=type(error).__name__).to_json()))
        return error

    def exit_if_forked(self, answer: Value | Threw) -> None:
        """End this process if user code has made it, by os.fork(): the run is its parent's."""
        if os.getpid() == self._pid:
            return
        code: object = 0
        if isinstance(answer, Threw):
            if isinstance(answer.exception, SystemExit):
                code = answer.exception.code or 0
            else:
                traceback.print_exception(answer.exception)
                code = 1
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 1)

    # --- the verdict -----------------------------------------------------------------------

    def decide(self, decided_outcome: Outcome | Abandon) -> None:
        """Record how the run leaves this process. A lost run stays lost; else the first wins."""
        if self.decided_outcome is None or decided_outcome is ABANDON:
            self.decided_outcome = decided_outcome

    def abandon(self) -> None:
        """The lease is lost: stop as soon as may be. Safe from any thread."""
        self.decide(ABANDON)

    def fail_at_deadline(self) -> None:
        """The run's deadline has passed: stop as soon as may be. Safe from any thread."""
        self.decide(Fail(dict(DEADLINE_ERROR)))

    def interrupt(self) -> None:
        """This process must stop: give the run back at the next step. Safe from any thread."""

    # --- writes ----------------------------------------------------------------------------

    def write_failed(self, exc: Exception) -> None:
        """A write did not happen: the run is no longer ours, or the database refuses it."""
        if is_refusal(exc):
            _log.error("run %s: the database refused a write: %s", self.run.run_id, exc)
            self.decided_outcome = Fail(StoredError.from_exception(exc).to_json())
        else:
            if self.decided_outcome is not ABANDON:
                why = "it was taken from us" if isinstance(exc, LeaseLost) else exc
                _log.warning("run %s: a write is dropped: %s", self.run.run_id, why)
            self.decide(ABANDON)

    def check_refused(self, outcome: Outcome | None) -> None:
        """Raises Unwind if the run must fail, and not end in this way: see ``write_failed``."""
        if (
            outcome is not None
            and isinstance(self.decided_outcome, Fail)
            and self.decided_outcome is not outcome
        ):
            raise unwind()

    def fallback_outcome(self) -> Fail:
        """How the run ends whose end could not be written. Raises Unwind if it is not ours."""
        if isinstance(self.decided_outcome, Fail):
            return self.decided_outcome
        raise unwind()

    def log_failed_step(self, write: StepWrite) -> None:
        """Say in the log that an attempt of a step failed."""
        if write.kind != StepKind.FUNCTION or write.status != StepStatus.FAILED:
            return
        _log.warning(
            "step failed",
            extra={
                "run_id": self.run.run_id,
                "workflow": self.run.workflow_name,
                "step": write.step_name,
                "attempt": self.replay.failures_of(write.step_name),
                "error": None if write.error is None else write.error.summary(),
                "not_retried": None if write.error is None else write.error.no_retry_reason,
            },
        )

    def running_row(self, call: Call, started: datetime) -> WriteSet:
        """The row of a step whose function is being called since ``started``."""
        row = StepWrite(call.attempt_id, call.key, call.kind, StepStatus.RUNNING, started)
        return WriteSet(self.run.run_id, self.run.worker_id, (row,))

    def owes(self) -> bool:
        """Whether something is recorded that must be durable before the next step begins.

        The end of a sleep need not be: forgotten, it is past due again.
        """
        return any(
            write.kind != StepKind.SLEEP or write.status == StepStatus.RUNNING
            for write in self._recorded
        )

    def has_unwritten(self, write: StepWrite) -> bool:
        """Whether ``write`` is recorded and not yet on its way."""
        return any(each is write for each in self._recorded)

    def take_recorded(self, outcome: Outcome | None = None) -> WriteSet | None:
        """What must be written now; None if nothing must."""
        # A wait may begin and end before it is written: the later write is the whole row, but
        # for the child that the earlier one starts.
        rows: dict[str, StepWrite] = {}
        for write in self._recorded:
            before = rows.get(write.attempt_id)
            child = before.child if before is not None else None
            rows[write.attempt_id] = write if child is None else replace(write, child=child)
        steps = tuple(rows.values())
        self._recorded = []
        self.final_write_sent = self.final_write_sent or outcome is not None
        if not steps and outcome is None:
            return None
        return WriteSet(self.run.run_id, self.run.worker_id, steps, outcome, self.run.first)

    def pause_of(self, wait: Wait) -> float:
        """Seconds to block for ``wait`` before looking again, 0 or less when it is over. While
        other branches keep the run here, nobody else sees whether an answer has come.
        """
        left = (wait.until - self.now()).total_seconds()
        return min(left, _LONGEST_PAUSE if wait.awaits is None else _LOOK_PERIOD)

    def leave(self, waits: list[Wait]) -> None:
        """Every branch waits, so the run does."""
        self.decide(self.replay.suspend(waits))
