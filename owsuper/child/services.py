"""The services of a child process: what all of its executions share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from owsuper.child.committer import Committer
from owsuper.child.database import ChildDatabase, RelatedRuns
from owsuper.child.deadlines import Deadlines
from owsuper.child.deferred_writes import DeferredWrites
from owsuper.child.hard_stops import OverdueWatch
from owsuper.child.heartbeat import Leases
from owsuper.child.loop_thread import LoopThread
from owsuper.child.reports import Reports
from owsuper.child.running_rows import RunningRows
from owsuper.child.shortage import Shortage
from owsuper.child.threads import ThreadPool, insist
from owsuper.child.timers import DelayedCalls
from owsuper.db.related import RelatedStore
from owsuper.db.reports import ReportStore
from owsuper.db.runs import RunStore
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import Overdue

if TYPE_CHECKING:
    from owsuper.child.counts import ChildCounts

_STEP_THREADS: Final = 32  # threads for submitted steps, and sync steps of async workflows


@dataclass(slots=True)
class Services:
    """The services that an execution uses."""

    database: ChildDatabase
    store: RunStore
    namespace: str
    committer: Committer
    running_rows: RunningRows
    deferred_writes: DeferredWrites
    leases: Leases
    related_runs: RelatedRuns
    flight_recorder: FlightRecorder
    timers: DelayedCalls
    deadlines: Deadlines
    overdue_watch: OverdueWatch
    shortage: Shortage
    step_threads: ThreadPool
    """For user code."""
    write_threads: ThreadPool
    """For work on the database, which must not wait until user code frees a thread."""
    loop_thread: LoopThread
    reports: Reports
    around_steps: Sequence[Callable[[], object]] = ()
    counts: ChildCounts | None = None
    """Counts what the executions do; None if metrics are not wanted."""
    known_limits: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The definitions of the limits of workflows, and of steps that were called, by names."""
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when this process must stop: executions release their runs at the next step."""

    def start_threads(self, *, for_async: bool) -> None:
        """Start the threads without which no run can be executed. Raises NoThread."""
        self.write_threads.start(1)
        if for_async:
            self.loop_thread.start()
            self.step_threads.start(1)  # histories are loaded there
            insist(self.committer.prepare)

    def close(self) -> None:
        """End the threads. No run may be left."""
        self.committer.close()
        self.loop_thread.stop()
        self.step_threads.close()
        self.write_threads.close()
        self.reports.close()


def create(
    database: ChildDatabase,
    timers: DelayedCalls,
    flight_recorder: FlightRecorder,
    shortage: Shortage,
    *,
    schema: str,
    namespace: str,
    lease: float,
    concurrency: int,
    kill_grace: float,
    on_overdue: Callable[[Overdue], object],
    on_thread_died: Callable[[BaseException], object],
    stores: tuple[RunStore, RelatedStore] | None = None,
    reports: Reports | None = None,
    around_steps: Sequence[Callable[[], object]] = (),
    counts: ChildCounts | None = None,
) -> Services:
    """Create the services of a child with ``concurrency`` slots.

    ``lease`` and ``kill_grace`` are in seconds.
    ``on_overdue`` is called with code that did not stop.
    ``on_thread_died`` is called with the error that ended a thread of the services. ``stores``
    and ``reports`` take the place of those of the schema. ``around_steps`` return context managers.
    ``counts`` counts, if metrics are wanted.
    """
    store, related = stores or (RunStore(schema, namespace), RelatedStore(schema, namespace))
    busy_slots = min(concurrency, _STEP_THREADS)

    def pool(name: str, most: int) -> ThreadPool:
        return ThreadPool(name, most, timers, shortage, on_thread_died)

    step_threads = pool("owsuper-step", _STEP_THREADS + busy_slots)
    write_threads = pool("owsuper-write", busy_slots + 2)  # deferred writes; separate retries
    loop_threads = pool("owsuper-thread", _STEP_THREADS)
    return Services(
        database=database,
        store=store,
        namespace=namespace,
        committer=Committer(database, store, write_threads, counts),
        running_rows=RunningRows(database, store, timers, write_threads),
        deferred_writes=DeferredWrites(timers, write_threads),
        leases=Leases(database, store, lease),
        related_runs=RelatedRuns(database, related, store),
        flight_recorder=flight_recorder,
        timers=timers,
        deadlines=Deadlines(timers),
        overdue_watch=OverdueWatch(timers, flight_recorder, kill_grace, on_overdue),
        shortage=shortage,
        step_threads=step_threads,
        write_threads=write_threads,
        loop_thread=LoopThread(loop_threads, shortage, on_thread_died),
        reports=reports or Reports(database, ReportStore(schema, namespace)),
        around_steps=around_steps,
        counts=counts,
    )
