"""``owsuper --foreground``: the whole worker in one process, for a debugger.

The main thread is the supervisor, and the one child is a thread of the same process. So a step
that calls ``breakpoint()`` has the terminal. It executes one run at a time, and nothing protects
it from the code of steps: what ends the process ends the worker.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace

from owsuper import logs
from owsuper.child import loader, process_exit, served
from owsuper.child.loader import Application, LoadError
from owsuper.cli import database
from owsuper.cli.output import print_message
from owsuper.errors import ConfigurationError
from owsuper.ipc.messages import SELECTION
from owsuper.one_process import OneProcessWorker
from owsuper.setting_sources import log_sources
from owsuper.settings import Settings
from owsuper.step import log_records
from owsuper.supervisor.complete_settings import client_environment, complete_settings
from owsuper.supervisor.exit_status import ExitCode
from owsuper.supervisor.signals import SignalInbox

_log = logging.getLogger("owsuper.supervisor")


def run(settings: Settings) -> int:
    """Execute runs in this process until a signal stops it; return the exit code.

    Raises ConfigurationError for flags that ask for more than one run at a time, MigrationError,
    DatabaseUnreachable and EmbeddedUnavailable.
    """
    if several := {"processes", "concurrency"} & settings.given:
        raise ConfigurationError(
            f"--foreground executes one run at a time: leave out --{min(several)}"
        )
    if "metrics_port" in settings.given and settings.metrics_port is not None:
        raise ConfigurationError("--foreground serves no metrics: leave out --metrics-port")
    process_exit.begin()
    logs.set_up(settings)
    log_records.install(show_replayed=settings.log_replay)
    log_sources(settings, _log, os.environ)
    try:
        application = loader.load(settings.modules)
        served.check(application, settings)
        loaded = served.describe(application, settings)
        if loaded.mismatches:
            raise ConfigurationError(loaded.mismatches[0])
        with ExitStack() as stack:
            url = database.choose(settings, application.database_url, stack)
            settings = complete_settings(settings, loaded, url)
            os.environ.update(client_environment(settings))
            database.prepare(url, settings.schema, migrate=settings.migrate)
            worker = ForegroundWorker(settings, application)
            code = ExitCode.CLEAN if worker.serve() else ExitCode.ERROR
            worker.close()
            _log.info("stopped")
            worker.call_stop_hooks(code)
            process_exit.leave(code)
    except LoadError as exc:
        print_message(f"error: {exc.message}", before=exc.traceback or "")
        return ExitCode.USAGE if exc.kind == SELECTION else ExitCode.IMPORT_ERROR


class ForegroundWorker(OneProcessWorker):
    """A worker in one process that signals stop."""

    def __init__(self, settings: Settings, application: Application) -> None:
        super().__init__(
            replace(settings, concurrency=1),
            application,
            owns_process=True,
            on_ready=self._log_ready,
        )
        self._stopping = False
        signals = [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1]
        self._inbox = SignalInbox(signals, self._on_signal)
        self.loop.add(self._inbox)

    def forget_connections(self) -> tuple[object, Iterable[int]]:
        """Leave a forked process nothing of ours; see ``ForkSafe``."""
        ours, descriptors = super().forget_connections()
        return ours, (*descriptors, self._inbox.wakeup_fd)

    def _log_ready(self) -> None:
        _log.info(
            "ready: workflows=%d, one run at a time; Ctrl-C finishes the run and stops, and"
            " a second Ctrl-C gives the run back",
            len(self.workflows),
        )

    def _on_signal(self, number: signal.Signals) -> None:
        if number is signal.SIGUSR1:
            self.log_stacks()
            return
        if self.time_is_up:
            return
        if self._stopping or number is signal.SIGQUIT:
            self.stop_now()
        self.drain()
        self._stopping = True
