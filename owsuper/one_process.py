"""A worker in one process: the supervisor in one thread, and its only child in another.

``owsuper --foreground`` and ``ThreadWorker`` are such workers. Nothing protects them from the code
of steps: it cannot be killed, and what ends the process ends the worker.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Final

from owsuper.child.loader import Application
from owsuper.child.served import describe
from owsuper.child.server import ChildServer
from owsuper.child.spec import ChildSpec
from owsuper.client import fork_safety
from owsuper.event_loop import Loop, Waker
from owsuper.ipc.messages import ApplicationLoaded, Exited, Fork
from owsuper.settings import Settings
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.presence import Workflows, new_supervisor_id

_log = logging.getLogger("owsuper.supervisor")

_THREAD_FAILED: Final = 1 << 8  # a wait status: exit code 1


class OneProcessWorker:
    """The supervisor and its only child, in one process. Is the child's template, too.

    ``settings`` must be complete: ``database_url`` is set. ``owns_process`` says whether the
    process is there for nothing else. ``on_ready`` is called once, when the worker takes runs.
    """

    def __init__(
        self,
        settings: Settings,
        application: Application,
        *,
        owns_process: bool,
        on_ready: Callable[[], object],
    ) -> None:
        self.supervisor_id = new_supervisor_id()
        self.pid: int | None = None
        self.loaded: ApplicationLoaded | None = describe(application, settings)
        self.loop = Loop()
        self._settings = replace(settings, processes=1, metrics_port=None)
        self._application = application
        self._registered = _registered(application)
        self._owns_process = owns_process
        self._on_ready = on_ready
        self._child: ChildServer | None = None
        self._child_status: int | None = None  # its wait status, if it were a process
        self._child_thread: threading.Thread | None = None
        self._child_may_close = threading.Event()  # never, in a process that ends
        self._stop_wanted = False
        self.takes_no_more = threading.Event()
        """Set when no further runs are claimed."""
        self._waker = Waker(self._on_wake)
        self._dispatch = Dispatch(self.loop, self._settings, self, environment={})
        fork_safety.forget_in_children(self)

    @property
    def workflows(self) -> Workflows:
        """The workflows that are served, by name and version."""
        return self._dispatch.workflows

    def serve(self) -> bool:
        """Execute runs until the worker is stopped; return False if an error has ended it.

        Raises DatabaseUnreachable if the first connection fails, and what a function of
        ``on_child_start`` raises, as LoadError.
        """
        self.loop.add(self._waker)
        self._dispatch.start()
        ready = False
        while not self._dispatch.finished and not self.time_is_up:
            self._follow_registry()
            self._dispatch.assign_and_claim()
            self.loop.turn()
            if not ready and self._dispatch.ready:
                ready = True
                self._on_ready()
        if self._child is not None:
            self._child.release_all()
        return self._child_status != _THREAD_FAILED

    def close(self) -> None:
        """Close the connections of the supervisor."""
        self._dispatch.close()

    def close_all(self) -> None:
        """Close the rest too, in a process that goes on: what the child has, once no code is left.

        Waits for that, unless the graceful time-out has passed before.
        """
        time_is_up = self.time_is_up
        self.takes_no_more.set()
        fork_safety.keep_in_children(self)
        self.close()
        self._child_may_close.set()
        if self._child_thread is None:
            self._waker.close()
        elif not time_is_up:
            self._child_thread.join()
        self.loop.close()

    def call_stop_hooks(self, exit_code: int | None) -> None:
        """Call the functions of ``on_child_stop``; see ``ChildServer``."""
        if self._child is not None:
            self._child.call_stop_hooks(exit_code)

    # --- stopping ----------------------------------------------------------------------------

    def stop(self) -> None:
        """Have runs finish, for at most the graceful time-out, and then stop. From any thread."""
        self._stop_wanted = True
        self._waker.wake()

    def drain(self) -> None:
        """Do the same, in the thread of ``serve``."""
        self._dispatch.drain()

    def stop_now(self) -> None:
        """Stop without waiting for runs to finish, in the thread of ``serve``."""
        self._dispatch.stop_now()

    def log_stacks(self) -> None:
        """Log where the code of the child is, in the thread of ``serve``."""
        self._dispatch.log_stacks()

    @property
    def time_is_up(self) -> bool:
        """Whether the shutdown is at the stage at which it would kill the child."""
        return any(child.killed_by_supervisor for child in self._dispatch.fleet)

    # --- the template, for the fleet ---------------------------------------------------------

    @property
    def can_fork(self) -> bool:
        """Whether the child has not been started yet."""
        return self._child is None

    def fork(self, request: Fork, descriptors: Sequence[int]) -> None:
        """Start the child in a thread. Takes the descriptors of its pipe and flight recorder."""
        pipe_fd, flight_fd = descriptors
        child = ChildServer(
            ChildSpec(
                request.child,
                socket.socket(fileno=pipe_fd),
                flight_fd,
                self._settings,
                self._application.registry,
                self._application.hooks,
                owns_process=self._owns_process,
            )
        )
        try:
            child.call_start_hooks()
        except BaseException:
            child.close()
            raise
        self._child = child
        self._child_thread = threading.Thread(
            target=self._serve_child, args=(child,), name="owsuper-child", daemon=True
        )
        self._child_thread.start()

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
        self._child_may_close.wait()
        self._waker.close()
        if self._child_status == 0:
            child.close()

    def _on_wake(self) -> None:
        if self._stop_wanted:
            self._dispatch.drain()
            self.takes_no_more.set()
        if self._child_status is None:
            return
        for child in self._dispatch.fleet:
            self._dispatch.fleet.on_exited(
                Exited(child.number, os.getpid(), self._child_status, max_rss_kb=0)
            )
        self._dispatch.drain()

    # --- workflows that are defined later ----------------------------------------------------

    def _follow_registry(self) -> None:
        if (registered := _registered(self._application)) != self._registered:
            self._registered = registered
            self.loaded = describe(self._application, self._settings)

    # --- processes that steps fork -----------------------------------------------------------

    def suspend_connections(self) -> None:
        """Leave everything open in this process; see ``ForkSafe``."""

    def forget_connections(self) -> tuple[object, Iterable[int]]:
        """Leave a forked process nothing of ours; see ``ForkSafe``."""
        for child in self._dispatch.fleet:
            child.close()
        return self, (*self.loop.descriptors(), self._waker.signal_fd)


def _registered(application: Application) -> tuple[object, ...]:
    """Return what the supervisor must learn of when it changes."""
    registry = application.registry
    return (
        registry.names(),
        registry.concurrency(),
        application.declarations(),
        [each.limits for each in registry],
    )
