"""A child process: takes assignments from its pipe, executes runs, reports how they ended."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial
from typing import Any, Final, NoReturn

from setproctitle import setproctitle

from owsuper.child import services
from owsuper.child.database import ChildDatabase
from owsuper.child.executor import LOST, Ended, Executor
from owsuper.child.heartbeat import Heartbeat
from owsuper.child.spec import ChildSpec
from owsuper.child.threads import SlotThreads
from owsuper.child.timers import TimerThread
from owsuper.core.model import ClaimedRun, Fail, Release, WriteSet
from owsuper.ipc.flight_recorder import FlightRecorder
from owsuper.ipc.messages import (
    Assign,
    Drain,
    Finished,
    FrameBuffer,
    LeasesRenewed,
    Message,
    Ready,
    RenewLeases,
    Stop,
    StopSignaled,
    encode,
)
from owsuper.stored_error import StoredError
from owsuper.workflow.definition import Workflow

_log = logging.getLogger("owsuper.child")

_TICK: Final = 1.0  # seconds
_LAST_WRITES: Final = 2.0  # seconds for what must be written before a time-out ends the process
_READ: Final = 65536


def serve(spec: ChildSpec) -> NoReturn:
    """Serve until told to stop or the supervisor is gone; then exit. Called after the fork."""
    faulthandler.enable()
    code = 1
    try:
        code = ChildServer(spec).serve()
    except BaseException:
        _log.exception("child %d failed", spec.index)
    finally:
        logging.shutdown()
        # Threads may still hold user code; nothing of theirs is worth waiting for.
        os._exit(code)


class ChildServer:
    """One child: the thread that reads the pipe, and all that it starts."""

    def __init__(self, spec: ChildSpec) -> None:
        settings = spec.settings
        assert settings.database_url is not None
        self._spec = spec
        self._sock = spec.sock
        self._sending = threading.Lock()
        self._outgoing: deque[bytes] = deque()
        self._waker, self._wakes = socket.socketpair()
        self._database = ChildDatabase(settings.database_url, f"owsuper child {spec.index}")
        self._services = services.create(
            self._database,
            TimerThread(),
            FlightRecorder(spec.flight_fd, settings.concurrency),
            schema=settings.schema,
            namespace=settings.namespace,
            lease=settings.lease,
            concurrency=settings.concurrency,
        )
        self._executor = Executor(spec.registry, self._services)
        self._slots = SlotThreads()
        self._busy: dict[int, tuple[ClaimedRun, float]] = {}
        self._draining = False
        self._terminated = False
        self._deadline: float | None = None
        self._heartbeat = Heartbeat(
            self._executor.executions, self._database, self._services.leases, self._beat
        )

    # --- the pipe --------------------------------------------------------------------------

    def serve(self) -> int:
        """Read the pipe until there is nothing left to do. The exit code."""
        self._catch_signals()
        self._tick()
        frames = FrameBuffer()
        selector = selectors.DefaultSelector()
        selector.register(self._sock, selectors.EVENT_READ)
        selector.register(self._wakes, selectors.EVENT_READ)
        self._send(Ready(os.getpid()))
        while not (self._draining and not self._busy):
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                self._give_up()
                break
            for key, _ in selector.select(left):
                if key.fileobj is self._wakes:
                    self._wakes.recv(_READ)
                    if self._terminated:
                        self._send(StopSignaled())
                        self._stop()
                    continue
                data = _read(self._sock)
                if not data:
                    _log.warning("the supervisor is gone; finishing the steps in flight")
                    selector.unregister(self._sock)
                    self._stop(self._spec.settings.graceful_timeout)
                for message in frames.feed(data):
                    self._handle(message)
        self._heartbeat.stop()
        with self._sending:  # perhaps a thread was about to
            self._send_outgoing()
        return 0

    def _handle(self, message: Message) -> None:
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

    def _send(self, message: Message) -> None:
        """Send ``message``, or leave it to the thread that is just sending, to go with its next.

        Slots that share a commit end their runs at the same moment.
        """
        self._outgoing.append(encode(message))
        while self._outgoing and self._sending.acquire(blocking=False):
            try:
                self._send_outgoing()
            finally:
                self._sending.release()

    def _send_outgoing(self) -> None:
        frames = []
        with suppress(IndexError):  # others add to it meanwhile
            while True:
                frames.append(self._outgoing.popleft())
        with suppress(OSError):  # when it is gone the reader notices by itself
            self._sock.sendall(b"".join(frames))

    def _wake(self) -> None:
        with suppress(OSError):  # full: then it is awake already
            self._waker.send(b"\0")

    def _beat(self, worker_ids: tuple[str, ...]) -> None:
        self._send(LeasesRenewed(worker_ids))

    # --- runs ------------------------------------------------------------------------------

    def _assign(self, slot: int, run: ClaimedRun) -> None:
        self._busy[slot] = (run, time.monotonic())
        try:
            workflow = self._executor.workflow_of(run)
        except LookupError as exc:
            # The supervisor claims for registered names only, so a newer one must have.
            _log.error("run %s: workflow %s is not registered here", run.run_id, exc)
            self._slots.start(lambda: self._finish(slot, run, self._give_back(run)))
            return
        if workflow.is_async:
            self._services.loop_thread.spawn(partial(self._run_async, workflow, run, slot))
        else:
            self._slots.start(partial(self._run, workflow, run, slot))

    def _run(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            ended = self._executor.execute(workflow, run, slot)
        except BaseException as exc:
            ended = self._broken(run, exc)
        self._finish(slot, run, ended)

    async def _run_async(self, workflow: Workflow[Any, Any], run: ClaimedRun, slot: int) -> None:
        try:
            ended = await self._executor.execute_async(workflow, run, slot)
        except BaseException as exc:
            job = self._services.write_threads.submit(self._broken, run, exc)
            ended = await asyncio.wrap_future(job)
        self._finish(slot, run, ended)

    def _broken(self, run: ClaimedRun, exc: BaseException) -> Ended:
        """The engine itself failed, which it would again: so the run fails, unless it is for want
        of memory, or of the task that it was executed in. Then it is left to its lease.
        """
        _log.error("run %s (%s): the pass broke", run.run_id, run.workflow_name, exc_info=exc)
        if isinstance(exc, (MemoryError, asyncio.CancelledError)):
            return LOST
        return self._end(run, Fail(StoredError.from_exception(exc).to_json()), "failed")

    def _finish(self, slot: int, run: ClaimedRun, ended: Ended) -> None:
        self._services.flight_recorder.leave(slot)
        self._send(Finished(slot, run.run_id, ended.outcome, ended.due_in))
        # Told first, so that the process does not exit in between; by then the slot may have
        # been given to another run.
        if (current := self._busy.get(slot)) is not None and current[0] is run:
            del self._busy[slot]
        if self._draining:
            self._wake()

    # --- stopping --------------------------------------------------------------------------

    def _catch_signals(self) -> None:
        """TERM stops at the next step boundary; INT is the supervisor's business."""
        self._waker.setblocking(False)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)

    def _on_term(self, *_: object) -> None:
        self._terminated = True  # the wake-up fd does the rest

    def _stop(self, within: float | None = None) -> None:
        """Give runs back at the next step boundary; ``within`` seconds at the latest."""
        self._draining = True
        if within is not None and self._deadline is None:
            self._deadline = time.monotonic() + within
        self._services.stopping.set()
        for each in list(self._executor.executions.values()):
            each.interrupt()

    def _give_back(self, run: ClaimedRun) -> Ended:
        return self._end(run, Release(), "released")

    def _end(self, run: ClaimedRun, outcome: Release | Fail, word: str) -> Ended:
        try:
            self._services.committer.commit(WriteSet(run.run_id, run.worker_id, outcome=outcome))
        except Exception as exc:
            _log.warning("run %s could not be written as %s: %s", run.run_id, word, exc)
            return LOST
        return Ended(word, 0.0 if isinstance(outcome, Release) else None)

    def _give_up(self) -> None:
        """Time is up: release what still runs, so that nobody waits for its lease. A database
        that does not answer is not waited for.
        """
        self._database.closing.set()
        releases = [
            threading.Thread(target=self._give_back, args=(run,), daemon=True)
            for run, _ in list(self._busy.values())
        ]
        for each in releases:
            each.start()
        give_up = time.monotonic() + _LAST_WRITES
        for each in releases:
            each.join(max(0.0, give_up - time.monotonic()))

    # --- every second -------------------------------------------------------------------------

    def _tick(self) -> None:
        busy = sorted(self._busy.copy().values(), key=lambda each: each[1])
        title = f"owsuper: child {self._spec.index}"
        if busy:
            run, since = busy[0]
            more = f" +{len(busy) - 1}" if len(busy) > 1 else ""
            age = int(time.monotonic() - since)
            title += f" {run.workflow_name} {run.run_id} {age}s{more}"
        setproctitle(title)
        self._services.timers.call_later(_TICK, self._tick)


def _read(sock: socket.socket) -> bytes:
    try:
        return sock.recv(_READ)
    except OSError:
        return b""
