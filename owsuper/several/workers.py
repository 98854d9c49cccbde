"""The process that starts a worker for each of several databases.

It holds no connection and runs no code of the application. The workers are supervisors like any
other, each in a process of its own, and know nothing of each other:

- They get the signals that this process gets.
- If one cannot start, or cannot reach its database at the start, it is started again and again, as
  long as another runs: an outage of one database must not keep the others from being served. Nor is
  it an error if it comes to that while all stop.
- Otherwise they end together. If one ends that nobody has stopped, the others drain, and the exit
  code is that of the first. So systemd, or whatever started this process, starts all of them again:
  what ends a supervisor is for the service manager to know.
- If this process dies, they drain: each has a socket to it.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Final

from setproctitle import setproctitle

from owsuper import shortage
from owsuper.event_loop import Backoff, Loop
from owsuper.several.commands import WorkerCommand
from owsuper.several.one_service import NotificationSocket, OneService
from owsuper.supervisor import spawn
from owsuper.supervisor.exit_status import ExitCode, describe_status
from owsuper.supervisor.signals import STOP_SIGNALS, SignalInbox
from owsuper.supervisor.systemd import Systemd

# Seconds between two starts of a worker whose database cannot be reached. A start imports the
# application, which takes a processor for a while.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0

_FORWARDED: Final = (signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)

_log = logging.getLogger("owsuper.supervisor")


def run(commands: Sequence[WorkerCommand], *, burst: bool) -> int:
    """Start the workers, and return the exit code when all have ended.

    Call this in the main thread. With ``burst``, each worker ends by itself, when no run is due,
    and the others go on.
    """
    setproctitle(f"owsuper: workers of {len(commands)} databases")
    workers = Workers(commands, burst=burst)
    try:
        return workers.run()
    finally:
        workers.close()


class Workers:
    """The workers, and the end of this process; call ``run`` once, then ``close``."""

    def __init__(self, commands: Sequence[WorkerCommand], *, burst: bool) -> None:
        self._commands = commands
        self._burst = burst
        self._running: dict[int, StartedWorker] = {}
        self._pauses = {
            each.label: Backoff(_FIRST_PAUSE, limit=_LONGEST_PAUSE) for each in commands
        }
        self._stopping = False
        self._code = int(ExitCode.CLEAN)
        self._loop = Loop()
        self._systemd = Systemd()
        self._service = OneService(self._systemd)
        self._inbox = SignalInbox(
            [*STOP_SIGNALS, *_FORWARDED, signal.SIGCONT, signal.SIGCHLD], self._on_signal
        )
        self._loop.add(self._inbox)

    def run(self) -> int:
        """Start the workers, and return the exit code when all have ended."""
        for command in self._commands:
            self._start(command)
        while self._running:
            self._loop.turn()
        _log.info("stopped: all workers have ended")
        return self._code

    def _start(self, command: WorkerCommand) -> None:
        if self._stopping:
            return
        self._service.on_started(command.label)
        try:
            self._run(command)
        except OSError as exc:
            extra = {"database": command.label}
            _log.error("a worker cannot be started: %s", shortage.describe(exc), extra=extra)
            if self._running and not self._burst:
                self._start_later(command)
            else:
                self._code = ExitCode.ERROR
                self._stop(signal.SIGTERM)

    def _run(self, command: WorkerCommand) -> None:
        """Start the process. Raises OSError."""
        environment = {**os.environ, **command.environment}
        notifications = None
        if self._systemd.is_there and sys.platform == "linux":
            notifications = NotificationSocket(
                lambda text: self._service.on_notified(command.label, text)
            )
            environment["NOTIFY_SOCKET"] = notifications.address
            if (seconds := self._systemd.watchdog_seconds) is not None:
                environment["WATCHDOG_USEC"] = str(round(seconds * 2e6))
        worker = StartedWorker(
            command, environment, lambda: self._service.on_ready(command.label), notifications
        )
        self._running[worker.pid] = worker
        self._loop.add(worker)
        if notifications is not None:
            notifications.pid = worker.pid
            self._loop.add(notifications)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGCHLD:
            self._reap()
        elif number is signal.SIGCONT:
            self._service.acknowledge_reload_signal()
        elif number in STOP_SIGNALS:
            self._stop(number)
        else:
            self._send(number)

    def _stop(self, number: signal.Signals) -> None:
        self._stopping = True
        self._service.stopping()
        self._send(number)

    def _send(self, number: signal.Signals) -> None:
        for pid in self._running:
            os.kill(pid, number)  # it is there: only ``_reap`` lets go of a pid

    def _reap(self) -> None:
        """Reap workers, and orphans that this process inherits as the first of a container."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if (worker := self._running.pop(pid, None)) is not None:
                self._on_ended(worker, status)

    def _on_ended(self, worker: StartedWorker, status: int) -> None:
        self._let_go(worker)
        command = worker.command
        code = os.waitstatus_to_exitcode(status)
        code = code if code >= 0 else 128 - code  # as a shell reports a signal
        level = logging.ERROR if code else logging.INFO
        extra = {"database": command.label, "pid": worker.pid}
        _log.log(level, "a worker has ended: %s", describe_status(status), extra=extra)
        others_go_on = bool(self._running) and not self._stopping and not self._burst
        if others_go_on and code == ExitCode.DATABASE_UNREACHABLE:
            self._start_later(command)
        else:
            if not (self._stopping and code == ExitCode.DATABASE_UNREACHABLE):
                self._code = self._code or code
            if others_go_on:
                _log.warning("stopping the workers of the other databases")
                self._stop(signal.SIGTERM)
        self._service.on_ended(command.label)

    def _start_later(self, command: WorkerCommand) -> None:
        def start() -> None:
            self._loop.timers.drop(timer)
            self._start(command)

        timer = self._loop.timers.add(f"start the worker of {command.label}", start)
        pause = self._pauses[command.label].next()
        timer.after(pause)
        extra = {"database": command.label}
        _log.warning("its worker is started again in %.1f s; the others run", pause, extra=extra)

    def _let_go(self, worker: StartedWorker) -> None:
        self._loop.remove(worker)
        if worker.notifications is not None:
            self._loop.remove(worker.notifications)
        worker.close()

    def close(self) -> None:
        """Close everything. Workers that still run drain."""
        for worker in self._running.values():
            self._let_go(worker)
        self._loop.remove(self._inbox)
        self._inbox.close()
        self._systemd.close()
        self._loop.close()


