"""The main loop of a child process: messages of the supervisor, signals, timers, the end.

``slots`` has the runs that the child executes.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from setproctitle import setproctitle

from owsuper import logs, signal_handlers
from owsuper.child import evidence, hooks, services, stacks
from owsuper.child.database import ChildDatabase
from owsuper.child.executor import Executor
from owsuper.child.heartbeat import Heartbeat
from owsuper.child.in_forks import InForks
from owsuper.child.shortage import Shortage, SpareDescriptors
from owsuper.child.slots import Slots
from owsuper.child.spec import ChildSpec
from owsuper.child.supervisor_pipe import SupervisorPipe
from owsuper.child.threads import ThreadPool
from owsuper.child.timers import DelayedCalls
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    Assign,
    Beat,
    Drain,
    LeasesRenewed,
    Message,
    Ready,
    RenewLeases,
    SendStacks,
    Stacks,
    Stop,
    StopSignaled,
)

if TYPE_CHECKING:
    from owsuper.child.counts import ChildCounts

_log = logging.getLogger("owsuper.child")

_TICK: Final = 1.0  # seconds between two updates of the process title
_COUNTS_PERIOD: Final = 1.0  # seconds between two reports of what was counted
_BEATS: Final = 5  # in the time after which a child without them is killed
_LAST_WRITES: Final = 2.0  # seconds for the last writes, after the graceful time-out


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
        self._counts = None if settings.metrics_port is None else _count()
        self._database = ChildDatabase(
            settings.database_url,
            f"owsuper child {spec.index}",
            shortage,
            schema=settings.schema,
            counts=self._counts,
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
            around_steps=spec.hooks.around_steps,
            counts=self._counts,
        )
        self._executor = Executor(spec.registry, self._services)
        self._slots = Slots(
            self._executor,
            self._services,
            ThreadPool(
                "owsuper-slot", settings.concurrency, delayed_calls, shortage, self._on_thread_died
            ),
            report=self._pipe.send,
            on_free=self._on_slot_free,
            on_not_given_back=self._on_not_given_back,
        )
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
        if self._spec.owns_process:
            logs.adopt_root()  # which they may have configured
            self._keep_logs()

    def _keep_logs(self) -> None:
        settings = self._spec.settings
        if settings.keep_logs is not None:
            from owsuper.child.kept_lines import KeptLines  # few need it

            KeptLines(settings.log_level, self._services.reports.line).install()

    def call_stop_hooks(self, exit_code: int | None) -> None:
        """Call the functions of ``on_child_stop``. Main thread only, if they may use signals.

        They end the process with ``exit_code`` if they take too long, unless it is None.
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
        if self._counts is not None:
            self._loop.timers.add("counts", self._report_counts, period=_COUNTS_PERIOD).start()
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
        self._pipe.send(Ready(os.getpid() if self._spec.owns_process else None))
        while not self._released_all and not (self._draining and not len(self._slots)):
            self._loop.turn()
        self._heartbeat.stop()
        self._report_counts()
        self._pipe.flush()
        self._services.reports.close()

    def close(self) -> None:
        """Close what a process keeps that goes on after ``serve``, once no code of runs is left."""
        self._in_forks.end()
        self._loop.remove(self._pipe)
        self._draining = True
        while len(self._slots):
            self._loop.turn()
        self._services.close()
        self._slots.close()
        self._database.close()
        self._spare_descriptors.free()
        self._services.flight_recorder.close()
        os.close(self._spec.flight_fd)
        self._loop.close()
        self._waker.close()
        self._spec.sock.close()

    def _start_threads(self) -> None:
        kinds = {workflow.is_async for workflow in self._spec.registry}
        self._heartbeat.start()
        self._services.start_threads(for_async=True in kinds)
        if False in kinds:
            self._slots.start_threads(self._spec.settings.concurrency)

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
        self._stop()
        _log.warning("the supervisor has exited; finishing the steps in flight")
        self._time_is_up.at_latest(time.monotonic() + self._spec.settings.graceful_timeout)

    def _on_message(self, message: Message) -> None:
        match message:
            case Assign(slot, run):
                self._slots.assign(slot, run)
            case RenewLeases():
                self._heartbeat.renew_now()
            case SendStacks():
                self._pipe.send(Stacks(self._describe_stacks()))
            case Beat():
                self._pipe.send(Beat())
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
        if not self._spec.owns_process:
            return
        title = f"owsuper: child {self._spec.index}{self._slots.describe()}"
        setproctitle(title)

    def _report_counts(self) -> None:
        if self._counts is not None and (counted := self._counts.take()):
            self._pipe.send(counted)

    # --- runs --------------------------------------------------------------------------------

    def _on_slot_free(self) -> None:
        if self._draining:
            self._waker.wake()

    def _on_not_given_back(self, reason: str) -> None:
        if not self._draining:
            self._leave(reason)

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
        self._slots.release_all(_LAST_WRITES)
        self._released_all = True
        self._waker.wake()  # if another thread has called this


def _count() -> ChildCounts:
    from owsuper.child.counts import ChildCounts  # few workers need it

    return ChildCounts()
