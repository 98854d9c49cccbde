"""The application's code as it is now: a template that has loaded it, replaced if it dies."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Final

from owsuper.event_loop import Backoff, Loop
from owsuper.ipc.messages import (
    PROBE,
    ApplicationLoaded,
    Exited,
    Fork,
    Forked,
    Load,
    LoadFailed,
    Message,
)
from owsuper.ipc.pipe import Pipe
from owsuper.settings import Settings
from owsuper.supervisor import spawn
from owsuper.supervisor.exit_status import describe

_PATIENCE: Final = 10.0  # seconds of importing, after which to say that it takes long
_DEAF: Final = 10.0  # seconds that a fork may take, before the template is given up

_log = logging.getLogger("owsuper.supervisor")


class TemplateProcess:
    """``on_loaded``: children may be forked (again). ``on_failed``: the application cannot be
    loaded, and never was. ``on_forked`` and ``on_exited`` pass on what the template says.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        *,
        on_loaded: Callable[[ApplicationLoaded], None],
        on_failed: Callable[[LoadFailed], None],
        on_forked: Callable[[Forked], None],
        on_exited: Callable[[Exited], None],
    ) -> None:
        self.loaded: ApplicationLoaded | None = None
        self.pid: int | None = None
        self._loop = loop
        self._settings = settings
        self._on_loaded = on_loaded
        self._on_failed = on_failed
        self._on_forked = on_forked
        self._on_exited = on_exited
        self._pipe: Pipe | None = None
        self._answered = False  # this template has loaded the application
        self._failed = False  # or has said that it cannot
        self._closing = False
        self._backoff = Backoff(0.1, limit=30.0)
        self._again = loop.timers.add("replace the template", self.start)
        self._deaf = loop.timers.add("template does not fork", self._give_up_on_it)
        self._slow = loop.timers.add("import takes long", self._complain, period=_PATIENCE)

    def start(self) -> None:
        """Start a template and let it load the application."""
        self._failed = False
        self.pid, control = spawn.start_template()
        self._pipe = Pipe(control, on_message=self._hear, on_eof=self._hear_eof)
        self._loop.add(self._pipe)
        self._slow.start()
        self._pipe.send(Load(self._settings))

    @property
    def can_fork(self) -> bool:
        return self._answered and not self._closing

    def fork(self, request: Fork, descriptors: Sequence[int]) -> None:
        """Ask for a child; ``on_forked`` follows, unless the template dies of it."""
        assert self._pipe is not None
        self._pipe.send(request, fds=descriptors)
        self._deaf.at_latest(time.monotonic() + _DEAF)

    def reaped(self, status: int) -> None:
        """Our template is dead. Its last words count; then another one takes its place."""
        self.pid = None
        if self._pipe is not None:
            self._pipe.receive()
            self._drop_pipe()
        if self._closing:
            return
        if self.loaded is None:
            if not self._failed:
                self._fail(LoadFailed("import", _ended_while_importing(status)))
            return
        delay = self._backoff.next()
        _log.error("the template died, starting another: %s", describe(status))
        self._again.after(delay)

    def close(self) -> None:
        """Let the template go: it leaves when its last child has."""
        self._closing = True
        self._again.cancel()
        if self.loaded is None:
            self.kill()  # it may be importing for ever
        self._drop_pipe()

    def kill(self) -> None:
        """End the template now; its children serve on."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def _drop_pipe(self) -> None:
        self._answered = False
        self._deaf.cancel()
        self._slow.cancel()
        if self._pipe is not None:
            self._loop.remove(self._pipe)
            self._pipe.close()
            self._pipe = None

    def _hear(self, message: Message) -> None:
        self._deaf.cancel()
        match message:
            case ApplicationLoaded():
                self._slow.cancel()
                self._answered = True
                self._backoff.reset()
                self.loaded = message
                self._on_loaded(message)
            case LoadFailed():
                self._fail(message)
            case Forked():
                self._on_forked(message)
            case Exited(child, _, status) if child == PROBE:
                if not self._answered and not self._failed:
                    self._fail(LoadFailed("import", _ended_while_importing(status)))
            case Exited():
                self._on_exited(message)
            case _:
                raise AssertionError(f"the template said {message!r}")

    def _hear_eof(self) -> None:
        self._answered = False
        self.kill()  # deaf is as good as dead; ``reaped`` follows

    def _give_up_on_it(self) -> None:
        """It was asked to fork, and has not said a word since."""
        _log.error("the template does not answer", extra={"pid": self.pid})
        self.kill()

    def _fail(self, failure: LoadFailed) -> None:
        self._failed = True
        self._slow.cancel()
        if self.loaded is None:
            self._on_failed(failure)
            return
        _log.error("the application cannot be loaded any more, trying again: %s", failure.message)
        self.kill()

    def _complain(self) -> None:
        modules = " ".join(self._settings.modules)
        _log.warning("still importing %s", modules, extra={"pid": self.pid})


def _ended_while_importing(status: int) -> str:
    return f"The application ended its process while it was imported: {describe(status)}."
