"""The supervisor: one thread that watches the database, the template and the children.

It never runs the application's code, so the application can neither crash nor block it, and it
waits in one place only (``Loop.turn``).

    template                       loads the application and forks the children
    dispatch                       wires everything below together
        listener, claim_policy     when to claim, and how many runs
        claims, leases             claim, renew, release; over one ``connection``
        sweeps, crashes            expired leases and deadlines; evidence of crashes
        presence                   supervisors that are missing, and what they held
        watermark                  how far back to scan for runs
        prefetch                   claimed runs that wait for a slot
        fleet, child               the child processes
        shutdown                   drain, stop, TERM, KILL
    descriptors                    the limit of open files
    signals, status, systemd       signals in; title, log and notifications out
"""

from __future__ import annotations

import logging
import os
import resource  # noqa: F401 -- os.wait4 imports it, perhaps with no descriptors left
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from owsuper.event_loop import Loop
from owsuper.ipc.health import WorkerHealth
from owsuper.ipc.messages import ApplicationLoaded, Exited, Forked, ForkFailed, LoadFailed
from owsuper.log_stream import write_once
from owsuper.settings import Settings, variable_name
from owsuper.supervisor import descriptors, leftovers
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.exit_status import Evidence, ExitCode
from owsuper.supervisor.presence import new_supervisor_id
from owsuper.supervisor.signals import SignalInbox
from owsuper.supervisor.spawn import become_subreaper
from owsuper.supervisor.status import Status
from owsuper.supervisor.template import TemplateProcess

_TEMPLATE_TIMEOUT: Final = 1.0  # seconds for the template to exit once it has no children

_log = logging.getLogger("owsuper.supervisor")


class ResolveDatabase(Protocol):
    """Chooses the database URL."""

    def __call__(self, application_url: str | None, /) -> str:
        """Return the URL to use; ``application_url`` is that of the application's OpenWorkflow."""
        ...


class Migrate(Protocol):
    """Brings the tables up to date."""

    def __call__(
        self, url: str, schema: str, /, *, migrate: bool, give_up: Callable[[], bool]
    ) -> None:
        """Migrate, or with ``migrate=False`` raise if the tables are not up to date.

        The tables may be locked: return early when ``give_up()`` is true.
        """
        ...


def run(
    settings: Settings,
    *,
    resolve_database: ResolveDatabase,
    migrate: Migrate,
    ready_fd: int | None = None,
) -> int:
    """Execute runs until a signal stops the supervisor; return the exit code.

    Call this in the main thread. The two callables are called once, after the application is
    loaded. They may block, and their exceptions are raised here. The line "ready" is written to
    ``ready_fd`` when all children take runs. If ``ready_fd`` is a socket, the end of its
    connection has the effect of a TERM.

    Raises DatabaseUnreachable if the first connection fails, and ConfigurationError if the limit
    of open file descriptors is too low.
    """
    descriptors.reserve(settings.processes)
    supervisor = Supervisor(settings, ready_fd)
    try:
        return supervisor.run(resolve_database, migrate)
    finally:
        supervisor.close()


