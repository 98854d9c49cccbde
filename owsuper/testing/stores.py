"""The stores of executions, on tables in memory in place of a database."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from psycopg import Connection

from owsuper.child.database import ChildDatabase
from owsuper.child.reports import Reports
from owsuper.child.shortage import Shortage
from owsuper.core import codec
from owsuper.core.model import ChildRunState, DeliveredSignal, NewChildRun, WriteSet
from owsuper.db.related import RelatedStore, Skipped, Turn
from owsuper.db.reports import NewProgress, ProgressRow, ReportStore
from owsuper.db.runs import MOST_ATTEMPTS_LOADED, LoadedRun, RunStore, UndoneRun
from owsuper.errors import StepUsageError
from owsuper.testing.tables import Tables

T = TypeVar("T")

_NO_CONNECTION: Final = (
    "step.transaction() needs a database, and this test has none. Replace the step:"
    ' steps={"its name": function}; the function gets no connection.'
)


class MemoryDatabase(ChildDatabase):
    """A database that is always there. What it lends is no connection: the stores need none."""

    def __init__(self) -> None:
        super().__init__("postgresql:///", "owsuper testing", Shortage(lambda _: None), schema="x")

    def acquire(self) -> Any:
        """Lend nothing."""
        return _NOTHING

    def release(self, conn: object) -> None:
        """Take it back."""

    def acquire_for_user_code(self) -> Any:
        """Raise StepUsageError, since there is no connection to lend."""
        raise StepUsageError(_NO_CONNECTION)

    def conninfo_for_user_code(self) -> str:
        """Raise StepUsageError, since there is no database to connect to."""
        raise StepUsageError(_NO_CONNECTION)

    def run_once(self, work: Callable[[Any], T]) -> T:
        """Return what ``work`` returns."""
        return work(_NOTHING)


class _Nothing:
    def close(self) -> None:
        """Do nothing."""


_NOTHING = _Nothing()


class MemoryReports(Reports):
    """Keeps the last progress of each run in its row. Nothing is late, so no thread is needed."""

    def __init__(self, tables: Tables) -> None:
        super().__init__(MemoryDatabase(), ReportStore("memory", "default"))
        self._tables = tables

    def progress(self, progress: NewProgress) -> None:
        """Keep the progress of a run."""
        self._tables.runs[progress.run].progress = ProgressRow(
            progress.done, progress.total, progress.message, progress.step, self._tables.now
        )


class MemoryRunStore(RunStore):
    """The statements for runs. ``after_commit`` is called with the tables locked by nobody."""

    def __init__(self, tables: Tables) -> None:
        super().__init__("memory", "default")
        self._tables = tables
        self.after_commit: Callable[[Sequence[WriteSet]], object] = lambda _: None

    def commit(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """Write; return the worker ids that still own their runs."""
        held = self._tables.commit(writes)
        self.after_commit(writes)
        return held

    def mark_running(self, conn: Connection[Any], writes: Sequence[WriteSet]) -> set[str]:
        """Write nothing: steps that are being executed have no row here."""
        return {write.worker_id for write in writes}

    def load(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        *,
        enough: int = MOST_ATTEMPTS_LOADED,
    ) -> LoadedRun:
        """Return the history of a run."""
        tables = self._tables
        held = tables.holds(run_id, worker_id)
        return LoadedRun(tables.history(run_id), tables.runs[run_id].failures, held)

    def load_input(self, conn: Connection[Any], run_id: str) -> bytes | None:
        """Return the input as JSON."""
        return self._tables.runs[run_id].input_json

    def move_version(
        self, conn: Connection[Any], run_id: str, worker_id: str, version: str | None
    ) -> bool:
        """Make a run one of another version."""
        held = self._tables.holds(run_id, worker_id)
        if held:
            self._tables.runs[run_id].version = version
        return held

    def mark_undo(self, conn: Connection[Any], run_id: str, worker_id: str) -> bool:
        """Note with a run that its steps have undos."""
        held = self._tables.holds(run_id, worker_id)
        if held:
            self._tables.runs[run_id].has_undos = True
        return held

    def load_undone(self, conn: Connection[Any], run_id: str) -> UndoneRun | None:
        """Return a run whose undos are to be executed."""
        run = self._tables.runs.get(run_id)
        if run is None:
            return None
        return UndoneRun(None, run.created_at, run.undone_by, run.input_json)

    def load_first_input(self, conn: Connection[Any], run_id: str) -> bytes | None:
        """Return the input of the first run of a chain as JSON."""
        run = self._tables.runs[run_id]
        while run.continued_from is not None:
            run = self._tables.runs[run.continued_from]
        return run.input_json

    def extend(
        self, conn: Connection[Any], leases: Sequence[tuple[str, str]], lease_seconds: float
    ) -> dict[str, bool]:
        """Renew the leases of claims that are good."""
        return {worker: True for run, worker in leases if self._tables.holds(run, worker)}

    def outcome_of(self, conn: Connection[Any], run_id: str) -> tuple[str, str | None] | None:
        """Return status and worker id of a run."""
        run = self._tables.runs.get(run_id)
        return None if run is None else (run.status, run.worker_id)


class MemoryRelatedStore(RelatedStore):
    """The statements for child runs and signals."""

    def __init__(self, tables: Tables) -> None:
        super().__init__("memory", "default")
        self._tables = tables

    def look(
        self, conn: Connection[Any], attempt_id: str
    ) -> ChildRunState | DeliveredSignal | None:
        """Return the child run or the signal of a step attempt."""
        return self._tables.answer(self._tables.attempts[attempt_id])

    def adopt(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        attempt_id: str,
        child: NewChildRun,
    ) -> ChildRunState | None:
        """Return the child run of a step attempt; start it if there is none."""
        if not self._tables.holds(run_id, worker_id):
            return None
        attempt = self._tables.attempts[attempt_id]
        self._tables.adopt(attempt, child)
        found = self._tables.answer(attempt)
        return found if isinstance(found, ChildRunState) else None

    def send(
        self,
        conn: Connection[Any],
        signal: str,
        data: bytes | None,
        sender_key: str | None,
        *,
        keep: bool,
    ) -> list[str]:
        """Send a signal; return the ids of the runs that it reached."""
        return self._tables.send(signal, codec.decode(data), keep=keep, sender_key=sender_key)

    def take_turn(
        self,
        conn: Connection[Any],
        run: tuple[str, str, str],
        step: str,
        limit: tuple[str, str, str],
        soon: float,
        *,
        with_others: bool,
    ) -> Turn:
        """Let the step begin: limits hold over all runs, and tests execute one at a time."""
        return Turn("begin", None, 0.0, {})

    def skip(
        self,
        conn: Connection[Any],
        run_id: str,
        worker_id: str,
        attempt_id: str,
        signal: str,
        delivery: tuple[str, str],
    ) -> Skipped | None:
        """Set aside a signal; return what takes its place."""
        if not self._tables.holds(run_id, worker_id):
            return None
        return Skipped(self._tables.skip(self._tables.attempts[attempt_id]))
