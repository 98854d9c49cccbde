"""Replays recorded histories by the code of today, and executes no step.

It answers: may this code be deployed while these runs are in progress?
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from owsuper.child.execution.asynchronous import AsyncExecution
from owsuper.child.execution.base import Execution
from owsuper.child.execution.sync import SyncExecution
from owsuper.child.hard_stops import TimedCall
from owsuper.core import codec
from owsuper.core.decisions import Diverged
from owsuper.core.model import (
    ChildRunState,
    DeliveredSignal,
    NewChildRun,
    RecordedAttempt,
    Release,
    RunStatus,
    StepWrite,
)
from owsuper.core.patches import PATCH_CONTEXT
from owsuper.core.retry import DEADLINE_ERROR
from owsuper.core.unwind import Unwind, unwind
from owsuper.db.clients import RunRow
from owsuper.db.related import Skipped, Turn
from owsuper.db.runs import MOST_ATTEMPTS_LOADED, LoadedRun
from owsuper.errors import NonDeterminismError
from owsuper.step import current
from owsuper.stored_error import EngineError, StoredError
from owsuper.testing.engine import InProcessEngine
from owsuper.testing.rows import MemoryRun
from owsuper.testing.stores import MemoryRelatedStore, MemoryRunStore
from owsuper.testing.tables import Tables
from owsuper.workflow.registry import Registry


@dataclass(frozen=True, slots=True)
class RecordedRun:
    """A run as it is stored, and its step attempts in the order of their creation."""

    run: RunRow
    attempts: Sequence[RecordedAttempt]


@dataclass(frozen=True, slots=True)
class Misfit:
    """The code does not fit the history of a run. ``step`` is the first step that does not."""

    run_id: str
    workflow_name: str
    version: str | None
    step: str | None
    reason: str


class UnknownWorkflow(LookupError):
    """The workflow of a run, or its version, is not registered."""


class _BeyondHistory(EngineError):
    """The code has reached a step that is not in the history."""

    def __init__(self, step: str) -> None:
        super().__init__(f"step {step!r} is not in the history")
        self.step = step


@dataclass
class _Observation:
    """What one execution did. ``ended``: the code had come to its end, see _has_come_to_its_end.

    ``execution`` is that of the run.
    """

    known: frozenset[str]
    ended: bool
    beyond: str | None = None
    diverged: str | None = None
    execution: Execution | None = None


class _Observed(Execution):
    """An execution that stops where the history ends."""

    observation: _Observation

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{**options, "strict": True})
        self.observation.execution = self

    def record(self, write: StepWrite) -> None:
        """Take the write of a recorded attempt; stop at a new one."""
        if write.context == PATCH_CONTEXT:
            return  # the answer of a patch, which the worker would record
        if write.attempt_id not in self.observation.known:
            raise _BeyondHistory(write.step_name)
        super().record(write)  # type: ignore[safe-super]  # that of the class beside this one

    def patched(self, name: str) -> bool:
        """Return whether the run takes the new branch; one that has ended is past each place."""
        if self.observation.ended and not self.replay.has_patch(name):
            return False
        return super().patched(name)

    def give_back(self, exc: BaseException) -> Unwind:
        """Stop at the end of the history; anything else is an error of the replay."""
        if not isinstance(exc, _BeyondHistory):
            return super().give_back(exc)
        self.observation.beyond = self.observation.beyond or exc.step
        self.decide(Release())
        return unwind()

    def diverge(self, diverged: Diverged) -> NonDeterminismError:
        """Note the step, and fail."""
        self.observation.diverged = self.observation.diverged or diverged.key
        return super().diverge(diverged)


class _ReplaySync(_Observed, SyncExecution):
    """Executes a ``def`` workflow, and no function of a step."""

    def call_function(self, function: Callable[[], Any], limit: TimedCall | None = None) -> Any:
        """Stop: the result is not in the history."""
        raise _BeyondHistory(current.called_from() or "")


class _ReplayAsync(_Observed, AsyncExecution):
    """Executes an ``async def`` workflow, and no function of a step."""

    async def call_function(
        self, function: Callable[[], Any], limit: TimedCall | None = None
    ) -> Any:
        """Stop: the result is not in the history."""
        raise _BeyondHistory(current.called_from() or "")


class _HistoryStore(MemoryRunStore):
    """Reads one history."""

    def __init__(self, tables: Tables, read_input: Callable[[str], bytes | None]) -> None:
        super().__init__(tables)
        self.history: Sequence[RecordedAttempt] = ()
        self._read_input = read_input

    def load_input(self, conn: Any, run_id: str) -> bytes | None:
        """Return the input of a child run."""
        return self._read_input(run_id)

    def load_first_input(self, conn: Any, run_id: str) -> bytes | None:
        """Return the input with which a child run began."""
        return self._read_input(run_id)

    def mark_undo(self, conn: Any, run_id: str, worker_id: str) -> bool:
        """Mark nothing: the step that needs it is not in the history."""
        return True

    def load(
        self, conn: Any, run_id: str, worker_id: str, *, enough: int = MOST_ATTEMPTS_LOADED
    ) -> LoadedRun:
        """Return the history."""
        return LoadedRun(list(self.history), 0, held=True)


class _HistoryRelatedStore(MemoryRelatedStore):
    """Reads the answers of one history, and starts and sends nothing."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(tables)
        self.answers: dict[str, ChildRunState | DeliveredSignal | None] = {}

    def look(self, conn: Any, attempt_id: str) -> ChildRunState | DeliveredSignal | None:
        """Return the recorded answer."""
        return self.answers.get(attempt_id)

    def adopt(
        self, conn: Any, run_id: str, worker_id: str, attempt_id: str, child: NewChildRun
    ) -> ChildRunState | None:
        """Stop: the child run was not started."""
        raise _BeyondHistory(child.workflow_name)

    def send(
        self,
        conn: Any,
        signal: str,
        data: bytes | None,
        sender_key: str | None,
        *,
        keep: bool,
    ) -> list[str]:
        """Stop: the signal was not sent."""
        raise _BeyondHistory(current.called_from() or signal)

    def take_turn(
        self,
        conn: Any,
        run: tuple[str, str, str],
        step: str,
        limit: tuple[str, str, str],
        soon: float,
        *,
        with_others: bool,
    ) -> Turn:
        """Stop: the step was not executed."""
        raise _BeyondHistory(step)

    def skip(
        self,
        conn: Any,
        run_id: str,
        worker_id: str,
        attempt_id: str,
        signal: str,
        delivery: tuple[str, str],
    ) -> Skipped | None:
        """Stop: no signal was skipped here."""
        raise _BeyondHistory("")


