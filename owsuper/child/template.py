"""The template: imports the application once, then forks children on request.

Forking is unsafe in a process with threads or database connections. The template has neither, so
the template forks the children. It has one socket to the supervisor, and reports the exit of
every child. The supervisor starts the template as a fresh interpreter (``python -m
owsuper.child.template FD``), and ``preload`` has the import.

After the supervisor has exited, the template forks no more, and exits after its last child. It
kills children that do not exit in time: they may hang.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource  # noqa: F401 -- os.wait4 imports it, perhaps with no descriptors left
import selectors
import signal
import socket
import sys
import time
from typing import Final

from owsuper import logs, shortage, signal_handlers, stderr_copy
from owsuper.child import fork, loader, preload, served
from owsuper.child.control_socket import ControlSocket
from owsuper.child.fork import Closable, ForkedChild, run_child
from owsuper.child.loader import Application, LoadError
from owsuper.child.orphaned_claims import OrphanedClaims
from owsuper.child.orphaned_processes import OrphanedProcesses
from owsuper.ipc.messages import (
    OTHER_PROTOCOL,
    PROBE,
    PROTOCOL,
    SHORTAGE,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Load,
    LoadFailed,
    Message,
    ReleaseOrphans,
)
from owsuper.settings import Settings
from owsuper.signal_handlers import do_nothing

_HANDLED: Final = (signal.SIGCHLD, signal.SIGINT, signal.SIGHUP)
# Seconds that a child needs at most after the graceful time-out: for last writes, functions of
# on_child_stop, and exit handlers.
_LAST_SECONDS: Final = 15.0

_log = logging.getLogger("owsuper.template")


class Template:
    """The template process. ``_application`` is None if children import it themselves."""

    def __init__(self, control: socket.socket) -> None:
        self._control = ControlSocket(control)
        self._children: dict[int, int] = {}  # child numbers by pid
        self._orphaned_claims = OrphanedClaims()
        self._orphaned_processes = OrphanedProcesses()
        self._application: Application | None = None
        self._graceful_timeout = 0.0  # seconds
        self._kill_at: float | None = None  # the ``time.monotonic`` moment for what is left
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._control, selectors.EVENT_READ)
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._selector.register(self._wake_reader, selectors.EVENT_READ)
        self._catch_signals()

    def run(self) -> ForkedChild | None:
        """Serve until the supervisor and all children have exited, and return None.

        Also returns in each forked child, with its ForkedChild.
        """
        while self._control.is_open or self._children:
            ready = [key.fileobj for key, _ in self._selector.select(self._longest_wait())]
            if self._control in ready:
                for message in self._control.receive():
                    if (forked := self._handle(message)) is not None:
                        return forked
                if not self._control.is_open:
                    self._selector.unregister(self._control)
                    self._on_supervisor_exited()
            if self._wake_reader in ready:  # what a dead child leaves is ours without a supervisor
                self._reap()
        self._orphaned_claims.finish()
        self._orphaned_processes.finish()
        return None

    def _on_supervisor_exited(self) -> None:
        self._orphaned_claims.on_supervisor_exited()
        self._kill_at = time.monotonic() + self._graceful_timeout + _LAST_SECONDS
        for pid, child in self._children.items():
            if child == PROBE:
                os.kill(pid, signal.SIGKILL)  # nobody waits for its answer

    def _longest_wait(self) -> float | None:
        """Return the seconds to wait for an event, None for ever; kill what is due to be killed."""
        if self._kill_at is None:
            return None
        if (seconds := self._kill_at - time.monotonic()) > 0:
            return seconds
        self._kill_at = None
        for pid, child in self._children.items():
            _log.error("child %d does not end without its supervisor: killing it", child)
            os.kill(pid, signal.SIGKILL)
        return None

    def _catch_signals(self) -> bool:
        """Have SIGCHLD wake the selector; the supervisor handles Ctrl-C and the end of a terminal.

        Return whether anything of this was different before.
        """
        fd = self._wake_writer.fileno()
        found = (
            signal.set_wakeup_fd(fd, warn_on_full_buffer=False),
            *(signal_handlers.install(number, do_nothing) for number in _HANDLED),
            signal.SIGCHLD in signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD]),
        )
        return found != (fd, *(do_nothing for _ in _HANDLED), False)

    def _handle(self, message: Message) -> ForkedChild | None:
        match message:
            case Load(settings):
                logs.set_up_again(settings)
                if settings.preload:
                    self._application = preload.load(settings, self._control, self._catch_signals)
                else:
                    self._probe(settings)
            case Fork():
                return self._fork(message)
            case ReleaseOrphans(supervisor_id):
                self._orphaned_claims.on_release_orphans(supervisor_id)
            case _:
                _log.error("unexpected message %s", type(message).__name__)
        return None

    # --- loading -------------------------------------------------------------------------

    def _probe(self, settings: Settings) -> None:
        """Import the application in a separate process, so that this one stays clean.

        The separate process answers the supervisor. Its exit is reported as well, because it may
        die without an answer.
        """
        preload.set_title(settings)
        try:
            pid = os.fork()
        except OSError as exc:
            self._control.send(LoadFailed(SHORTAGE, shortage.describe(exc)))
            return
        if pid:
            self._children[pid] = PROBE
            return
        self._reset_process()
        try:
            application = loader.load(settings.modules)
            served.check(application, settings)
            answer: Message = served.describe(application, settings)
        except LoadError as exc:
            answer = LoadFailed(exc.kind, exc.message, exc.traceback)
        self._control.send(answer)
        _flush()
        os._exit(0)

    # --- children ------------------------------------------------------------------------

    def _fork(self, message: Fork) -> ForkedChild | None:
        descriptors = self._control.take_descriptors()
        try:
            if not descriptors:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            if self._application is None:
                preload.set_title(message.settings)
                preload.import_child_modules()
            preload.read_statements(message.settings)
            _flush()
            pid = os.fork()
        except OSError as exc:
            # Before the descriptors are closed, which the supervisor takes for a child's death.
            self._control.send(ForkFailed(message.child, shortage.describe(exc)))
            pid = None
        if pid == 0:
            self._reset_process(self._control)
            pipe_fd, flight_fd = descriptors
            sock = socket.socket(fileno=pipe_fd)
            return ForkedChild(message, sock, flight_fd, self._application)
        for descriptor in descriptors[:1] if pid else descriptors:
            os.close(descriptor)  # with no copy open here, the supervisor reads EOF at its death
        self._catch_signals()  # a function of os.register_at_fork may have changed them
        if pid is not None:
            self._graceful_timeout = message.settings.graceful_timeout
            self._orphaned_claims.on_forked(pid, message, descriptors[1])
            self._children[pid] = message.child
            self._control.send(Forked(message.child, pid))
        return None

    def _reset_process(self, *unshared: Closable) -> None:
        """Make this process, just forked, independent of the template."""
        fork.reset_process(
            (self._selector, self._wake_reader, self._wake_writer, *unshared),
            (*self._orphaned_claims.descriptors, *self._control.unused_descriptors()),
        )

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._wake_reader.recv(512):
                pass
        for pid in list(self._children):
            reaped, status, usage = os.wait4(pid, os.WNOHANG)
            if reaped:
                child = self._children.pop(pid)
                cpu_seconds = usage.ru_utime + usage.ru_stime
                self._control.send(
                    Exited(child, pid, status, _kilobytes(usage.ru_maxrss), cpu_seconds)
                )
                self._orphaned_claims.on_reaped(pid)
                if not self._control.is_open:
                    self._orphaned_processes.end(pid)


def _survive_usr1() -> None:
    """Ignore SIGUSR1, unless the application handles it: children write their stacks at it."""
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        signal_handlers.install(signal.SIGUSR1, do_nothing)


def _kilobytes(max_rss: int) -> int:
    return max_rss // 1024 if sys.platform == "darwin" else max_rss


def _flush() -> None:
    """Flush before a fork, or each process would write the buffered output."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):  # it may be None
            stream.flush()


def main() -> int:
    """Run the template in a fresh interpreter.

    The arguments are the number of the control socket and the PROTOCOL of the supervisor. Returns
    OTHER_PROTOCOL if that differs.
    """
    if sys.argv[2] != PROTOCOL:
        return OTHER_PROTOCOL
    stderr_copy.install()  # before the application is imported, which may keep sys.stderr
    control = socket.socket(fileno=int(sys.argv[1]))
    control.set_inheritable(False)
    _survive_usr1()
    forked = Template(control).run()
    if forked is not None:
        run_child(forked)
    return 0


if __name__ == "__main__":
    sys.exit(main())
