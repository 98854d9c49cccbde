"""The slots of a child process: each run that is assigned is executed in one, and given back."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from concurrent.futures import wait
from functools import partial
from typing import Any

from owsuper.child.committer import LeaseLost
from owsuper.child.execution_result import LOST, ExecutionResult
from owsuper.child.executor import Executor
from owsuper.child.giving_back import give_back_outcome, log_engine_error
from owsuper.child.services import Services
from owsuper.child.threads import ThreadPool
from owsuper.core.model import ClaimedRun, Park, Release, WriteSet
from owsuper.ipc.messages import Finished
from owsuper.stored_error import EngineError
from owsuper.workflow.definition import Workflow

_log = logging.getLogger("owsuper.child")


class Slots:
    """The runs of this process, by slot.

    A run of a ``def`` workflow has a thread of ``threads``, and one of an ``async def`` workflow is
    a task of the event loop. ``report`` tells the supervisor that a slot is free, and then
    ``on_free`` is called. ``on_not_given_back`` is called with a reason if that cannot be written:
    then the supervisor is not told, and only the end of this process has the run released.
    """

    def __init__(
        self,
        executor: Executor,
        services: Services,
        threads: ThreadPool,
        *,
        report: Callable[[Finished], None],
        on_free: Callable[[], None],
        on_not_given_back: Callable[[str], None],
    ) -> None:
        self._executor = executor
        self._services = services
        self._threads = threads
        self._report = report
        self._on_free = on_free
        self._on_not_given_back = on_not_given_back
        # The runs by slot, each with the time.monotonic() of its assignment.
        self._busy: dict[int, tuple[ClaimedRun, float]] = {}

    def __len__(self) -> int:
        return len(self._busy)

    def describe(self) -> str:
        """Return a few words about the oldest run, and how many others there are."""
        busy = sorted(self._busy.copy().values(), key=lambda each: each[1])
        if not busy:
            return ""
        run, since = busy[0]
        more = f" +{len(busy) - 1}" if len(busy) > 1 else ""
        age = int(time.monotonic() - since)
        return f" {run.workflow_name} {run.run_id} {age}s{more}"

    def start_threads(self, count: int) -> None:
        """Start the threads of ``def`` workflows. Raises NoThread."""
        self._threads.start(count)

    def close(self) -> None:
        """End these threads."""
        self._threads.close()

    # --- execute -----------------------------------------------------------------------------

    def assign(self, slot: int, run: ClaimedRun) -> None:
        """Begin to execute a run in a slot that is free."""
        self._busy[slot] = (run, time.monotonic())
        try:
            workflow = self._executor.workflow_of(run)
        except LookupError as exc:
            # The supervisor claims registered workflows only, so it has newer code than this child.
            _log.error("run %s: workflow %s is not registered here", run.run_id, exc)
            self._services.write_threads.submit(self._give_back, slot, run, Release())
            return
        if workflow.is_async:
            self._services.loop_thread.spawn(partial(self._run_async, workflow, run, slot))
        else:
            self._threads.run(partial(self._run, workflow, run, slot))
            self._services.deferred_writes.expect()

    def _run(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            result = self._executor.execute(workflow, run, slot)
        except BaseException as exc:
            self._give_back_failed(slot, run, exc)
        else:
            self._finish(slot, run, result)

    async def _run_async(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            result = await self._executor.execute_async(workflow, run, slot)
        except BaseException as exc:  # CancelledError too, if user code cancels all tasks
            self._services.write_threads.submit(self._give_back_failed, slot, run, exc)
        else:
            self._finish(slot, run, result)

    # --- give back ---------------------------------------------------------------------------

    def _give_back_failed(self, slot: int, run: ClaimedRun, exc: BaseException) -> None:
        """Give back a run that the engine could not execute. It is not the run's failure."""
        if not isinstance(exc, EngineError):
            log_engine_error(run, exc)
        self._give_back(slot, run, give_back_outcome(run, self._services))

    def _give_back(self, slot: int, run: ClaimedRun, outcome: Release | Park) -> None:
        """Write that ``run`` leaves this process, and free its slot."""
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=outcome))
        except LeaseLost:
            self._finish(slot, run, LOST)
        except Exception as exc:
            _log.warning("run %s could not be written as released: %s", run.run_id, exc)
            self._forget(slot, run)
            self._on_not_given_back(f"run {run.run_id} could not be given back")
        else:
            due_in = 0.0 if isinstance(outcome, Release) else None
            self._finish(slot, run, ExecutionResult("released", due_in))

    def _finish(self, slot: int, run: ClaimedRun, result: ExecutionResult) -> None:
        self._services.flight_recorder.leave(slot)
        self._report(Finished(slot, run.run_id, result.outcome, result.due_in))
        # After the report, or the process might exit before that. The supervisor may have assigned
        # another run to the slot meanwhile.
        self._forget(slot, run)

    def _forget(self, slot: int, run: ClaimedRun) -> None:
        if (current := self._busy.get(slot)) is not None and current[0] is run:
            del self._busy[slot]
        self._on_free()

    # --- the end -----------------------------------------------------------------------------

    def release_all(self, timeout: float) -> None:
        """Release the runs whose code does not stop. Wait for that, but at most ``timeout`` s."""
        submit = self._services.write_threads.submit
        releases = []
        for slot, (run, _) in list(self._busy.items()):
            step = self._services.flight_recorder.read(slot)
            fields = {"run_id": run.run_id, "workflow": run.workflow_name, "step": step}
            _log.warning("run did not reach another step; it is released", extra=fields)
            releases.append(submit(self._release, run))
        wait(releases, timeout=timeout)

    def _release(self, run: ClaimedRun) -> None:
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=Release()))
        except Exception as exc:
            _log.warning("run %s could not be written as released: %s", run.run_id, exc)
