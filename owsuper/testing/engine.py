"""The engine of a child process in the process of a test: one execution at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextvars import copy_context
from typing import Any, Final

from owsuper.child import services
from owsuper.child.execution.asynchronous import AsyncExecution
from owsuper.child.execution.sync import SyncExecution
from owsuper.child.executor import Executor
from owsuper.child.shortage import Shortage
from owsuper.child.timers import DelayedCalls
from owsuper.client import resources
from owsuper.core.model import ClaimedRun
from owsuper.db.related import RelatedStore
from owsuper.db.runs import RunStore
from owsuper.event_loop import Loop, Waker
from owsuper.ipc import flight_recorder
from owsuper.step import current, log_records
from owsuper.testing.rows import MemoryRun
from owsuper.testing.stores import MemoryDatabase, MemoryReports
from owsuper.testing.tables import Tables
from owsuper.workflow.definition import Workflow
from owsuper.workflow.registry import Registry

_LEASE: Final = 1e9  # seconds; nobody else claims these runs


class InProcessEngine:
    """Executes runs of ``tables`` in the calling thread, with ``stores`` in place of a database.

    ``types`` are the classes of the executions, ``around_steps`` return context managers.
    """

    def __init__(
        self,
        registry: Registry,
        tables: Tables,
        stores: tuple[RunStore, RelatedStore],
        types: tuple[type[SyncExecution], type[AsyncExecution]],
        around_steps: tuple[Callable[[], object], ...] = (),
    ) -> None:
        log_records.install(show_replayed=False)
        self._tables = tables
        self._main_loop = _MainLoop()
        shortage = Shortage(lambda _: None)
        self._services = services.create(
            MemoryDatabase(),
            self._main_loop.calls,
            flight_recorder.FlightRecorder(flight_recorder.create(1), 1),
            shortage,
            schema="memory",
            namespace="default",
            lease=_LEASE,
            concurrency=1,
            kill_grace=_LEASE,
            on_overdue=lambda _: None,
            on_thread_died=lambda _: None,
            stores=stores,
            reports=MemoryReports(tables),
            around_steps=around_steps,
        )
        self._executor = Executor(registry, self._services, types)

    def execute(self, workflow: Workflow[Any, Any], run: MemoryRun) -> None:
        """Claim a run, and execute it until it ends, is parked or is released."""
        copy_context().run(self._execute, workflow, self._claim(run))

    def _execute(self, workflow: Workflow[Any, Any], run: ClaimedRun) -> None:
        current.begin_elsewhere()  # perhaps a step of another run waits for this one
        if workflow.is_async:
            self._await(workflow, run)
        else:
            self._executor.execute(workflow, run, 0)

    def close(self) -> None:
        """End the threads, and close what async resources have opened on the loop."""
        if self._services.loop_thread.loops():
            self._services.loop_thread.begin(resources.close_async()).result()
        self._services.close()
        self._main_loop.stop()

    def _await(self, workflow: Workflow[Any, Any], run: ClaimedRun) -> None:
        ended: Future[None] = Future()

        async def execute() -> None:
            try:
                await self._executor.execute_async(workflow, run, 0)
                ended.set_result(None)
            except BaseException as exc:
                ended.set_exception(exc)

        self._services.loop_thread.spawn(execute)
        ended.result()

    def _claim(self, run: MemoryRun) -> ClaimedRun:
        worker_id = self._tables.claim(run)
        now = time.monotonic()
        assert run.started_at is not None
        return ClaimedRun(
            run_id=run.id,
            workflow_name=run.workflow_name,
            version=run.version,
            worker_id=worker_id,
            attempts=run.attempts,
            input_json=run.input_json,
            input_stored=False,
            created_at=run.created_at,
            started_at=run.started_at,
            claimed_at=self._tables.now,
            claim_sent=now,
            claim_answered=now,
            deadline_at=None,
            first=False,
            suspect=False,
            carrier=run.carrier,
        )


class _MainLoop:
    """The loop that a child process has in its main thread, in a thread of its own."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._waker = Waker(lambda: None)
        self._loop.add(self._waker)
        self._stopped = False
        self.calls = DelayedCalls(self._loop, self._waker)
        self._thread = threading.Thread(target=self._run, name="owsuper-testing", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped = True
        self._waker.wake()
        self._thread.join()
        self._loop.close()
        self._waker.close()

    def _run(self) -> None:
        while not self._stopped:
            self._loop.turn()
