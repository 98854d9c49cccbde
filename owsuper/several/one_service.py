"""Several workers as one service of systemd, which knows one main process."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import selectors
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from owsuper.supervisor.systemd import Systemd

_AT_ONCE: Final = 32  # notifications in one turn of the loop
_LONGEST: Final = 4096  # bytes of a notification
_CREDENTIALS: Final = struct.Struct("3i")  # pid, uid, gid: struct ucred of unix(7)

_log = logging.getLogger("owsuper.supervisor")


@dataclass(slots=True)
class _Member:
    ready: bool = False
    reloading: bool = False
    alive: bool = False  # since the watchdog was fed last
    status: str = "starting"


class OneService:
    """Tells ``systemd`` of all workers what it may hear of one.

    Of the workers that have not ended: the service is ready when all are, a reload ends when it has
    ended in all, and the watchdog is fed each time that all which are ready have fed it.
    """

    def __init__(self, systemd: Systemd) -> None:
        self._systemd = systemd
        self._members: dict[str, _Member] = {}
        self._stopping = False
        self._ready_reported = False

    def on_started(self, label: str) -> None:
        """Wait for this worker, which may have ended before."""
        self._members[label] = _Member()

    def on_ready(self, label: str) -> None:
        """Note that a worker takes runs."""
        self._members[label].ready = True
        self._report_ready()

    def on_notified(self, label: str, text: str) -> None:
        """Pass on what a worker says to systemd, or keep it until all have said it."""
        member = self._members.get(label)
        if member is None:
            return  # it has ended
        name, _, value = text.partition("\n")[0].partition("=")
        match name:
            case "RELOADING":
                member.reloading = True
                if self._reloading == 1:
                    self._systemd.reloading()
            case "READY" if member.reloading:
                member.reloading = False
                self._end_reload()
            case "WATCHDOG":
                member.alive = True
                self._feed_watchdog()
            case "EXTEND_TIMEOUT_USEC" if value.isdecimal():
                self._systemd.extend_timeout(int(value) / 1e6)
            case "STATUS":
                member.status = value
                shown = [f"{label}: {each.status}" for label, each in self._members.items()]
                self._systemd.status("; ".join(shown))
            case _:
                pass

    def acknowledge_reload_signal(self) -> None:
        """Answer the signal that systemd sends beside ExecReload=, as one worker does."""
        if self._ready_reported and not self._reloading and not self._stopping:
            self._systemd.reloading()
            self._systemd.ready()

    def stopping(self) -> None:
        """Report that all workers stop."""
        if not self._stopping:
            self._stopping = True
            self._systemd.stopping()

    def on_ended(self, label: str) -> None:
        """Wait for this worker no more."""
        was_reloading = self._members.pop(label).reloading
        if self._members:
            self._report_ready()
            self._feed_watchdog()
            if was_reloading:
                self._end_reload()

    @property
    def _reloading(self) -> int:
        return sum(each.reloading for each in self._members.values())

    def _report_ready(self) -> None:
        all_ready = all(each.ready for each in self._members.values())
        if all_ready and not self._ready_reported and not self._stopping:
            self._ready_reported = True
            _log.info("ready: databases=%d", len(self._members))
            self._systemd.ready()

    def _end_reload(self) -> None:
        if not self._reloading and not self._stopping:
            self._systemd.ready()

    def _feed_watchdog(self) -> None:
        # A worker that starts is not waited for: systemd, too, begins to watch a ready service.
        watched = [each for each in self._members.values() if each.ready]
        if watched and all(each.alive for each in watched):
            for each in watched:
                each.alive = False
            self._systemd.alive()


class NotificationSocket:
    """The end of systemd for one worker, on Linux. A Loop watches it.

    ``on_text`` is called with what the process ``pid`` sends; others can send, and are ignored.
    Set ``pid`` once it is known.
    """

    events = selectors.EVENT_READ

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self.pid: int | None = None
        self._on_text = on_text
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        name = f"owsuper-notify/{os.getpid()}.{secrets.token_hex(8)}"
        self._socket.bind(f"\0{name}")
        self.address = f"@{name}"

    def fileno(self) -> int:
        """Return the descriptor to watch; -1 when the socket is closed."""
        return self._socket.fileno()

    def on_ready(self, _mask: int) -> None:
        """Receive what has arrived."""
        with contextlib.suppress(BlockingIOError):
            for _ in range(_AT_ONCE):
                self._receive()

    def _receive(self) -> None:
        space = socket.CMSG_SPACE(_CREDENTIALS.size)
        data, ancillary, _, _ = self._socket.recvmsg(_LONGEST, space)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_CREDENTIALS):
                sender, _, _ = _CREDENTIALS.unpack(content[: _CREDENTIALS.size])
                if sender == self.pid:
                    self._on_text(data.decode(errors="replace"))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