class Replayer:
    """Replays histories by the workflows of ``registry``. Use it as a context manager.

    ``read_input`` returns the stored input of a child run as JSON, by the id of the child run.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        now: datetime,
        read_input: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        self._registry = registry
        self._tables = Tables(now)
        self._store = _HistoryStore(self._tables, read_input)
        self._related = _HistoryRelatedStore(self._tables)
        self._types: tuple[type[_ReplaySync], type[_ReplayAsync]] = (
            type("ReplaySync", (_ReplaySync,), {}),
            type("ReplayAsync", (_ReplayAsync,), {}),
        )
        self._engine = InProcessEngine(
            registry, self._tables, (self._store, self._related), self._types
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._engine.close()

    def replay(self, history: RecordedRun) -> Misfit | None:
        """Replay a history; return what does not fit, or None.

        Raises UnknownWorkflow.
        """
        run = history.run
        workflow = self._registry.get(run.workflow_name, run.version)
        if workflow is None:
            raise UnknownWorkflow(run.workflow_name)
        observation = _Observation(
            frozenset(each.id for each in history.attempts), _has_come_to_its_end(run)
        )
        for kind in self._types:
            kind.observation = observation
        self._store.history = history.attempts
        self._related.answers = {each.id: each.answer for each in history.attempts}
        raw = None if run.input is None else run.input.encode()
        row = self._tables.start(run.workflow_name, run.version, raw, run_id=run.id)
        self._engine.execute(workflow, row)
        found = _misfit(run, row, observation)
        if found is None:
            return None
        step, reason = found
        return Misfit(run.id, run.workflow_name, run.version, step, reason)


def _has_come_to_its_end(run: RunRow) -> bool:
    """Whether the code of a run returned or raised.

    A run that was canceled, that reached its deadline, or that was given up for its crashes ended
    somewhere, and might have gone on.
    """
    status = RunStatus(run.status)
    if status == RunStatus.FAILED:
        error = codec.decode(run.error)
        return error != DEADLINE_ERROR and not (isinstance(error, dict) and "crashes" in error)
    return status.is_terminal and status != RunStatus.CANCELED


def _misfit(run: RunRow, replayed: MemoryRun, seen: _Observation) -> tuple[str | None, str] | None:
    """Return the step that does not fit and why, or None."""
    error = StoredError.from_json(replayed.error)
    if error.name == NonDeterminismError.__name__:
        return seen.diverged, error.message
    if seen.execution is not None and run.status != RunStatus.COMPLETED:
        undos = seen.execution.undos
        lost = [key for key in seen.execution.replay.undoable() if key not in undos]
        if lost:
            return lost[0], "the step has an undo, and the code gives it none"
    if seen.beyond is not None:
        if not seen.ended:
            return None
        return seen.beyond, "the code calls this step, and the run ended without it"
    if replayed.status == RunStatus.FAILED or (replayed.error and not replayed.ended):
        if run.status == RunStatus.FAILED or run.status == RunStatus.CANCELED:
            return None
        return None, f"the code raises {error.summary()}"
    if replayed.status == RunStatus.COMPLETED and seen.ended:
        if run.status == RunStatus.FAILED:
            return None, "the code returns, and the run had failed"
        if replayed.continued_as and not run.continued_as:
            return None, "the code continues as new, and the run had returned"
        if run.continued_as and not replayed.continued_as:
            return None, "the code returns, and the run had continued as new"
        if replayed.output != codec.decode(run.output):
            return None, "the code returns another result than was stored"
    return None
