"""A worker in threads of the program that uses it: for notebooks, scripts and tests."""

from __future__ import annotations

import atexit
import logging
import threading
import weakref
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any, Final, Self

from owsuper import setting_sources
from owsuper.child.loader import Application, LoadError
from owsuper.child.spec import Hooks
from owsuper.cli import database
from owsuper.client.app import OpenWorkflow
from owsuper.core.durations import Duration, seconds
from owsuper.errors import ConfigurationError, WorkerError
from owsuper.one_process import OneProcessWorker
from owsuper.settings import Settings
from owsuper.step import log_records
from owsuper.workflow import interactive

_log = logging.getLogger("owsuper.supervisor")

_OPTIONS: Final = ("concurrency", "graceful_timeout", "lease", "listen", "migrate", "poll_interval")

_STOP_SECONDS: Final = 5.0  # for another thread to notice; it waits for nothing else

_started: weakref.WeakSet[ThreadWorker] = weakref.WeakSet()


class ThreadWorker:
    """A worker in threads of this process, for the workflows that ``ow`` has, now or later.

    Call ``start`` and ``stop``, or use the worker as a context manager. It takes workflows that
    were defined anywhere, in a cell of a notebook too, and uses the database of ``ow``. It executes
    ``concurrency`` runs at once. The settings that are not given come from the environment and
    pyproject.toml, as those of the ``owsuper`` command do.

    The code of steps shares this process, its GIL and its fate: it is not killed after a time-out,
    and a crash ends the program. For production, use ``ow.new_worker`` or the ``owsuper`` command.
    When the program ends, the worker lets runs finish for the graceful time-out, and ends.

    In an interactive session, a worker takes the place of an earlier one of the same ``ow``, and of
    one whose ``ow`` has no name any more, because its cell was executed again.

    Raises ConfigurationError for a setting that cannot be used, or for what is no OpenWorkflow.
    """

    def __init__(
        self,
        ow: OpenWorkflow,
        *,
        concurrency: int | None = None,
        graceful_timeout: Duration | None = None,
        lease: Duration | None = None,
        listen: bool | None = None,
        migrate: bool | None = None,
        poll_interval: Duration | None = None,
    ) -> None:
        if not isinstance(ow, OpenWorkflow):
            raise ConfigurationError(
                f"ThreadWorker: {ow!r:.80} is no OpenWorkflow. Pass the one with the workflows."
            )
        given = (concurrency, graceful_timeout, lease, listen, migrate, poll_interval)
        self._ow = ow
        self._options: dict[str, object] = dict(zip(_OPTIONS, given, strict=True))
        setting_sources.load(self._options)  # so that a mistake is found here
        self._worker: OneProcessWorker | None = None
        self._thread: threading.Thread | None = None
        self._was_named = False  # whether the session had a name for ``ow`` at the start

    @property
    def running(self) -> bool:
        """Whether the worker takes runs, or lets them finish."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, timeout: Duration = 30.0) -> Self:
        """Start the threads, and wait until they take runs. Returns the worker itself.

        Raises WorkerError if the worker is running, ends before that, or is not ready after
        ``timeout``. Raises ConfigurationError, MigrationError, DatabaseUnreachable and
        EmbeddedUnavailable.
        """
        limit = seconds(timeout)
        if self.running:
            raise WorkerError("this worker is already running")
        complete = self._settings()
        assert complete.database_url is not None
        database.prepare(complete.database_url, complete.schema, migrate=complete.migrate)
        log_records.install(show_replayed=complete.log_replay)
        ready: Future[None] = Future()
        worker = OneProcessWorker(
            complete,
            _application(self._ow),
            owns_process=False,
            on_ready=lambda: ready.set_result(None),
        )
        thread = threading.Thread(
            target=_serve, args=(worker, ready), name="owsuper-worker", daemon=True
        )
        self._worker, self._thread = worker, thread
        thread.start()
        atexit.register(self.stop)
        try:
            ready.result(limit)
        except (FutureTimeout, KeyboardInterrupt) as exc:
            self.stop()
            if isinstance(exc, KeyboardInterrupt):
                raise
            raise WorkerError(f"the worker was not ready within {limit:g} s") from None
        except BaseException as exc:
            thread.join()
            if isinstance(exc, LoadError):
                raise WorkerError(f"the worker did not start: {exc.message}") from exc.__cause__
            raise
        self._take_place()
        return self

    def stop(self) -> None:
        """Let runs finish, for at most the graceful time-out, and wait for the end of the worker.

        A run that is not finished is given back at its next step. Without effect before ``start``.
        """
        if self._worker is None or self._thread is None:
            return
        if self._thread is threading.current_thread():
            raise ConfigurationError("stop() was called in the worker's own thread")
        atexit.unregister(self.stop)
        self._worker.stop()
        self._thread.join()
        self._worker = None

    def __enter__(self) -> Self:
        return self if self.running else self.start()

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _take_place(self) -> None:
        """Let earlier workers take no more runs that an interactive session has forgotten."""
        if not interactive.is_session():
            return
        for other in set(_started) - {self}:
            worker = other._worker
            forgotten = other._was_named and not interactive.has_name(other._ow)
            if other.running and worker is not None and (other._ow is self._ow or forgotten):
                _log.info("a worker takes the place of one of an earlier cell")
                worker.stop()
                worker.takes_no_more.wait(_STOP_SECONDS)
        self._was_named = interactive.has_name(self._ow)
        _started.add(self)

    def _settings(self) -> Settings:
        used = self._ow._database.settings
        flags: dict[str, Any] = {
            **self._options,
            "database_url": self._ow.database_url,
            "namespace": used.namespace,
            "schema": used.schema,
        }
        return setting_sources.load(flags, cwd=self._ow._database.directory)


def _application(ow: OpenWorkflow) -> Application:
    # The lists themselves: a cell may add to them while the worker runs.
    hooks = Hooks(ow.start_hooks, ow.stop_hooks, ow.step_contexts)
    return Application(ow.registry, None, None, None, hooks, (ow.declared_schedules,))


def _serve(worker: OneProcessWorker, ready: Future[None]) -> None:
    error: BaseException = WorkerError("the worker ended while starting; see the log")
    try:
        worker.serve()
    except BaseException as exc:
        error = exc
    worker.call_stop_hooks(None)
    worker.close_all()
    if not ready.done():  # last, so that nothing is left when start raises
        ready.set_exception(error)
