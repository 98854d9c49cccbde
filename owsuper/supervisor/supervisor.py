"""The supervisor: one thread that watches the database, the template and the children.

It never runs the application's code, so the application can neither crash nor block it, and it
waits in one place only (``Loop.turn``).

    generations, template          load the application, fork the children; replace the code
    dispatch                       wires everything below together
        pickup, prefetched_runs    due runs, until they are in a slot
        listener, on_call, turns   when runs are due, who hears of that, and whose turn it is
        claim_policy               when to claim, and how many runs
        claims, lease_renewal      claim, renew, release; over one ``connection``
        portions, limited_names,   which workflows each statement of a claim is about
        pauses                     and which are paused
        sweeps, crashes            expired leases and deadlines; evidence of crashes
        duties                     what is done periodically, some of it in turns with others
        sole_duty                  what one supervisor does for all
        schedules                  starts runs at times
        presence                   supervisors that are missing, and what they held
        watermark                  how far back to scan for runs
        fleet, child               the child processes
        starter                    which are missing, and when to start them
        assignment, rollover       which child gets a run, or is replaced
        trial                      the first child of new code
        shutdown                   drain, stop, TERM, KILL
    descriptors                    the limit of open files
    signals, terminal              signals in
    status, systemd                title, log and notifications out
    served_metrics, metering       numbers out
        queue_watch                how many runs are due
    watcher                        reloads when files change
"""

from __future__ import annotations

import logging
import os
import resource  # noqa: F401 -- os.wait4 imports it, perhaps with no descriptors left
import signal
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

from owsuper import extras
from owsuper.errors import ConfigurationError
from owsuper.event_loop import Loop
from owsuper.ipc.health import WorkerHealth
from owsuper.ipc.messages import SELECTION, ApplicationLoaded
from owsuper.log_stream import write_once
from owsuper.settings import Settings
from owsuper.supervisor import descriptors, leftovers
from owsuper.supervisor.complete_settings import client_environment, complete_settings
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.exit_status import Evidence, ExitCode
from owsuper.supervisor.generations import Generations
from owsuper.supervisor.presence import new_supervisor_id
from owsuper.supervisor.signals import STOP_SIGNALS, SignalInbox
from owsuper.supervisor.spawn import become_subreaper
from owsuper.supervisor.status import Status
from owsuper.supervisor.terminal import Terminal
from owsuper.supervisor.watcher import Watcher

if TYPE_CHECKING:
    from owsuper.supervisor.served_metrics import ServedMetrics

_TEMPLATE_TIMEOUT: Final = 2.0  # seconds for the template to exit once it has no children
_KILLED_TEMPLATE_TIMEOUT: Final = 1.0  # seconds

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
    watch: bool = False,
) -> int:
    """Execute runs until a signal stops the supervisor; return the exit code.

    Call this in the main thread. The two callables are called once, after the application is
    loaded. They may block, and their exceptions are raised here. The line "ready" is written to
    ``ready_fd`` when all children take runs. If ``ready_fd`` is a socket, the end of its
    connection has the effect of a TERM, and the line "reload" that of a HUP. With ``watch``, the
    code is reloaded when its files change.

    Raises DatabaseUnreachable if the first connection fails, and ConfigurationError if the limit
    of open file descriptors is too low, or metrics cannot be served.
    """
    descriptors.reserve(settings.processes)
    metrics = None if settings.metrics_port is None else _listen_for_metrics(settings)
    supervisor = Supervisor(settings, ready_fd, watch=watch, metrics=metrics)
    try:
        return supervisor.run(resolve_database, migrate)
    finally:
        supervisor.close()


