"""A child process: takes assignments from its pipe, executes runs, reports how they ended."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import signal
import threading
import time
from functools import partial
from typing import Any, Final, NoReturn

from setproctitle import setproctitle

from owsuper.child import services
from owsuper.child.database import ChildDatabase
from owsuper.child.executor import LOST, Ended, Executor
from owsuper.child.heartbeat import Heartbeat
from owsuper.child.spec import ChildSpec
from owsuper.child.supervisor_pipe import SupervisorPipe
from owsuper.child.threads import SlotThreads
from owsuper.child.timers import DelayedCalls
from owsuper.core.model import ClaimedRun, Fail, Release, WriteSet
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    Assign,
    Drain,
    Finished,
    LeasesRenewed,
    Message,
    Ready,
    RenewLeases,
    Stop,
    StopSignaled,
)
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow

_log = logging.getLogger("owsuper.child")

_TICK: Final = 1.0  # seconds between two updates of the process title
_LAST_WRITES: Final = 2.0  # seconds for what must be written before a time-out ends the process


def serve(spec: ChildSpec) -> NoReturn:
    """Serve runs until the child is told to stop or the supervisor is gone; then exit.

    For a process that was just forked.
    """
    faulthandler.enable()
    code = 1
    try:
        ChildServer(spec).serve()
        code = 0
    except BaseException:
        _log.exception("child %d failed", spec.index)
    finally:
        logging.shutdown()
        # Threads may still hold user code; nothing of theirs is worth waiting for.
        os._exit(code)


class ChildServer:
    """One child: the main thread, which waits in the event loop, and all that it starts."""

    def __init__(self, spec: ChildSpec) -> None:
        settings = spec.settings
        assert settings.database_url is not None
        self._spec = spec
        self._loop = Loop()
        self._waker = Waker(self._on_wake)
        self._pipe = SupervisorPipe(spec.sock, self._on_message, self._on_supervisor_gone)
        self._database = ChildDatabase(settings.database_url, f"owsuper child {spec.index}")
        self._services = services.create(
            self._database,
            DelayedCalls(self._loop, self._waker),
            FlightRecorder(spec.flight_fd, settings.concurrency),
            schema=settings.schema,
            namespace=settings.namespace,
            lease=settings.lease,
            concurrency=settings.concurrency,
        )
        self._executor = Executor(spec.registry, self._services)
        self._slots = SlotThreads()
        self._busy: dict[int, tuple[ClaimedRun, float]] = {}  # by slot; time.monotonic()
        self._draining = False
        self._term_signaled = False
        self._time_is_up = self._loop.timers.add("graceful time-out", self._release_all)
        self._released_all = False
        self._heartbeat = Heartbeat(
            self._executor.executions,
            self._database,
            self._services.leases,
            lambda worker_ids: self._pipe.send(LeasesRenewed(worker_ids)),
        )

    def serve(self) -> None:
        """Serve until the child is told to stop and no run is left."""
        self._catch_signals()
        self._loop.add(self._waker)
        self._loop.add(self._pipe)
        self._loop.timers.add("tick", self._tick, period=_TICK).start()
        self._tick()
        self._pipe.send(Ready(os.getpid()))
        while not self._released_all and not (self._draining and not self._busy):
            self._loop.turn()
        self._heartbeat.stop()
        self._pipe.flush()

    # --- what happens ------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        """TERM stops at the next step boundary; INT is the supervisor's business."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.set_wakeup_fd(self._waker.signal_fd, warn_on_full_buffer=False)

    def _on_term(self, *_: object) -> None:
        self._term_signaled = True  # the loop wakes, since the waker has the signal's descriptor

    def _on_wake(self) -> None:
        if self._term_signaled:
            self._term_signaled = False
            self._pipe.send(StopSignaled())
            self._stop()

    def _on_supervisor_gone(self) -> None:
        _log.warning("the supervisor is gone; finishing the steps in flight")
        self._stop()
        self._time_is_up.at_latest(time.monotonic() + self._spec.settings.graceful_timeout)

    def _on_message(self, message: Message) -> None:
        match message:
            case Assign(slot, run):
                self._assign(slot, run)
            case RenewLeases():
                self._heartbeat.renew_now()
            case Drain():
                self._draining = True
            case Stop():
                self._stop()
            case _:
                _log.error("a child cannot use %r", message)

    def _tick(self) -> None:
        busy = sorted(self._busy.copy().values(), key=lambda each: each[1])
        title = f"owsuper: child {self._spec.index}"
        if busy:
            run, since = busy[0]
            more = f" +{len(busy) - 1}" if len(busy) > 1 else ""
            age = int(time.monotonic() - since)
            title += f" {run.workflow_name} {run.run_id} {age}s{more}"
        setproctitle(title)

    # --- runs --------------------------------------------------------------------------------

    def _assign(self, slot: int, run: ClaimedRun) -> None:
        self._busy[slot] = (run, time.monotonic())
        try:
            workflow = self._executor.workflow_of(run)
        except LookupError as exc:
            # The supervisor claims for registered names only, so a newer supervisor must have.
            _log.error("run %s: workflow %s is not registered here", run.run_id, exc)
            self._slots.start(lambda: self._finish(slot, run, self._release(run)))
            return
        if workflow.is_async:
            self._services.loop_thread.spawn(partial(self._run_async, workflow, run, slot))
        else:
            self._slots.start(partial(self._run, workflow, run, slot))

    def _run(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            ended = self._executor.execute(workflow, run, slot)
        except BaseException as exc:
            ended = self._execution_broke(run, exc)
        self._finish(slot, run, ended)

    async def _run_async(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            ended = await self._executor.execute_async(workflow, run, slot)
        except BaseException as exc:
            job = self._services.write_threads.submit(self._execution_broke, run, exc)
            ended = await asyncio.wrap_future(job)
        self._finish(slot, run, ended)

    def _execution_broke(self, run: ClaimedRun, exc: BaseException) -> Ended:
        """Fail a run on which the engine itself failed, since it would fail again.

        A run that lacked memory, or lost the task that executed it, is left to its lease.
        """
        _log.error("run %s (%s): the execution broke", run.run_id, run.workflow_name, exc_info=exc)
        if isinstance(exc, (MemoryError, asyncio.CancelledError)):
            return LOST
        return self._end(run, Fail(StoredError.from_exception(exc).to_json()), "failed")

    def _finish(self, slot: int, run: ClaimedRun, ended: Ended) -> None:
        self._services.flight_recorder.leave(slot)
        self._pipe.send(Finished(slot, run.run_id, ended.outcome, ended.due_in))
        # Sent first, so that the process does not exit in between. By now the slot may have
        # been given to another run.
        if (current := self._busy.get(slot)) is not None and current[0] is run:
            del self._busy[slot]
        if self._draining:
            self._waker.wake()

    # --- stopping ----------------------------------------------------------------------------

    def _stop(self) -> None:
        """Release the runs at their next step."""
        self._draining = True
        self._services.stopping.set()
        for execution in list(self._executor.executions.values()):
            execution.interrupt()

    def _release(self, run: ClaimedRun) -> Ended:
        return self._end(run, Release(), "released")

    def _end(self, run: ClaimedRun, outcome: Release | Fail, word: str) -> Ended:
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=outcome))
        except Exception as exc:
            _log.warning("run %s could not be written as %s: %s", run.run_id, word, exc)
            return LOST
        return Ended(word, 0.0 if isinstance(outcome, Release) else None)

    def _release_all(self) -> None:
        """Release what still runs at the time-out, so that it need not wait for its lease.

        A database that does not answer is not waited for.
        """
        self._database.closing.set()
        releases = [
            threading.Thread(target=self._release, args=(run,), daemon=True)
            for run, _ in list(self._busy.values())
        ]
        for thread in releases:
            thread.start()
        end = time.monotonic() + _LAST_WRITES
        for thread in releases:
            thread.join(max(0.0, end - time.monotonic()))
        self._released_all = True
