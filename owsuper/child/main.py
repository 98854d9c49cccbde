"""A child process: receives runs through its pipe, executes them, reports the results."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from concurrent.futures import wait
from functools import partial
from typing import Any, Final, NoReturn

from setproctitle import setproctitle

from owsuper import logs, signal_handlers
from owsuper.child import evidence, hooks, process_exit, services, stacks
from owsuper.child.committer import LeaseLost
from owsuper.child.database import ChildDatabase, Unavailable
from owsuper.child.executor import LOST, ExecutionResult, Executor
from owsuper.child.giving_back import give_back_outcome, log_engine_error
from owsuper.child.heartbeat import Heartbeat
from owsuper.child.in_forks import InForks
from owsuper.child.loader import LoadError
from owsuper.child.shortage import NoThread, Shortage, SpareDescriptors
from owsuper.child.spec import CANNOT_START, ChildSpec
from owsuper.child.supervisor_pipe import SupervisorPipe
from owsuper.child.threads import ThreadPool
from owsuper.child.timers import DelayedCalls
from owsuper.core.model import ClaimedRun, Park, Release, WriteSet
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    SHORTAGE,
    Assign,
    Beat,
    Drain,
    Finished,
    LeasesRenewed,
    LoadFailed,
    Message,
    Ready,
    RenewLeases,
    SendStacks,
    Stacks,
    Stop,
    StopSignaled,
    encode,
)
from owsuper.shortage import THREADS, explain
from owsuper.stored_error import EngineError
from owsuper.workflow.definition import Workflow

_log = logging.getLogger("owsuper.child")

_TICK: Final = 1.0  # seconds between two updates of the process title
_BEATS: Final = 5  # in the time after which a child without them is killed
_LAST_WRITES: Final = 2.0  # seconds for the last writes, after the graceful time-out


def serve(spec: ChildSpec) -> NoReturn:
    """Serve runs until the child is told to stop or the supervisor exits; then exit.

    For a process that was just forked. Exits with code 3, after a LoadFailed message, if a function
    of ``on_child_start`` raises, or if the threads, descriptors or memory that every run needs
    cannot be had.
    """
    faulthandler.enable(2)  # the application may have set sys.stderr to None
    stacks.dump_at_signal()
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:  # and not the application's
        signal_handlers.install(signal.SIGUSR1, signal_handlers.do_nothing)
    try:
        exit_code = _serve(spec)
    except BaseException:
        _log.exception("child %d failed", spec.index)
        logging.shutdown()
        os._exit(1)
    # Threads may still run user code. Their runs have ended or were released.
    process_exit.leave(exit_code)


def _serve(spec: ChildSpec) -> int:
    """Serve, and return the exit code."""
    try:
        server = ChildServer(spec)
        server.keep_evidence()
        server.call_start_hooks()
        server.catch_signals()
        server.start()
        if spec.connect:
            server.connect()
    except LoadError as exc:
        spec.sock.sendall(encode(LoadFailed(exc.kind, exc.message, exc.traceback)))
        return CANNOT_START
    except Unavailable as exc:
        message = f"The database cannot be reached: {' '.join(str(exc).split())}"
        spec.sock.sendall(encode(LoadFailed("database", message)))
        return CANNOT_START
    except Exception as exc:
        missing = THREADS if isinstance(exc, NoThread) else explain(exc)
        if missing is None:
            raise
        spec.sock.sendall(encode(LoadFailed(SHORTAGE, f"child {spec.index}: {missing}")))
        return CANNOT_START
    server.serve()
    server.call_stop_hooks(0)
    return 0


class ChildServer:
    """The child process: its event loop in the main thread, its slots and its services."""

    def __init__(self, spec: ChildSpec) -> None:
        settings = spec.settings
        assert settings.database_url is not None
        self._spec = spec
        self._loop = Loop()
        self._waker = Waker(self._on_wake)
        self._pipe = SupervisorPipe(spec.sock, self._on_message, self._on_supervisor_exited)
        self._spare_descriptors = SpareDescriptors()
        shortage = Shortage(self._leave)
        self._database = ChildDatabase(
            settings.database_url, f"owsuper child {spec.index}", shortage
        )
        delayed_calls = DelayedCalls(self._loop, self._waker)
        self._services = services.create(
            self._database,
            delayed_calls,
            FlightRecorder(spec.flight_fd, settings.concurrency),
            shortage,
            schema=settings.schema,
            namespace=settings.namespace,
            lease=settings.lease,
            concurrency=settings.concurrency,
            kill_grace=settings.kill_grace,
            on_overdue=self._pipe.send,
            on_thread_died=self._on_thread_died,
        )
        self._executor = Executor(spec.registry, self._services)
        self._slots = ThreadPool(
            "owsuper-slot", settings.concurrency, delayed_calls, shortage, self._on_thread_died
        )
        # The runs by slot, each with the time.monotonic() of its assignment.
        self._busy: dict[int, tuple[ClaimedRun, float]] = {}
        self._draining = False
        self._term_signaled = False
        self._stacks_wanted = False
        self._cannot_go_on: str | None = None  # why this process must be replaced
        self._thread_error: BaseException | None = None  # which ended a thread of the engine
        self._time_is_up = self._loop.timers.add("graceful time-out", self.release_all)
        self._released_all = False
        self._in_forks = InForks(spec, self._loop, self._waker, self._services)
        self._heartbeat = Heartbeat(
            self._executor.executions,
            self._database,
            self._services.leases,
            lambda worker_ids: self._pipe.send(LeasesRenewed(worker_ids)),
        )

    def keep_evidence(self) -> None:
        """Leave evidence of the death of this process, which must be a child alone."""
        evidence.begin(self._spec.flight_fd, self._services.flight_recorder)

    def call_start_hooks(self) -> None:
        """Call the functions of ``on_child_start``. Main thread only. Raises LoadError, NoThread.

        Call this before ``catch_signals``: they may set handlers of their own.
        """
        hooks.start(self._spec.hooks, self._services.loop_thread)
        logs.adopt_root()  # which they may have configured

    def call_stop_hooks(self, exit_code: int) -> None:
        """Call the functions of ``on_child_stop``. Main thread only.

        They end the process with ``exit_code`` if they take too long.
        """
        hooks.stop(self._spec.hooks, self._services.loop_thread, exit_code)

    def catch_signals(self) -> None:
        """Make TERM stop runs at their next step. The supervisor handles INT and HUP.

        At USR1 this process logs its stacks, unless the application has a handler.
        """
        signal_handlers.install(signal.SIGTERM, self._on_term)
        if signal.getsignal(signal.SIGUSR1) is signal_handlers.do_nothing:
            signal_handlers.install(signal.SIGUSR1, self._on_usr1)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal_handlers.install(number, signal_handlers.do_nothing)
        signal.set_wakeup_fd(self._waker.signal_fd, warn_on_full_buffer=False)

    def start(self) -> None:
        """Start all that runs need, before a run is assigned. Raises NoThread and OSError."""
        self._loop.add(self._waker)
        self._loop.add(self._pipe)
        self._loop.timers.add("tick", self._tick, period=_TICK).start()
        self._tick()
        if self._spec.settings.hang_timeout is not None:
            period = self._spec.settings.hang_timeout / _BEATS
            self._loop.timers.add("beat", lambda: self._pipe.send(Beat()), period=period).start()
        self._start_threads()

    def connect(self) -> None:
        """Connect to the database, and keep the connection. Raises Unavailable."""
        self._database.release(self._database.acquire())

    def serve(self) -> None:
        """Serve until the child is told to stop and no run is left.

        In the thread that called ``start``; for signals, it must be the main thread.
        """
        self._pipe.send(Ready(os.getpid()))
        while not self._released_all and not (self._draining and not self._busy):
            self._loop.turn()
        self._heartbeat.stop()
        self._pipe.flush()

    def _start_threads(self) -> None:
        kinds = {workflow.is_async for workflow in self._spec.registry}
        self._heartbeat.start()
        self._services.start_threads(for_async=True in kinds)
        if False in kinds:
            self._slots.start(self._spec.settings.concurrency)

    # --- events ------------------------------------------------------------------------------

    def _on_term(self, *_: object) -> None:
        self._term_signaled = True  # the loop wakes, since the waker has the signal's descriptor

    def _on_usr1(self, *_: object) -> None:
        self._stacks_wanted = True

    def _on_wake(self) -> None:
        if self._stacks_wanted:
            self._stacks_wanted = False
            level = max(logging.INFO, _log.getEffectiveLevel())
            _log.log(level, "stacks of child %d:\n%s", self._spec.index, self._describe_stacks())
        if self._thread_error is not None:
            raise RuntimeError("a thread of the engine has ended") from self._thread_error
        if self._term_signaled:
            self._term_signaled = False
            self._pipe.send(StopSignaled())
            self._stop()
        if self._cannot_go_on is not None:
            self._replace(self._cannot_go_on)
            self._cannot_go_on = None

    def _leave(self, reason: str) -> None:
        """Have this process replaced. Safe from any thread."""
        self._cannot_go_on = reason
        self._waker.wake()

    def _on_thread_died(self, exc: BaseException) -> None:
        """End this process: the runs that need the thread would hang, with their leases renewed."""
        self._thread_error = exc
        self._waker.wake()

    def _on_supervisor_exited(self) -> None:
        _log.warning("the supervisor has exited; finishing the steps in flight")
        self._stop()
        self._time_is_up.at_latest(time.monotonic() + self._spec.settings.graceful_timeout)

    def _on_message(self, message: Message) -> None:
        match message:
            case Assign(slot, run):
                self._assign(slot, run)
            case RenewLeases():
                self._heartbeat.renew_now()
            case SendStacks():
                self._pipe.send(Stacks(self._describe_stacks()))
            case Drain():
                self._draining = True
            case Stop():
                self._stop()
            case _:
                _log.error("unexpected message %r", message)

    def _describe_stacks(self) -> str:
        try:
            return stacks.describe(self._services.loop_thread.loops())
        except Exception as exc:  # whoever looks must not disturb
            return f"The stacks cannot be read: {exc!r}"

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
            # The supervisor claims registered workflows only, so it has newer code than this child.
            _log.error("run %s: workflow %s is not registered here", run.run_id, exc)
            self._services.write_threads.submit(self._give_back, slot, run, Release())
            return
        if workflow.is_async:
            self._services.loop_thread.spawn(partial(self._run_async, workflow, run, slot))
        else:
            self._slots.run(partial(self._run, workflow, run, slot))

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

    def _give_back_failed(self, slot: int, run: ClaimedRun, exc: BaseException) -> None:
        """Give back a run that the engine could not execute. It is not the run's failure."""
        if not isinstance(exc, EngineError):
            log_engine_error(run, exc)
        self._give_back(slot, run, give_back_outcome(run, self._services))

    def _give_back(self, slot: int, run: ClaimedRun, outcome: Release | Park) -> None:
        """Write that ``run`` leaves this process, and free its slot.

        If that is impossible, this process leaves, and the supervisor releases the run: it was
        not told that the slot is free.
        """
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=outcome))
        except LeaseLost:
            self._finish(slot, run, LOST)
        except Exception as exc:
            _log.warning("run %s could not be written as released: %s", run.run_id, exc)
            self._forget(slot, run)
            if not self._draining:
                self._leave(f"run {run.run_id} could not be given back")
        else:
            due_in = 0.0 if isinstance(outcome, Release) else None
            self._finish(slot, run, ExecutionResult("released", due_in))

    def _finish(self, slot: int, run: ClaimedRun, result: ExecutionResult) -> None:
        self._services.flight_recorder.leave(slot)
        self._pipe.send(Finished(slot, run.run_id, result.outcome, result.due_in))
        # After sending, or the process might exit before that. The supervisor may have assigned
        # another run to the slot meanwhile.
        self._forget(slot, run)

    def _forget(self, slot: int, run: ClaimedRun) -> None:
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

    def _replace(self, reason: str) -> None:
        """Leave, so that the supervisor starts another child: this one cannot serve its runs."""
        _log.error("child %d gives its runs back and exits: %s", self._spec.index, reason)
        self._pipe.send(StopSignaled())
        self._spare_descriptors.free()
        self._stop()
        self._services.step_threads.refuse_waiting()
        self._time_is_up.at_latest(time.monotonic() + self._spec.settings.graceful_timeout)

    def release_all(self) -> None:
        """Release the runs that still run at the graceful time-out.

        Without this, other workers claim them only after their leases. Does not wait for a
        database that does not answer.
        """
        self._database.closing.set()
        self._spare_descriptors.free()
        submit = self._services.write_threads.submit
        releases = []
        for slot, (run, _) in list(self._busy.items()):
            step = self._services.flight_recorder.read(slot)
            fields = {"run_id": run.run_id, "workflow": run.workflow_name, "step": step}
            _log.warning("run did not reach another step; it is released", extra=fields)
            releases.append(submit(self._release, run))
        wait(releases, timeout=_LAST_WRITES)
        self._released_all = True
        self._waker.wake()  # if another thread has called this

    def _release(self, run: ClaimedRun) -> None:
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=Release()))
        except Exception as exc:
            _log.warning("run %s could not be written as released: %s", run.run_id, exc)
