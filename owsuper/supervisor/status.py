"""The supervisor's status, for process title, systemd, log and the ready descriptor."""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import stat
from collections.abc import Callable
from typing import Final

from setproctitle import setproctitle

from owsuper.event_loop import Loop
from owsuper.settings import Settings
from owsuper.supervisor.systemd import Systemd

_PERIOD: Final = 0.5  # seconds between updates of the title

_log = logging.getLogger("owsuper.supervisor")


class Status:
    """Reports the status until ``close``.

    ``describe`` returns a few words for the title. ``on_parent_closed`` is called when the other
    end of ``ready_fd``, a socket, is closed.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        ready_fd: int | None,
        *,
        describe: Callable[[], str],
        on_parent_closed: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._describe = describe
        self._shown = ""
        self.ready_reported = False
        self._systemd = Systemd()
        self._ready_descriptor: ReadyDescriptor | None = None
        if ready_fd is not None:
            self._ready_descriptor = ReadyDescriptor(ready_fd, on_parent_closed)
            loop.add(self._ready_descriptor)
        loop.timers.add("update the title", self.update, period=_PERIOD).start()
        if (period := self._systemd.watchdog_seconds) is not None:
            loop.timers.add("watchdog", self._systemd.alive, period=period).start()

    def update(self) -> None:
        """Update the process title and the status line of systemd."""
        text = self._describe()
        if text != self._shown:
            self._shown = text
            setproctitle(f"owsuper: supervisor {' '.join(self._settings.modules)} {text}")
            self._systemd.status(text)

    def ready(self, workflow_count: int) -> None:
        """Report that all children take runs."""
        self.ready_reported = True
        settings = self._settings
        _log.info(
            "ready: workflows=%d processes=%d slots=%d",
            workflow_count,
            settings.processes,
            settings.processes * settings.concurrency,
        )
        self._systemd.ready()
        if self._ready_descriptor is not None:
            self._ready_descriptor.write_line()

    def stopping(self) -> None:
        """Report that the shutdown begins."""
        self._systemd.stopping()

    def close(self) -> None:
        """Close the descriptors."""
        if self._ready_descriptor is not None:
            self._loop.remove(self._ready_descriptor)
            self._ready_descriptor.close()
        self._systemd.close()


class ReadyDescriptor:
    """The descriptor ``fd`` of the program that started the supervisor. A Loop watches it.

    The line "ready" is written to the descriptor. A socket stays open then: ``on_closed`` is called
    when its other end is closed. A descriptor of another kind is closed after the line.
    """

    def __init__(self, fd: int, on_closed: Callable[[], None]) -> None:
        os.set_inheritable(fd, False)
        self._on_closed = on_closed
        self._fd = fd
        self._is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)

    @property
    def events(self) -> int:
        """The events to watch for; none if the descriptor is not a socket."""
        return selectors.EVENT_READ if self._is_socket else 0

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 when it is closed."""
        return self._fd

    def on_ready(self, _mask: int) -> None:
        """Read what has arrived, and notice the end of the connection."""
        try:
            ended = not os.read(self._fd, 512)
        except ConnectionError:
            ended = True
        if ended:
            self.close()
            self._on_closed()

    def write_line(self) -> None:
        """Write the line "ready", unless the descriptor is closed."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # the other end is closed: ``on_ready`` notices it
            os.write(self._fd, b"ready\n")
        if not self._is_socket:
            self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