class Supervisor:
    """One supervisor; call ``run`` once, then ``close``."""

    def __init__(
        self,
        settings: Settings,
        ready_fd: int | None,
        *,
        watch: bool,
        metrics: ServedMetrics | None = None,
    ) -> None:
        self._settings = settings
        self._metrics = metrics
        self._watch = watch
        self._watcher: Watcher | None = None
        self._loop = Loop()
        self._dispatch: Dispatch | None = None
        self._stop_requested = False
        self._status = Status(
            self._loop,
            settings,
            ready_fd,
            describe=self._describe,
            describe_health=self._describe_health,
            on_parent_closed=self._stop,
            on_reload_wanted=self._reload,
        )
        self._environment = dict(os.environ)
        self._inbox = SignalInbox(
            [
                *STOP_SIGNALS,
                signal.SIGHUP,
                signal.SIGTTIN,
                signal.SIGTTOU,
                signal.SIGCONT,
                signal.SIGUSR1,
                signal.SIGCHLD,
            ],
            self._on_signal,
        )
        self._terminal = Terminal(self._loop)
        self._loop.add(self._inbox)
        self._generations = Generations(
            self._loop, settings, self._status, supervisor_id=new_supervisor_id()
        )

    def run(self, resolve_database: ResolveDatabase, migrate: Migrate) -> int:
        """Execute runs until a signal stops the supervisor; see the function ``run``."""
        self._status.update()
        loaded = self._load()
        if loaded is None:
            return self._exit_without_application()
        if loaded.mismatches:
            raise ConfigurationError(loaded.mismatches[0])
        settings = complete_settings(self._settings, loaded, resolve_database(loaded.database_url))
        self._settings = settings
        assert settings.database_url is not None
        migrate(
            settings.database_url,
            settings.schema,
            migrate=settings.migrate,
            give_up=lambda: self._inbox.stop_pending() or self._terminal.was_closed,
        )
        return self._serve(settings)

    # --- load ----------------------------------------------------------------------------

    def _start_watcher(self) -> None:
        """Before the import: what changes meanwhile needs another."""
        if self._watch:
            self._watcher = Watcher(self._settings.modules, self._reload)
            self._loop.add(self._watcher)

    def _load(self) -> ApplicationLoaded | None:
        generations = self._generations
        self._start_watcher()
        generations.start()
        while not (generations.current.loaded or generations.failure or self._stop_requested):
            self._loop.turn()
        return None if self._stop_requested else generations.current.loaded

    def _exit_without_application(self) -> int:
        failure = self._generations.failure
        if failure is None:
            return ExitCode.CLEAN  # stopped before the application was loaded
        _print_error(f"{failure.traceback or ''}", failure.message)
        return ExitCode.USAGE if failure.kind == SELECTION else ExitCode.IMPORT_ERROR

    # --- serve ---------------------------------------------------------------------------

    def _serve(self, settings: Settings) -> int:
        become_subreaper()
        dispatch = Dispatch(
            self._loop,
            settings,
            self._generations.current,
            environment=self._child_environment(settings),
            meter=None if self._metrics is None else self._metrics.meter,
        )
        self._dispatch = dispatch
        self._generations.attach(dispatch.fleet)
        if self._metrics is not None:  # not before: tables are prepared in a fork of this process
            self._metrics.start(self._loop, dispatch, settings)
        dispatch.start()
        if self._stop_requested:
            dispatch.drain()
        while not dispatch.finished:
            dispatch.assign_and_claim()
            if dispatch.stopping and not self._stop_requested:
                self._stop()  # it has found a reason of its own
            self._status.turned()
            self._loop.turn()
            if not self._status.ready_reported and dispatch.ready:
                self._status.ready(len(dispatch.workflows))
        if dispatch.fatal_error is not None:
            _print_error("", dispatch.fatal_error)
        self._generations.on_stopped()
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
            reloads=self._status.reloads,
            reloading=self._status.reloading,
            reload_failure=self._status.reload_failure,
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
            case signal.SIGHUP if not self._terminal.was_closed:
                self._reload()
            case signal.SIGCONT:
                self._status.acknowledge_reload_signal()
            case signal.SIGTTIN:
                self._resize(1)
            case signal.SIGTTOU:
                self._resize(-1)
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
        self._generations.abandon()
        if self._dispatch is not None:
            self._dispatch.drain()

    def _reload(self) -> None:
        if not self._stop_requested:
            self._generations.reload()

    def _resize(self, change: int) -> None:
        if self._dispatch is None or self._stop_requested:
            return
        processes = self._dispatch.fleet.size + change
        if not processes:
            _log.warning("one process is the least")
            return
        try:
            descriptors.reserve(processes)
        except ConfigurationError as exc:
            _log.warning("there are as many processes as can be: %s", exc)
            return
        self._dispatch.resize(processes)
        _log.info("processes=%d", processes)

    def _reap(self) -> None:
        """Reap the template, and on Linux the children of a template that is dead."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if not self._generations.on_reaped(pid, status) and self._dispatch is not None:
                kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
                cpu_seconds = usage.ru_utime + usage.ru_stime
                self._dispatch.fleet.on_reaped(Evidence(pid, status, kilobytes, cpu_seconds))

    # --- close ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close everything. Children that still run see EOF on their pipes and exit."""
        if self._metrics is not None:
            self._metrics.close()
        if self._dispatch is not None:
            self._dispatch.close()
        if self._watcher is not None:
            self._loop.remove(self._watcher)
            self._watcher.close()
        self._generations.close()
        self._loop.timers.add("kill templates", self._generations.kill).after(_TEMPLATE_TIMEOUT)
        give_up_at = time.monotonic() + _TEMPLATE_TIMEOUT + _KILLED_TEMPLATE_TIMEOUT
        while self._generations.running and time.monotonic() < give_up_at:
            self._loop.turn()
        leftovers.await_end(self._loop)
        self._loop.remove(self._inbox)
        self._inbox.close()
        self._status.close()
        self._loop.close()


def _listen_for_metrics(settings: Settings) -> ServedMetrics:
    try:
        from owsuper.supervisor.served_metrics import ServedMetrics  # few workers need it
    except ModuleNotFoundError as exc:
        error = extras.missing(exc, "--metrics-port", "owsuper[metrics]")
        raise ConfigurationError(str(error)) from exc
    return ServedMetrics(settings)


def _print_error(details: str, message: str) -> None:
    write_once(f"{details}owsuper: error: {message}")
