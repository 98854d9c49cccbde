"""The tables of runs and step attempts in memory, and the rules by which workers write to them.

The rules are those of the SQL statements: every write is behind the fence of its claim.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from owsuper.core import carriers, codec
from owsuper.core.carriers import Carrier
from owsuper.core.model import (
    ChildRunState,
    Complete,
    ContinueAsNew,
    DeliveredSignal,
    Fail,
    NewChildRun,
    Outcome,
    Park,
    RecordedAttempt,
    Release,
    Retry,
    RunStatus,
    StepKind,
    StepStatus,
    StepWrite,
    WriteSet,
)
from owsuper.core.undoing import undo_workflow
from owsuper.ids import new_id
from owsuper.testing.rows import MemoryAttempt, MemoryRun


class Tables:
    """Runs, step attempts and signals. Any thread may call the methods.

    ``now`` is the time of the database. It moves only when it is set.
    """

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.runs: dict[str, MemoryRun] = {}
        self.attempts: dict[str, MemoryAttempt] = {}  # in the order of their creation
        self.kept_signals: dict[str, list[Any]] = {}
        self.commits = 0
        self._sent: dict[tuple[str, str], list[str]] = {}  # by signals and their senders' keys
        self._lock = threading.RLock()

    # --- runs --------------------------------------------------------------------------------

    def start(
        self,
        name: str,
        version: str | None,
        input_json: bytes | None,
        *,
        run_id: str | None = None,
        parent: str | None = None,
        carrier: Carrier | None = None,
        attributes: Mapping[str, str] | None = None,
    ) -> MemoryRun:
        """Add a run that is due now."""
        with self._lock:
            run = MemoryRun(
                run_id or new_id(),
                name,
                version,
                input_json,
                self.now,
                self.now,
                parent=parent,
                carrier=carrier,
                attributes=dict(attributes or {}),
            )
            self.runs[run.id] = run
            return run

    def claim(self, run: MemoryRun) -> str:
        """Claim a run that is due; return the worker id of the claim."""
        with self._lock:
            run.worker_id = new_id()
            run.status = RunStatus.RUNNING
            run.attempts += 1
            run.started_at = run.started_at or self.now
            return run.worker_id

    def next_due(self) -> MemoryRun | None:
        """Return the open run without an owner that is due first; None if there is none."""
        with self._lock:
            waiting = [
                run
                for run in self.runs.values()
                if not run.ended and run.worker_id is None and run.available_at is not None
            ]
            return min(waiting, key=lambda run: run.available_at or self.now, default=None)

    def lose_claim(self, run_id: str) -> None:
        """Let the process that owns a run be dead: its claim is over, and the run is due."""
        with self._lock:
            run = self.runs[run_id]
            run.worker_id, run.available_at = None, self.now

    def history(self, run_id: str) -> list[RecordedAttempt]:
        """Return the step attempts of a run as they are read back."""
        with self._lock:
            return [
                self._recorded(attempt)
                for attempt in self.attempts.values()
                if attempt.run_id == run_id
            ]

    def _recorded(self, attempt: MemoryAttempt) -> RecordedAttempt:
        write = attempt.write
        return RecordedAttempt(
            write.attempt_id,
            write.step_name,
            write.kind,
            write.status,
            write.context,
            codec.decode(write.output_json),
            None if write.error is None else write.error.to_json(),
            write.started_at,
            write.started_at,
            write.finished_at,
            self.answer(attempt),
        )

    def answer(self, attempt: MemoryAttempt) -> ChildRunState | DeliveredSignal | None:
        """Return the child run or the signal of a step attempt."""
        if attempt.child_run_id is not None:
            child = self.runs[attempt.child_run_id]
            return ChildRunState(
                child.id, child.status, child.output, child.error, child.finished_at
            )
        return attempt.delivered[0] if attempt.delivered else None

    # --- writes ------------------------------------------------------------------------------

    def commit(self, writes: Sequence[WriteSet]) -> set[str]:
        """Write what the claims are still good for; return their worker ids."""
        with self._lock:
            return {write.worker_id for write in writes if self._write(write)}

    def holds(self, run_id: str, worker_id: str) -> bool:
        """Whether the claim is good."""
        run = self.runs.get(run_id)
        return run is not None and run.status == RunStatus.RUNNING and run.worker_id == worker_id

    def _write(self, write: WriteSet) -> bool:
        if not self.holds(write.run_id, write.worker_id):
            return False
        run = self.runs[write.run_id]
        self.commits += 1
        for step in write.steps:
            self._write_step(run, step)
            if step.attributes:
                _change(run.attributes, step.attributes)
        if write.outcome is not None:
            self._end_claim(run, write.outcome)
        return True

    def _write_step(self, run: MemoryRun, step: StepWrite) -> None:
        attempt = self.attempts.get(step.attempt_id)
        if attempt is None:
            attempt = self.attempts[step.attempt_id] = MemoryAttempt(run.id, step)
            self._begin(attempt)
        elif attempt.write.status == StepStatus.RUNNING and step.status != StepStatus.RUNNING:
            timed_out = step.kind == StepKind.SIGNAL_WAIT and step.output_json is None
            if not (timed_out and step.status == StepStatus.COMPLETED and attempt.delivered):
                attempt.write = step

    def _begin(self, attempt: MemoryAttempt) -> None:
        step = attempt.write
        if step.child is not None:
            self.adopt(attempt, step.child)
        if step.kind == StepKind.SIGNAL_WAIT and step.status == StepStatus.RUNNING:
            kept = self.kept_signals.get((step.context or {})["signal"])
            if kept:
                attempt.delivered.append(DeliveredSignal(kept.pop(0), new_id()))

    def adopt(self, attempt: MemoryAttempt, child: NewChildRun) -> None:
        """Start the child run of an attempt, unless it was started before."""
        if attempt.child_run_id is None:
            attempt.child_run_id = self.start(
                child.workflow_name,
                child.version,
                child.input_json,
                run_id=_id_after(attempt.run_id, attempt.write.step_name),
                parent=attempt.write.attempt_id,
                carrier=(child.context or {}).get(carriers.MEMBER),
                attributes=child.attributes,
            ).id

    def _end_claim(self, run: MemoryRun, outcome: Outcome) -> None:
        run.worker_id = None
        match outcome:
            case Complete(output_json):
                self.end(run, RunStatus.COMPLETED, output=codec.decode(output_json))
            case Fail(error):
                self.end(run, RunStatus.FAILED, error=error)
            case Park(until, awaits):
                answered = any(self._is_answered(self.attempts[each]) for each in awaits)
                run.available_at = self.now if answered else until
            case Retry(at, error, counts):
                run.status, run.available_at = RunStatus.PENDING, at
                run.error, run.started_at = error.to_json(), None
                run.failures += counts
            case Release():
                run.available_at = self.now
            case ContinueAsNew(successor):
                self._continue(run, successor)

    def _continue(self, run: MemoryRun, successor: NewChildRun) -> None:
        after = self.start(
            successor.workflow_name,
            successor.version,
            successor.input_json,
            run_id=_id_after(run.id, ""),
            parent=run.parent,
            carrier=run.carrier,
            attributes=run.attributes,
        )
        after.continued_from, run.continued_as = run.id, after.id
        waiting = None if run.parent is None else self.attempts[run.parent]
        if waiting is not None and waiting.child_run_id == run.id:
            waiting.child_run_id = after.id
        self.end(run, RunStatus.COMPLETED)

    def _is_answered(self, attempt: MemoryAttempt) -> bool:
        if attempt.child_run_id is not None:
            return self.runs[attempt.child_run_id].ended
        return bool(attempt.delivered)

    def end(
        self, run: MemoryRun, status: RunStatus, *, output: Any = None, error: Any = None
    ) -> None:
        """End a run, and wake its parent."""
        with self._lock:
            run.status, run.output, run.error = status, output, error
            run.worker_id = run.available_at = None
            run.finished_at = self.now
            if run.parent is not None and run.continued_as is None:
                self.wake(self.attempts[run.parent].run_id)
            if run.has_undos and status != RunStatus.COMPLETED:
                self._begin_undo(run)

    def _begin_undo(self, run: MemoryRun) -> None:
        undo = self.start(
            undo_workflow(run.workflow_name),
            run.version,
            codec.encode({"run": run.id}, path="input"),
            run_id=_id_after(run.id, "undo:"),
            carrier=run.carrier,
        )
        undo.undo_of, run.undone_by = run.id, undo.id
        undo.attributes = dict(run.attributes)

    def wake(self, run_id: str) -> None:
        """Make a parked run due."""
        run = self.runs[run_id]
        if not run.ended and run.worker_id is None:
            run.available_at = min(run.available_at or self.now, self.now)

    # --- signals -----------------------------------------------------------------------------

    def send(
        self, signal: str, data: Any, *, keep: bool, sender_key: str | None = None
    ) -> list[str]:
        """Send a signal to the steps that wait for it; return the ids of their runs.

        A signal that was sent with this key before is not sent again.
        """
        with self._lock:
            if sender_key is not None and (signal, sender_key) in self._sent:
                return self._sent[signal, sender_key]
            waiting = [each for each in self.waiting_for(signal) if not each.delivered]
            for attempt in waiting:
                attempt.delivered.append(DeliveredSignal(data, new_id()))
                self.wake(attempt.run_id)
            if keep and not waiting:
                self.kept_signals.setdefault(signal, []).append(data)
            reached = list(dict.fromkeys(attempt.run_id for attempt in waiting))
            if sender_key is not None:
                self._sent[signal, sender_key] = reached
            return reached

    def waiting_for(self, signal: str) -> list[MemoryAttempt]:
        """Return the step attempts of open runs that wait for a signal."""
        return [
            each
            for each in self.attempts.values()
            if each.write.kind == StepKind.SIGNAL_WAIT
            and each.write.status == StepStatus.RUNNING
            and (each.write.context or {}).get("signal") == signal
            and not self.runs[each.run_id].ended
        ]

    def skip(self, attempt: MemoryAttempt) -> DeliveredSignal | None:
        """Set aside the signal that was delivered to an attempt; return the next, if any."""
        with self._lock:
            del attempt.delivered[:1]
            if not attempt.delivered:
                kept = self.kept_signals.get((attempt.write.context or {})["signal"])
                if kept:
                    attempt.delivered.append(DeliveredSignal(kept.pop(0), new_id()))
            return attempt.delivered[0] if attempt.delivered else None


def _change(attributes: dict[str, str], changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is None:
            attributes.pop(name, None)
        else:
            attributes[name] = value


def _id_after(run_id: str, step: str) -> str:
    """Return the id of the child run of a step, or of what a run continues as.

    It is the same however often the run is begun, so that the results of keys that are made of
    run ids can be compared.
    """
    return str(uuid5(NAMESPACE_OID, f"{run_id}:{step}"))


BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
"""The time at which tests begin, unless they say otherwise."""