class StartedWorker:
    """A worker that runs. A Loop watches the socket to it.

    ``on_serving`` is called when it takes runs. It drains when the socket is closed. The signals
    that it may get are blocked until it handles them, since most would end it.
    """

    events = selectors.EVENT_READ

    def __init__(
        self,
        command: WorkerCommand,
        environment: Mapping[str, str],
        on_serving: Callable[[], None],
        notifications: NotificationSocket | None,
    ) -> None:
        self.command = command
        self.notifications = notifications
        self._on_serving = on_serving
        self._received = b""
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        with ExitStack() as on_error, theirs:
            on_error.callback(self.close)
            theirs.set_inheritable(True)
            self.pid = spawn.run_module(
                "owsuper",
                [*command.arguments, f"--ready-fd={theirs.fileno()}"],
                environment=environment,
                blocked=(*STOP_SIGNALS, *_FORWARDED),
            )
            on_error.pop_all()

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 when the socket is closed."""
        return self._socket.fileno()

    def on_ready(self, _mask: int) -> None:
        """Read what the worker says."""
        try:
            data = self._socket.recv(512)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self._socket.close()  # its end follows
            return
        *lines, self._received = (self._received + data).split(b"\n")
        if b"ready" in lines:
            self._on_serving()

    def close(self) -> None:
        """Close the sockets."""
        self._socket.close()
        if self.notifications is not None:
            self.notifications.close()
