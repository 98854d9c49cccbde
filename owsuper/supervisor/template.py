"""The template process, which has loaded the application and forks the children."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final, Protocol

from owsuper import shortage
from owsuper.event_loop import Backoff, Loop
from owsuper.ipc.messages import (
    OTHER_PROTOCOL,
    PROBE,
    SHORTAGE,
    ApplicationLoaded,
    Exited,
    Fork,
    Forked,
    ForkFailed,
    Load,
    LoadFailed,
    Message,
    ReleaseOrphans,
)
from owsuper.ipc.pipe import Pipe
from owsuper.settings import Settings
from owsuper.supervisor import spawn
from owsuper.supervisor.exit_status import describe_status, is_exiting, was_killed

_SLOW_IMPORT: Final = 10.0  # seconds between warnings that the import takes long
_FORK_TIMEOUT: Final = 10.0  # seconds; a template that does not answer by then is killed

_log = logging.getLogger("owsuper.supervisor")


class StartsChildren(Protocol):
    """Starts children of the application that is ``loaded``. ``supervisor_id`` is new.

    ``pid`` is that of the process which starts them; another takes its place if it dies.
    """

    loaded: ApplicationLoaded | None
    supervisor_id: str
    pid: int | None

    @property
    def can_fork(self) -> bool:
        """Whether a child may be requested now."""
        ...

    def fork(self, request: Fork, descriptors: Sequence[int]) -> None:
        """Start a child with the descriptors of its pipe and its flight recorder, and close them
        in this process.
        """
        ...

    def release_orphans(self, wanted: bool) -> None:
        """Have claims that no child holds released if this process dies, or not.

        Wanted only while all children are of the process ``pid``: it knows of no others.
        """
        ...

    def kill(self) -> None:
        """Give up on the children that were requested and not started yet."""
        ...


class TemplateProcess:
    """A template process, replaced when it dies, unless it is on trial or retired.

    ``on_loaded`` is called when children may be forked, for every template. ``on_failed`` is
    called when the application cannot be loaded and never was: its import failed by itself. A
    template that was killed, or that lacks memory or descriptors, is replaced instead. On trial,
    whatever ends the process is a failure.
    ``on_forked``, ``on_fork_failed`` and ``on_exited`` are called with the template's reports
    about children. ``loaded`` is the latest ApplicationLoaded.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        *,
        on_loaded: Callable[[ApplicationLoaded], None],
        on_failed: Callable[[LoadFailed], None],
        on_forked: Callable[[Forked], None],
        on_fork_failed: Callable[[ForkFailed], None],
        on_exited: Callable[[Exited], None],
        supervisor_id: str,
        trial: bool = False,
    ) -> None:
        self.supervisor_id = supervisor_id
        self.trial = trial
        self.loaded: ApplicationLoaded | None = None
        self.pid: int | None = None
        self._loop = loop
        self._settings = settings
        self._on_loaded = on_loaded
        self._on_failed = on_failed
        self._on_forked = on_forked
        self._on_fork_failed = on_fork_failed
        self._on_exited = on_exited
        self._pipe: Pipe | None = None
        self._releases_orphans = False
        self._ready = False  # this template has loaded the application
        self._failed = False  # this template cannot load the application
        self._disconnected = False  # this template has closed its pipe, but lives on
        self._given_up = False  # ``on_failed`` was called
        self._closing = False
        self._backoff = Backoff(0.1, limit=30.0)
        self._restart = loop.timers.add("replace the template", self.start)
        self._fork_timer = loop.timers.add("fork time-out", self._kill_unresponsive)
        self._slow_timer = loop.timers.add("slow import", self._warn_slow, period=_SLOW_IMPORT)

    def start(self) -> None:
        """Start a template process, which loads the application.

        Try again later if there are no processes or descriptors left.
        """
        self._failed = self._disconnected = self._releases_orphans = False
        try:
            self.pid, control = spawn.start_template()
        except OSError as exc:
            if self.trial:
                self._fail(LoadFailed(SHORTAGE, shortage.describe(exc)))
                return
            _log.error("the template cannot be started; trying again: %s", shortage.describe(exc))
            self._restart.after(self._backoff.next())
            return
        self._pipe = Pipe(control, on_message=self._handle_message, on_eof=self._handle_eof)
        self._loop.add(self._pipe)
        self._slow_timer.start()
        self._pipe.send(Load(self._settings))

    @property
    def can_fork(self) -> bool:
        """Whether the template has loaded the application and may fork."""
        return self._ready and not self._closing

    def fork(self, request: Fork, descriptors: Sequence[int]) -> None:
        """Ask for a child; ``on_forked`` follows, unless the template dies."""
        assert self._pipe is not None
        self._pipe.send(request, fds=descriptors)
        self._fork_timer.at_latest(time.monotonic() + _FORK_TIMEOUT)

    def on_reaped(self, status: int) -> None:
        """Handle the template's death: read its last messages, then replace it."""
        self.pid = None
        if self._pipe is not None:
            self._pipe.receive()
            self._drop_pipe()
        if self._closing:
            return
        by_itself = self._disconnected or not was_killed(status)
        if self.trial:
            self._fail(LoadFailed("import", self._why_import_ended(status)))
            return
        if self.loaded is None and not self._failed and by_itself:
            self._fail(LoadFailed("import", self._why_import_ended(status)))
        if not self._given_up:
            _log.error("the template died, starting another: %s", describe_status(status))
            self._restart.after(self._backoff.next())

    def release_orphans(self, wanted: bool) -> None:
        """Have claims that no child holds released if this supervisor dies, or not."""
        if self._pipe is not None and wanted != self._releases_orphans:
            self._releases_orphans = wanted
            self._pipe.send(ReleaseOrphans(self.supervisor_id if wanted else None))

    def retire(self) -> None:
        """Start no more children. The template still reports how its children end."""
        self._closing = True
        self._restart.cancel()

    def close(self) -> None:
        """Close the pipe: the template exits after its last child."""
        self.retire()
        if self.loaded is None:
            self.kill()  # the import may never end
        self._drop_pipe()

    def forget(self) -> None:
        """Leave nothing in the loop; the process is gone, and no other takes its place."""
        self._drop_pipe()
        for timer in (self._restart, self._fork_timer, self._slow_timer):
            self._loop.timers.drop(timer)

    def kill(self) -> None:
        """Kill the template; its children keep running."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _drop_pipe(self) -> None:
        self._ready = False
        self._fork_timer.cancel()
        self._slow_timer.cancel()
        if self._pipe is not None:
            self._loop.remove(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _handle_message(self, message: Message) -> None:
        self._fork_timer.cancel()
        match message:
            case ApplicationLoaded():
                self._slow_timer.cancel()
                self._ready = True
                self._backoff.reset()
                self.loaded = message
                self._on_loaded(message)
            case LoadFailed():
                self._fail(message)
            case Forked():
                self._on_forked(message)
            case ForkFailed():
                self._on_fork_failed(message)
            case Exited(child, _, status) if child == PROBE:
                self._handle_probe_exited(status)
            case Exited():
                self._on_exited(message)
            case _:
                raise AssertionError(f"unexpected message from the template: {message!r}")

    def _handle_probe_exited(self, status: int) -> None:
        if self._ready or self._failed:
            return
        if was_killed(status):
            self.kill()  # ``on_reaped`` follows
        else:
            self._fail(LoadFailed("import", self._why_import_ended(status)))

    def _handle_eof(self) -> None:
        self._ready = False
        self._disconnected = self.pid is not None and not is_exiting(self.pid)
        self.kill()  # it cannot be reached; ``on_reaped`` follows

    def _kill_unresponsive(self) -> None:
        _log.error("the template does not answer", extra={"pid": self.pid})
        self.kill()

    def _fail(self, failure: LoadFailed) -> None:
        if self._given_up:
            return
        self._failed = True
        self._slow_timer.cancel()
        if self.trial or (self.loaded is None and failure.kind != SHORTAGE):
            self._given_up = True
            self._on_failed(failure)
            return
        when = "now" if self.loaded is None else "any longer"
        _log.error("the application cannot be loaded %s; trying again: %s", when, failure.message)
        self.kill()

    def _warn_slow(self) -> None:
        modules = " ".join(self._settings.modules)
        _log.warning("still importing %s", modules, extra={"pid": self.pid})

    def _why_import_ended(self, status: int) -> str:
        if self._disconnected:
            return (
                "The process closed its connection to the supervisor while it imported the"
                " application. Do not close file descriptors that the application did not open."
            )
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == OTHER_PROTOCOL:
            return "Another version of owsuper is installed now. Restart the worker."
        how = describe_status(status)
        if self.loaded is not None:
            return f"The process that had imported the application ended: {how}."
        return f"The process ended while it imported the application: {how}."
