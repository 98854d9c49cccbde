"""``owsuper --foreground``: the whole worker in one process, for a debugger.

The main thread is the supervisor, and the one child is a thread of the same process. So a step
that calls ``breakpoint()`` has the terminal. It executes one run at a time, and nothing protects
it from the code of steps: what ends the process ends the worker.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from owsuper import logs
from owsuper.child import loader, process_exit
from owsuper.child.loader import Application, LoadError
from owsuper.child.server import ChildServer
from owsuper.child.spec import ChildSpec
from owsuper.cli import database
from owsuper.cli.output import print_message
from owsuper.client import fork_safety
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.messages import ApplicationLoaded, Exited, Fork
from owsuper.settings import Settings, log_sources
from owsuper.supervisor.complete_settings import client_environment, complete_settings
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.exit_status import ExitCode
from owsuper.supervisor.presence import new_supervisor_id
from owsuper.supervisor.signals import SignalInbox

_log = logging.getLogger("owsuper.supervisor")

_THREAD_FAILED: Final = 1 << 8  # a wait status: exit code 1


def run(settings: Settings) -> int:
    """Execute runs in this process until a signal stops it; return the exit code.

    Raises ConfigurationError for flags that ask for more than one run at a time, MigrationError,
    DatabaseUnreachable and EmbeddedUnavailable.
    """
    if several := {"processes", "concurrency"} & settings.given:
        raise ConfigurationError(
            f"--foreground executes one run at a time: leave out --{min(several)}"
        )
    process_exit.begin()
    logs.configure(settings.log_level)
    log_sources(settings, _log, os.environ)
    try:
        application = loader.load(settings.modules)
        with ExitStack() as stack:
            url = database.choose(settings, application.database_url, stack)
            loaded = _describe(application)
            settings = complete_settings(settings, loaded, url)
            os.environ.update(client_environment(settings))
            database.prepare(url, settings.schema, migrate=settings.migrate)
            worker = ForegroundWorker(settings, application, loaded)
            code = worker.serve()
            worker.call_stop_hooks(code)
            process_exit.leave(code)
    except LoadError as exc:
        print_message(f"error: {exc.message}", before=exc.traceback or "")
        return ExitCode.IMPORT_ERROR


class ForegroundWorker:
    """The supervisor and its only child, in one process. Is the child's template, too."""

    def __init__(
        self, settings: Settings, application: Application, loaded: ApplicationLoaded
    ) -> None:
        self.loaded: ApplicationLoaded | None = loaded
        self.supervisor_id = new_supervisor_id()
        self.pid: int | None = None
        self._settings = replace(settings, processes=1, concurrency=1)
        self._application = application
        self._child: ChildServer | None = None
        self._child_status: int | None = None  # its wait status, if it were a process
        self._stopping = False
        self._loop = Loop()
        self._waker = Waker(self._reap)
        signals = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1]
        self._inbox = SignalInbox(signals, self._on_signal)
        self._dispatch = Dispatch(self._loop, self._settings, self, environment={})
        fork_safety.forget_in_children(self)

    def serve(self) -> int:
        """Execute runs until a signal stops the worker; return the exit code."""
        self._loop.add(self._waker)
        self._loop.add(self._inbox)
        self._dispatch.start()
        ready = False
        while not self._dispatch.finished and not self._time_is_up:
            self._dispatch.assign_and_claim()
            self._loop.turn()
            if not ready and self._dispatch.ready:
                ready = True
                _log.info(
                    "ready: workflows=%d, one run at a time; Ctrl-C finishes the run and stops, and"
                    " a second Ctrl-C gives the run back",
                    len(self._dispatch.workflows),
                )
        if self._child is not None:
            self._child.release_all()
        self._dispatch.close()
        _log.info("stopped")
        return ExitCode.ERROR if self._child_status == _THREAD_FAILED else ExitCode.CLEAN

    def call_stop_hooks(self, exit_code: int) -> None:
        """Call the functions of ``on_child_stop``; see ``ChildServer``."""
        if self._child is not None:
            self._child.call_stop_hooks(exit_code)

    # --- the template, for the fleet ---------------------------------------------------------

    @property
    def can_fork(self) -> bool:
        """Whether the child has not been started yet."""
        return self._child is None

    def fork(self, request: Fork, descriptors: Sequence[int]) -> None:
        """Start the child in a thread. Takes the descriptors of its pipe and flight recorder."""
        pipe_fd, flight_fd = descriptors
        sock = socket.socket(fileno=pipe_fd)
        registry = self._application.registry
        hooks = self._application.hooks
        spec = ChildSpec(request.child, sock, flight_fd, self._settings, registry, hooks)
        self._child = ChildServer(spec)
        self._child.call_start_hooks()
        threading.Thread(
            target=self._serve_child, args=(self._child,), name="owsuper-child", daemon=True
        ).start()

    def release_orphans(self, wanted: bool) -> None:
        """Do nothing: no process survives this one."""

    def kill(self) -> None:
        """Do nothing: there is no other process."""

    def _serve_child(self, child: ChildServer) -> None:
        try:
            child.start()
            child.serve()
            self._child_status = 0
        except BaseException:
            _log.exception("the worker failed")
            self._child_status = _THREAD_FAILED
        self._waker.wake()

    def _reap(self) -> None:
        if self._child_status is None:
            return
        for child in self._dispatch.fleet:
            self._dispatch.fleet.on_exited(
                Exited(child.number, os.getpid(), self._child_status, max_rss_kb=0)
            )
        self._dispatch.drain()

    # --- the end -----------------------------------------------------------------------------

    @property
    def _time_is_up(self) -> bool:
        """Whether the shutdown is at the stage at which it would kill the child."""
        return any(child.killed_by_supervisor for child in self._dispatch.fleet)

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGUSR1:
            self._dispatch.log_stacks()
            return
        if self._time_is_up:
            return
        if self._stopping or number is signal.SIGQUIT:
            self._dispatch.stop_now()
        self._dispatch.drain()
        self._stopping = True

    # --- processes that steps fork -----------------------------------------------------------

    def suspend_connections(self) -> None:
        """Leave everything open in this process; see ``ForkSafe``."""

    def forget_connections(self) -> tuple[object, Iterable[int]]:
        """Leave a forked process nothing of ours; see ``ForkSafe``."""
        for child in self._dispatch.fleet:
            child.close()
        ours = (self._waker.signal_fd, self._inbox.wakeup_fd)
        return self, (*self._loop.descriptors(), *ours)


def _describe(application: Application) -> ApplicationLoaded:
    return ApplicationLoaded(
        workflows=tuple(application.registry.names()),
        database_url=application.database_url,
        namespace=application.namespace,
        schema=application.schema,
    )