class Supervisor:
    """One supervisor; call ``run`` once, then ``close``."""

    def __init__(self, settings: Settings, ready_fd: int | None) -> None:
        self._settings = settings
        self._loop = Loop()
        self._dispatch: Dispatch | None = None
        self._stop_requested = False
        self._failure: LoadFailed | None = None
        self._status = Status(
            self._loop,
            settings,
            ready_fd,
            describe=self._describe,
            describe_health=self._describe_health,
            on_parent_closed=self._stop,
        )
        self._environment = dict(os.environ)
        self._inbox = SignalInbox(
            [
                signal.SIGTERM,
                signal.SIGHUP,
                signal.SIGINT,
                signal.SIGQUIT,
                signal.SIGUSR1,
                signal.SIGCHLD,
            ],
            self._on_signal,
        )
        self._loop.add(self._inbox)
        self._template = TemplateProcess(
            self._loop,
            settings,
            on_loaded=self._on_loaded,
            on_failed=self._on_load_failed,
            on_forked=self._on_forked,
            on_fork_failed=self._on_fork_failed,
            on_exited=self._on_exited,
            supervisor_id=new_supervisor_id(),
        )

    def run(self, resolve_database: ResolveDatabase, migrate: Migrate) -> int:
        """Execute runs until a signal stops the supervisor; see the function ``run``."""
        self._status.update()
        loaded = self._load()
        if loaded is None:
            return self._exit_without_application()
        settings = complete_settings(self._settings, loaded, resolve_database(loaded.database_url))
        self._settings = settings
        assert settings.database_url is not None
        migrate(
            settings.database_url,
            settings.schema,
            migrate=settings.migrate,
            give_up=self._inbox.stop_pending,
        )
        return self._serve(settings)

    # --- load ----------------------------------------------------------------------------

    def _load(self) -> ApplicationLoaded | None:
        self._template.start()
        while self._template.loaded is None and self._failure is None and not self._stop_requested:
            self._loop.turn()
        return None if self._stop_requested else self._template.loaded

    def _exit_without_application(self) -> int:
        if self._failure is None:
            return ExitCode.CLEAN  # stopped before the application was loaded
        _print_error(f"{self._failure.traceback or ''}", self._failure.message)
        return ExitCode.IMPORT_ERROR

    # --- serve ---------------------------------------------------------------------------

    def _serve(self, settings: Settings) -> int:
        become_subreaper()
        dispatch = Dispatch(
            self._loop, settings, self._template, environment=self._child_environment(settings)
        )
        self._dispatch = dispatch
        dispatch.start()
        if self._stop_requested:
            dispatch.drain()
        while not dispatch.finished:
            dispatch.assign_and_claim()
            self._status.turned()
            self._loop.turn()
            if not self._status.ready_reported and dispatch.ready:
                self._status.ready(dispatch.workflow_count)
        if dispatch.fatal_error is not None:
            _print_error("", dispatch.fatal_error)
        self._template.on_stopped()
        _log.info("stopped")
        return dispatch.exit_code

    def _describe(self) -> str:
        return "starting" if self._dispatch is None else str(self._dispatch)

    def _describe_health(self) -> WorkerHealth:
        dispatch = self._dispatch
        return WorkerHealth(
            pid=os.getpid(),
            status=self._describe(),
            takes_runs=self._status.ready_reported and dispatch is not None and dispatch.takes_runs,
            children=0 if dispatch is None else dispatch.fleet.ready,
            modules=self._settings.modules,
            schema=self._settings.schema,
        )

    def _child_environment(self, settings: Settings) -> dict[str, str]:
        """Return additions to the children's environment: their clients use our database."""
        changed = {k: v for k, v in os.environ.items() if self._environment.get(k) != v}
        return changed | client_environment(settings)

    # --- events --------------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGCHLD:
                self._reap()
            case signal.SIGUSR1:
                if self._dispatch is not None:
                    self._dispatch.log_stacks()
            case signal.SIGTERM | signal.SIGHUP:
                self._stop()
            case signal.SIGINT if not self._stop_requested:
                self._stop()
            case _:
                self._stop()
                if self._dispatch is not None:
                    self._dispatch.stop_now()

    def _stop(self) -> None:
        self._stop_requested = True
        self._status.stopping()
        if self._dispatch is not None:
            self._dispatch.drain()

    def _reap(self) -> None:
        """Reap the template, and on Linux the children of a template that is dead."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._template.pid:
                self._template.on_reaped(status)
            elif self._dispatch is not None:
                kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
                cpu_seconds = usage.ru_utime + usage.ru_stime
                self._dispatch.fleet.on_reaped(Evidence(pid, status, kilobytes, cpu_seconds))

    def _on_loaded(self, loaded: ApplicationLoaded) -> None:
        for warning in loaded.warnings:
            _log.warning("%s", warning)
        if self._dispatch is not None:
            self._dispatch.fleet.fill()

    def _on_load_failed(self, failure: LoadFailed) -> None:
        self._failure = failure

    def _on_forked(self, message: Forked) -> None:
        if self._dispatch is not None:
            self._dispatch.fleet.on_forked(message)

    def _on_fork_failed(self, message: ForkFailed) -> None:
        if self._dispatch is not None:
            self._dispatch.fleet.on_fork_failed(message)

    def _on_exited(self, message: Exited) -> None:
        if self._dispatch is not None:
            self._dispatch.fleet.on_exited(message)

    # --- close ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close everything. Children that still run see EOF on their pipes and exit."""
        if self._dispatch is not None:
            self._dispatch.close()
        self._template.close()
        self._loop.timers.add("kill the template", self._template.kill).after(_TEMPLATE_TIMEOUT)
        give_up_at = time.monotonic() + 2 * _TEMPLATE_TIMEOUT
        while self._template.pid is not None and time.monotonic() < give_up_at:
            self._loop.turn()
        leftovers.await_end(self._loop)
        self._loop.remove(self._inbox)
        self._inbox.close()
        self._status.close()
        self._loop.close()


def complete_settings(settings: Settings, loaded: ApplicationLoaded, url: str) -> Settings:
    """Return ``settings`` with ``url``, and with the application's settings unless flags win."""
    namespace = None if "namespace" in settings.given else loaded.namespace
    schema = None if "schema" in settings.given else loaded.schema
    return replace(
        settings,
        database_url=url,
        namespace=settings.namespace if namespace is None else namespace,
        schema=settings.schema if schema is None else schema,
    )


def client_environment(settings: Settings) -> dict[str, str]:
    """Return the variables by which clients in steps use the worker's database."""
    names = ("database_url", "namespace", "schema", "call_timeout")
    return {variable_name(name): str(getattr(settings, name)) for name in names}


def _print_error(details: str, message: str) -> None:
    write_once(f"{details}owsuper: error: {message}")
