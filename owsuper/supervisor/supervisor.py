"""The supervisor: one thread that watches over the database, the template and the children.

It never runs the application's code, so that code can neither crash nor block it, and it
waits for nothing but for everything at once (``Loop.turn``). Each duty has a module:

    generation   the template, which has loaded the application and forks
    service      runs: from the database to a child, and back when a child dies
        desk         claims, releases and renewals, over one connection
        bell         the notification that there is something to claim, over another
        dispatcher   when to claim, and how much
        horizon      how far back to look for runs
        hand         what is claimed but has no slot yet
        fleet        the children, who are born, given runs, buried and replaced
        ending       stopping by degrees
    status       what the world is told: title, systemd, the program above us
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

from owsuper.event_loop import Loop
from owsuper.ipc.messages import ApplicationLoaded, Exited, Forked, LoadFailed
from owsuper.settings import Settings, variable_name
from owsuper.supervisor.dispatch import Dispatch
from owsuper.supervisor.exit_status import Evidence, ExitCode
from owsuper.supervisor.signals import SignalInbox
from owsuper.supervisor.spawn import become_subreaper
from owsuper.supervisor.status import Status
from owsuper.supervisor.template import TemplateProcess

_TEMPLATE_LEAVES: Final = 1.0  # seconds for the template to go once it has no children

_log = logging.getLogger("owsuper.supervisor")


class ResolveDatabase(Protocol):
    """Takes what the application's own OpenWorkflow was given; returns the database URL."""

    def __call__(self, application_url: str | None, /) -> str: ...


class Migrate(Protocol):
    """Brings the tables up to date, or with ``migrate=False`` insists that they are.

    Somebody may have them locked: it returns when ``give_up()`` is true.
    """

    def __call__(
        self, url: str, schema: str, /, *, migrate: bool, give_up: Callable[[], bool]
    ) -> None: ...


def run(
    settings: Settings,
    *,
    resolve_database: ResolveDatabase,
    migrate: Migrate,
    ready_fd: int | None = None,
) -> int:
    """Serve until told to stop; the exit code. Main thread only.

    The two callables are asked once, after the application is loaded; they may block, and
    what they raise is raised. A line is written to ``ready_fd`` when runs are taken; if it is
    a socket, its end is taken as a TERM. Raises DatabaseUnreachable at the start.
    """
    supervisor = Supervisor(settings, ready_fd)
    try:
        return supervisor.run(resolve_database, migrate)
    finally:
        supervisor.close()


class Supervisor:
    def __init__(self, settings: Settings, ready_fd: int | None) -> None:
        self._settings = settings
        self._loop = Loop()
        self._service: Dispatch | None = None
        self._stop_asked = False
        self._failure: LoadFailed | None = None
        self._status = Status(self._loop, settings, ready_fd, doing=self._doing, on_gone=self._stop)
        self._environment = dict(os.environ)
        self._inbox = SignalInbox(
            [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGCHLD], self._on_signal
        )
        self._loop.add(self._inbox)
        self._template = TemplateProcess(
            self._loop,
            settings,
            on_loaded=self._on_loaded,
            on_failed=self._on_load_failed,
            on_forked=self._on_forked,
            on_exited=self._on_exited,
        )

    def run(self, resolve_database: ResolveDatabase, migrate: Migrate) -> int:
        self._status.tell()
        loaded = self._load()
        if loaded is None:
            return self._not_loaded()
        settings = _settle(self._settings, loaded, resolve_database(loaded.database_url))
        assert settings.database_url is not None
        migrate(
            settings.database_url,
            settings.schema,
            migrate=settings.migrate,
            give_up=self._inbox.asks_to_stop,
        )
        return self._serve(settings)

    # --- loading -------------------------------------------------------------------------

    def _load(self) -> ApplicationLoaded | None:
        self._template.start()
        while self._template.loaded is None and self._failure is None and not self._stop_asked:
            self._loop.turn()
        return None if self._stop_asked else self._template.loaded

    def _not_loaded(self) -> int:
        if self._failure is None:
            return ExitCode.CLEAN  # told to stop before there was anything to do
        _complain(f"{self._failure.traceback or ''}", self._failure.message)
        return ExitCode.IMPORT_ERROR

    # --- serving -------------------------------------------------------------------------

    def _serve(self, settings: Settings) -> int:
        become_subreaper()
        service = Dispatch(
            self._loop, settings, self._template, environment=self._additions(settings)
        )
        self._service = service
        service.start()
        if self._stop_asked:
            service.end()
        while not service.over:
            service.work()
            self._loop.turn()
            if not self._status.said_ready and service.ready:
                self._status.ready(service.workflows)
        if service.hopeless is not None:
            _complain("", service.hopeless)
        _log.info("stopped")
        return service.exit_code

    def _doing(self) -> str:
        return "starting" if self._service is None else str(self._service)

    def _additions(self, settings: Settings) -> dict[str, str]:
        """What children need in their environment: their clients must find what we found."""
        found = {
            variable_name(name): str(getattr(settings, name))
            for name in ("database_url", "namespace", "schema")
        }
        since = {k: v for k, v in os.environ.items() if self._environment.get(k) != v}
        return since | found

    # --- what happens --------------------------------------------------------------------

    def _on_signal(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGCHLD:
                self._reap()
            case signal.SIGTERM:
                self._stop()
            case signal.SIGINT if not self._stop_asked:
                self._stop()
            case _:
                self._stop()
                if self._service is not None:
                    self._service.hurry()

    def _stop(self) -> None:
        self._stop_asked = True
        self._status.stopping()
        if self._service is not None:
            self._service.end()

    def _reap(self) -> None:
        """Collect our template, and on Linux whatever lost its parent: a dead one's children."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._template.pid:
                self._template.reaped(status)
            elif self._service is not None:
                kilobytes = usage.ru_maxrss // (1024 if sys.platform == "darwin" else 1)
                self._service.fleet.reaped(Evidence(pid, status, kilobytes))

    def _on_loaded(self, loaded: ApplicationLoaded) -> None:
        for sentence in loaded.warnings:
            _log.warning("%s", sentence)
        if self._service is not None:
            self._service.fleet.fill()

    def _on_load_failed(self, failure: LoadFailed) -> None:
        self._failure = failure

    def _on_forked(self, message: Forked) -> None:
        if self._service is not None:
            self._service.fleet.forked(message)

    def _on_exited(self, message: Exited) -> None:
        if self._service is not None:
            self._service.fleet.exited(message)

    # --- the end -------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of everything. Children that are left see it, and leave by themselves."""
        if self._service is not None:
            self._service.close()
        self._template.close()
        self._loop.timers.add("end the template", self._template.kill).after(_TEMPLATE_LEAVES)
        patience = time.monotonic() + 2 * _TEMPLATE_LEAVES
        while self._template.pid is not None and time.monotonic() < patience:
            self._loop.turn()
        self._loop.remove(self._inbox)
        self._inbox.close()
        self._status.close()
        self._loop.close()


def _settle(settings: Settings, loaded: ApplicationLoaded, url: str) -> Settings:
    """The final settings: what came by flag, else what the application says, else the rest."""
    namespace = None if "namespace" in settings.given else loaded.namespace
    schema = None if "schema" in settings.given else loaded.schema
    return replace(
        settings,
        database_url=url,
        namespace=settings.namespace if namespace is None else namespace,
        schema=settings.schema if schema is None else schema,
    )


def _complain(details: str, message: str) -> None:
    print(f"{details}owsuper: error: {message}", file=sys.stderr, flush=True)
