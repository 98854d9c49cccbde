"""The services of a child process: what all of its executions share."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from owsuper.child.committer import Committer
from owsuper.child.database import ChildDatabase, RelatedRuns
from owsuper.child.deadlines import Deadlines
from owsuper.child.deferred_writes import DeferredWrites
from owsuper.child.heartbeat import Leases
from owsuper.child.running_rows import RunningRows
from owsuper.child.threads import LoopThread
from owsuper.child.timers import DelayedCalls
from owsuper.db.related import RelatedStore
from owsuper.db.runs import RunStore
from owsuper.ipc.flight_recorder import FlightRecorder

_STEP_THREADS: Final = 32  # threads for submitted steps, and sync steps of async workflows


@dataclass(slots=True)
class Services:
    """The services that an execution uses."""

    database: ChildDatabase
    store: RunStore
    committer: Committer
    running_rows: RunningRows
    deferred_writes: DeferredWrites
    leases: Leases
    related_runs: RelatedRuns
    flight_recorder: FlightRecorder
    timers: DelayedCalls
    deadlines: Deadlines
    step_threads: ThreadPoolExecutor
    """For user code."""
    write_threads: ThreadPoolExecutor
    """For work on the database, which must not wait until user code frees a thread."""
    loop_thread: LoopThread
    stopping: threading.Event = field(default_factory=threading.Event)
    """Set when this process must stop: executions release their runs at the next step."""


def create(
    database: ChildDatabase,
    timers: DelayedCalls,
    flight_recorder: FlightRecorder,
    *,
    schema: str,
    namespace: str,
    lease: float,
    concurrency: int,
) -> Services:
    """Create the services of a child with ``concurrency`` slots; ``lease`` is in seconds."""
    store = RunStore(schema, namespace)
    busy_slots = min(concurrency, _STEP_THREADS)
    step_threads = ThreadPoolExecutor(_STEP_THREADS + busy_slots, "owsuper-step")
    write_threads = ThreadPoolExecutor(busy_slots + 1, "owsuper-write")
    return Services(
        database=database,
        store=store,
        committer=Committer(database, store),
        running_rows=RunningRows(database, store, timers, write_threads),
        deferred_writes=DeferredWrites(timers, write_threads),
        leases=Leases(database, store, lease),
        related_runs=RelatedRuns(database, RelatedStore(schema, namespace), store),
        flight_recorder=flight_recorder,
        timers=timers,
        deadlines=Deadlines(timers),
        step_threads=step_threads,
        write_threads=write_threads,
        loop_thread=LoopThread(),
    )
