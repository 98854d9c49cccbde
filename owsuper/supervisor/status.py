"""The supervisor's status, for process title, systemd, log and the ready descriptor."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import selectors
import stat
import time
from collections.abc import Callable
from typing import Final

from setproctitle import setproctitle

from owsuper.event_loop import NEVER, Loop
from owsuper.ipc.health import WorkerHealth
from owsuper.ipc.messages import LoadFailed
from owsuper.settings import Settings
from owsuper.supervisor.health_socket import HealthSocket
from owsuper.supervisor.systemd import Systemd

# Seconds.
_PERIOD: Final = 0.5  # between updates of the title
_EXTENSION_PERIOD: Final = 5.0  # between two requests for more time to stop
_AFTER_GRACEFUL_TIMEOUT: Final = 15.0  # 9 at most, or 14 if the kernel does not end a process
_LONGEST_FAILURE: Final = 4000  # characters for whoever asks; the log has all of them

_log = logging.getLogger("owsuper.supervisor")


class Status:
    """Reports the status until ``close``.

    ``describe`` returns a few words for the title, and ``describe_health`` the answer to a health
    check. ``ready_fd`` is of the program that started the supervisor. If it is a socket,
    ``on_parent_closed`` is called when the other end is closed, and ``on_reload_wanted`` when the
    program writes the line "reload".

    The watchdog of systemd is fed by ``turned``, which the loop that dispatches runs calls after
    each of its turns: a loop that hangs, or one that turns without dispatching, feeds it no more.
    """

    def __init__(
        self,
        loop: Loop,
        settings: Settings,
        ready_fd: int | None,
        *,
        describe: Callable[[], str],
        describe_health: Callable[[], WorkerHealth],
        on_parent_closed: Callable[[], None],
        on_reload_wanted: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._settings = settings
        self._describe = describe
        self._shown = ""
        self._reloading = ""  # what the title says about reloads
        self.reloads = 0  # that have begun
        self.reloading = False
        self.reload_failure: str | None = None  # of the latest
        self.ready_reported = False
        self._systemd = Systemd()
        self._watchdog_due = False
        self._end_of_extensions = NEVER
        self._extension_timer = loop.timers.add("extend the time-out", self._extend_timeout)
        self._health = HealthSocket(loop, describe_health)
        self._ready_descriptor: ReadyDescriptor | None = None
        if ready_fd is not None:
            self._ready_descriptor = ReadyDescriptor(ready_fd, on_parent_closed, on_reload_wanted)
            loop.add(self._ready_descriptor)
        loop.timers.add("update the title", self.update, period=_PERIOD).start()
        if (period := self._systemd.watchdog_seconds) is not None:
            loop.timers.add("watchdog", self._on_watchdog_due, period=period).start()

    def update(self) -> None:
        """Update the process title and the status line of systemd."""
        text = f"{self._describe()}{self._reloading}"
        if text != self._shown:
            self._shown = text
            named = [*self._settings.modules, self._settings.database_label, text]
            setproctitle(f"owsuper: supervisor {' '.join(filter(None, named))}")
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
            self._ready_descriptor.write_line("ready")

    def on_reloading(self) -> None:
        """Report that a reload begins; ``on_reloaded`` or ``on_reload_failed`` follows."""
        _log.info("reloading: importing %s", " ".join(self._settings.modules))
        if self.ready_reported:  # else systemd still waits for the start
            self._systemd.reloading()
        self.reloads += 1
        self.reloading = True
        self._show_reload(" reloading")

    def on_reloaded(self, workflow_count: int) -> None:
        """Report that only the new code takes runs now."""
        _log.info("reloaded: workflows=%d", workflow_count)
        self._show_reload("")
        self._end_reload(None)
        if self._ready_descriptor is not None:
            self._ready_descriptor.write_line("reloaded")

    def on_reload_failed(self, failure: LoadFailed) -> None:
        """Report that the old code serves on, until a later reload succeeds."""
        details = "" if failure.traceback is None else f"\n{failure.traceback.rstrip()}"
        _log.error("the reload failed, the old code serves on: %s%s", failure.message, details)
        self._show_reload(" last reload failed")
        message = failure.message[:_LONGEST_FAILURE]
        self._end_reload(message)
        if self._ready_descriptor is not None:
            self._ready_descriptor.write_line(f"reload failed: {json.dumps(message)}")

    def acknowledge_reload_signal(self) -> None:
        """Answer the signal that systemd sends before or after ExecReload=, which has reloaded.

        systemd waits for this answer (Type=notify-reload). The command alone can say that the
        reload has failed; see the units.
        """
        if self.ready_reported and not self.reloading and self._end_of_extensions == NEVER:
            self._systemd.reloading()
            self._systemd.ready()

    def _end_reload(self, failure: str | None) -> None:
        """Report the end to systemd, which knows one kind; ``owsuper reload`` tells it the rest."""
        self.reloading = False
        self.reload_failure = failure
        if self.ready_reported:
            self._systemd.ready()

    def _show_reload(self, words: str) -> None:
        self._reloading = words and f",{words}"
        self.update()

    def turned(self) -> None:
        """Note that runs were dispatched, and feed the watchdog if that is due."""
        if self._watchdog_due:
            self._watchdog_due = False
            self._systemd.alive()

    def _on_watchdog_due(self) -> None:
        self._watchdog_due = True

    def stopping(self) -> None:
        """Report that the shutdown begins, which may take longer than the unit allows."""
        if self._end_of_extensions == NEVER:
            self._systemd.stopping()
            longest = self._settings.graceful_timeout + _AFTER_GRACEFUL_TIMEOUT
            self._end_of_extensions = time.monotonic() + longest
            self._extend_timeout()

    def _extend_timeout(self) -> None:
        """Ask systemd for some seconds more, again and again: it kills what has hung meanwhile."""
        if (left := self._end_of_extensions - time.monotonic()) > 0:
            self._systemd.extend_timeout(min(left, 3 * _EXTENSION_PERIOD))
            self._extension_timer.after(_EXTENSION_PERIOD)

    def close(self) -> None:
        """Close the descriptors."""
        if self._ready_descriptor is not None:
            self._loop.remove(self._ready_descriptor)
            self._ready_descriptor.close()
        self._health.close()
        self._systemd.close()


class ReadyDescriptor:
    """The descriptor ``fd`` of the program that started the supervisor. A Loop watches it.

    The line "ready" is written to the descriptor. A socket stays open then: ``on_closed`` is called
    when its other end is closed, ``on_reload`` when the line "reload" arrives, and a line says how
    each reload has ended. A descriptor of another kind is closed after the first line.
    """

    def __init__(
        self, fd: int, on_closed: Callable[[], None], on_reload: Callable[[], None]
    ) -> None:
        os.set_inheritable(fd, False)
        self._on_closed = on_closed
        self._on_reload = on_reload
        self._fd = fd
        self._is_socket = stat.S_ISSOCK(os.fstat(fd).st_mode)
        if self._is_socket:
            os.set_blocking(fd, False)  # the program may never read
        self._received = b""

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
            data = os.read(self._fd, 512)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            self._on_closed()
            return
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            if line == b"reload":
                self._on_reload()

    def write_line(self, line: str) -> None:
        """Write ``line``, unless the descriptor is closed."""
        if self._fd < 0:
            return
        with contextlib.suppress(OSError):  # the other end is closed: ``on_ready`` notices it
            os.write(self._fd, f"{line}\n".encode())
        if not self._is_socket:
            self.close()

    def close(self) -> None:
        """Close the descriptor."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
